"""Assets of group ``nnunet`` that come before training: raw datasets and plans.

Add an asset when nnU-Net makes something that trainings build on. Trainings stand in ``training``; how nnU-Net is run,
in ``cspine_assets.nnunet``.
"""

from collections.abc import Iterator

import dagster as dg
import pandas as pd

from cspine_assets.defs.children import log_listener, worker_count
from cspine_assets.defs.io import Made, asset_key, table_asset
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.defs.row_files import names_files
from cspine_assets.defs.shown import markdown_table
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, fingerprint_text
from cspine_assets.domain.named_files import NamedFile, name_file
from cspine_assets.domain.tables.base import rows_of
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.domain.tables.imaging import Masks, Volumes
from cspine_assets.domain.tables.nnunet import FOLDS, Plans, RawDataset, UnannotatedDataset
from cspine_assets.nnunet import dataset, plans
from cspine_assets.nnunet.process import Supervision

_PARTS = {"development": "imagesTr", "test": "imagesTs"}


@names_files(RawDataset)
def _files_of_raw_dataset(study: Study, frame: pd.DataFrame) -> Iterator[NamedFile]:
    """Yields the dataset's description, and every link with what it leads to."""
    folder = study.home.nnunet_raw / str(dataset.ANNOTATED)
    yield name_file(study.home.root, folder / "dataset.json")
    for row in rows_of(frame):
        image = folder / row.part / f"{row.case_id}{dataset.CHANNEL_ENDING}"
        yield name_file(study.home.root, image, sha256=row.volume_sha256, inflated=True)
        mask = folder / row.part.replace("images", "labels") / f"{row.case_id}{dataset.FILE_ENDING}"
        yield name_file(study.home.root, mask, sha256=row.mask_sha256, inflated=True)


@names_files(UnannotatedDataset)
def _files_of_unannotated_dataset(study: Study, frame: pd.DataFrame) -> Iterator[NamedFile]:
    """Yields the dataset's description, and every link with what it leads to."""
    folder = study.home.nnunet_raw / str(dataset.UNANNOTATED)
    yield name_file(study.home.root, folder / "dataset.json")
    for row in rows_of(frame):
        image = folder / "imagesTs" / f"{row.case_id}{dataset.CHANNEL_ENDING}"
        yield name_file(study.home.root, image, sha256=row.volume_sha256, inflated=True)


