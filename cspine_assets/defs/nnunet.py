"""Assets of group ``nnunet``: raw datasets, plans, and one model per configuration and fold.

Add an asset when nnU-Net makes something that others build on. How nnU-Net is run stands in ``cspine_assets.nnunet``.
"""

import os
from collections.abc import Callable

import dagster as dg
import pandas as pd

from cspine_assets.defs.instance import GPU_POOL
from cspine_assets.defs.io import Made, table_asset
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, fingerprint_text
from cspine_assets.domain.tables.base import rows_of
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.domain.tables.imaging import Masks, Volumes
from cspine_assets.domain.tables.nnunet import FOLDS, Plans, RawDataset, TrainedFolds, UnannotatedDataset
from cspine_assets.nnunet import dataset, plans, training
from cspine_assets.nnunet.devices import leased_slot, training_slots
from cspine_assets.nnunet.messages import ChildMessage, EpochFinished, Note
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import Configuration

_PARTS = {"development": "imagesTr", "test": "imagesTs"}
MOST_WORKERS = 8
"""nnU-Net's own default; each costs about 400 MB."""


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


@table_asset(Plans, deps=[RawDataset], version="1", kinds=("nnunet",))
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
        supervision=Supervision(log_path=study.home.logs / "plans.log", on_message=_logger(context)),
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
    return Made(frame, {"profile": study.profile.name, "plans": dg.MetadataValue.md(frame.to_markdown(index=False))})


@table_asset(
    TrainedFolds,
    deps=[Plans],
    version="1",
    kinds=("nnunet", "pytorch"),
    pool=GPU_POOL,
)
def trained_folds(context: dg.AssetExecutionContext, study: Study) -> Made:
    """One model, trained by nnU-Net in a child process on a leased device; an interrupted one is resumed."""
    keys = context.partition_key.keys_by_dimension
    configuration, fold = Configuration(keys["configuration"]), int(keys["fold"])
    folders = study.nnunet_folders
    standing = plans.read_plans(folders.preprocessed / str(dataset.ANNOTATED))
    if standing is None:
        raise ModelError(
            f"{folders.preprocessed}: expected plans and preprocessed data, found none. Materialize nnunet/plans."
        )
    with leased_slot(study.home.leases, training_slots()) as slot:
        model = training.train_fold(
            folders,
            standing,
            configuration=configuration,
            fold=fold,
            profile=study.profile,
            slot=slot,
            workers=worker_count(study),
            supervision=Supervision(
                log_path=study.home.logs / f"train-{configuration}-{fold}.log", on_message=_logger(context)
            ),
        )
    dice = model.validation_dice
    split = study.read(Plans)["split_sha256"].iloc[0]
    row = {
        "configuration": configuration.value,
        "fold": fold,
        "profile": study.profile.name,
        "path": study.home.relative(model.fold_folder),
        "epochs": model.epochs,
        "resumed_from_epoch": model.epochs - model.epochs_trained if model.resumed_from else None,
        "seconds": model.seconds,
        "validation_dice_vertebral_body": dice.get(Structure.VERTEBRAL_BODY),
        "validation_dice_intervertebral_disc": dice.get(Structure.INTERVERTEBRAL_DISC),
        "device": slot.device,
        "split_sha256": split,
        "checkpoint_sha256": model.checkpoint_sha256,
        "data_fingerprint": model.stamp.fingerprint,
    }
    shown = {
        "profile": study.profile.name,
        "epochs": model.epochs,
        "epochs_trained_now": model.epochs_trained,
        "device": slot.device,
        "split_sha256": split,
        **{f"validation_dice_{structure}": value for structure, value in dice.items()},
    }
    return Made(pd.DataFrame([row]), shown)


def worker_count(study: Study) -> int:
    """Returns how many worker processes nnU-Net's own steps may use: one for a small study, whose starts cost more."""
    return 1 if study.profile.pools == "threads" else min(MOST_WORKERS, len(os.sched_getaffinity(0)))


def _logger(context: dg.AssetExecutionContext) -> Callable[[ChildMessage], None]:
    """Returns a listener that puts what a child says into the run's log."""

    def listen(message: ChildMessage) -> None:
        if isinstance(message, EpochFinished):
            dice = ", ".join(f"{structure} {value:.3f}" for structure, value in message.pseudo_dice.items())
            context.log.info(
                f"{message.configuration} fold {message.fold}: epoch {message.epoch} of {message.epochs}, "
                f"loss {message.train_loss:.3f} / {message.val_loss:.3f}, pseudo Dice {dice}, {message.seconds:.1f} s"
            )
        elif isinstance(message, Note):
            context.log.info(message.text)

    return listen


@dg.asset_check(
    asset=dg.AssetKey(["nnunet", "raw_dataset"]),
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