@table_asset(RawDataset, deps=[Splits, Volumes, Masks], version="1", kinds=("nnunet", "nifti"))
def raw_dataset(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Dataset108_CSpineSeg as links to volumes and masks, with nothing copied."""
    splits = study.read(Splits).query("part in @_PARTS", local_dict={"_PARTS": list(_PARTS)})
    masks = study.read(Masks).query("status == 'ok'")[["exam_id", "path", "sha256"]]
    rows = splits.merge(study.usable_volumes(), on="exam_id").merge(masks, on="exam_id", suffixes=("", "_mask"))
    lacking = sorted(set(splits["exam_id"]) - set(rows["exam_id"]))
    if rows.empty:
        raise ModelError(
            "expected expert exams with a volume and a mask, there is none. See cohort.splits and imaging."
        )
    cases = [
        dataset.Case(
            case_id=row.exam_id,
            part="train" if row.part == "development" else "test",
            image=study.home.absolute(row.path),
            label=study.home.absolute(row.path_mask),
            checksum=fingerprint_text(row.sha256, row.sha256_mask),
        )
        for row in rows_of(rows)
    ]
    written = dataset.write_raw_dataset(study.home.nnunet_raw, dataset.ANNOTATED, cases)
    frame = pd.DataFrame(
        {
            "case_id": rows["exam_id"],
            "exam_id": rows["exam_id"],
            "patient_id": rows["patient_id"],
            "part": rows["part"].map(_PARTS),
            "fold": rows["fold"],
            "split_sha256": rows["split_sha256"],
            "volume_sha256": rows["sha256"],
            "mask_sha256": rows["sha256_mask"],
        }
    ).sort_values("case_id")
    shown = {
        "training_cases": written.training_cases,
        "test_cases": written.test_cases,
        "lacking_exams": dg.MetadataValue.json(lacking),
    }
    return Made(frame, shown)


@table_asset(UnannotatedDataset, deps=[Splits, Volumes], version="1", kinds=("nnunet", "nifti"))
def unannotated_dataset(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Dataset111_CSpineSeg_UNANNO as links to volumes, with nothing copied."""
    splits = study.read(Splits).query("part == 'unannotated'")
    rows = splits.merge(study.usable_volumes(), on="exam_id").sort_values("exam_id")
    cases = [
        dataset.Case(
            case_id=row.exam_id,
            part="test",
            image=study.home.absolute(row.path),
            label=None,
            checksum=row.sha256,
        )
        for row in rows_of(rows)
    ]
    dataset.write_raw_dataset(study.home.nnunet_raw, dataset.UNANNOTATED, cases)
    frame = rows[["exam_id", "patient_id"]].assign(case_id=rows["exam_id"], volume_sha256=rows["sha256"])
    lacking = sorted(set(splits["exam_id"]) - set(rows["exam_id"]))
    return Made(frame, {"cases": len(frame), "lacking_exams": dg.MetadataValue.json(lacking)})


def _chosen_plans(study: Study, _key: str | None) -> str:
    """Returns what plans depend on that no table tells."""
    return study.profile.planning_part()


@names_files(Plans)
def _files_of_plans(study: Study, _frame: pd.DataFrame) -> Iterator[NamedFile]:
    """Yields what trainings read of the plans; the preprocessed volumes beside them are gigabytes and not looked at."""
    folder = study.nnunet_folders.preprocessed / str(dataset.ANNOTATED)
    standing = plans.read_plans(folder)
    for file in [] if standing is None else [standing.plans_file, folder / plans.SPLITS_FILE, folder / "dataset.json"]:
        yield name_file(study.home.root, file)


@table_asset(Plans, deps=[RawDataset], version="1", kinds=("nnunet",), source=_chosen_plans)
def plans_asset(context: dg.AssetExecutionContext, study: Study) -> Made:
    """Integrity check, fingerprint, plans, preprocessing and folds, by nnU-Net in a child process."""
    development = study.read(RawDataset).query("part == 'imagesTr'")
    splits = [
        plans.Split(
            train=tuple(sorted(development.loc[development["fold"] != fold, "case_id"])),
            val=tuple(sorted(development.loc[development["fold"] == fold, "case_id"])),
        )
        for fold in FOLDS
    ]
    made = plans.plan_and_preprocess(
        study.nnunet_folders,
        dataset.ANNOTATED,
        splits,
        profile=study.profile,
        workers=worker_count(study),
        supervision=Supervision(log_path=study.home.logs / "plans.log", on_message=log_listener(context)),
    )
    folds = fingerprint_text(*(split.model_dump_json() for split in splits))
    frame = pd.DataFrame(
        [
            {
                "configuration": planned.configuration.value,
                "profile": study.profile.name,
                "data_fingerprint": fingerprint_text(made.fingerprint, folds),
                "split_sha256": development["split_sha256"].iloc[0],
                "plans_sha256": fingerprint_file(made.plans_file),
                "cases": len(development),
                "patch_size": "x".join(str(size) for size in planned.patch_size),
                "spacing_mm": "x".join(f"{spacing:.4g}" for spacing in planned.spacing_mm),
                "batch_size": planned.batch_size,
                "stages": planned.stages,
            }
            for planned in made.configurations
        ]
    )
    return Made(frame, {"profile": study.profile.name, "plans": markdown_table(frame)})


@dg.asset_check(
    asset=asset_key(RawDataset),
    blocking=True,
    description="No test exam, and no patient of one, is trained on.",
)
def no_test_exam_in_training(study: StudyResource) -> dg.AssetCheckResult:
    """Looks at the links that nnU-Net will read, not only at the table."""
    opened = study.open()
    folder = opened.home.nnunet_raw / str(dataset.ANNOTATED)
    trained = {path.name.removesuffix(dataset.CHANNEL_ENDING) for path in (folder / "imagesTr").iterdir()}
    splits = opened.read(Splits)
    tested = splits[splits["part"] == "test"]
    trained_patients = set(splits.loc[splits["exam_id"].isin(trained), "patient_id"])
    leaked = sorted((trained & set(tested["exam_id"])) | (trained_patients & set(tested["patient_id"])))
    return dg.AssetCheckResult(
        passed=not leaked, metadata={"training_cases": len(trained), "leaked": dg.MetadataValue.json(leaked)}
    )
