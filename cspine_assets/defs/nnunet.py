"""Assets of group ``nnunet``: raw datasets, plans, and one model per configuration and fold.

Add an asset when nnU-Net makes something that others build on. How nnU-Net is run stands in ``cspine_assets.nnunet``.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial

import dagster as dg
import pandas as pd

from cspine_assets.defs.instance import GPU_POOL
from cspine_assets.defs.io import Made, asset_key, table_asset
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.defs.shown import inline_picture, markdown_table
from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, fingerprint_text
from cspine_assets.domain.report.curves import TrainingCurve, curve_png
from cspine_assets.domain.tables.base import rows_of
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.domain.tables.imaging import Masks, Volumes
from cspine_assets.domain.tables.nnunet import FOLDS, Plans, RawDataset, TrainedFolds, TrainingLog, UnannotatedDataset
from cspine_assets.nnunet import dataset, plans, training
from cspine_assets.nnunet.devices import leased_slot
from cspine_assets.nnunet.fold_folder import read_record, read_stamp
from cspine_assets.nnunet.messages import ChildMessage, EpochFinished, Note, seconds_left
from cspine_assets.nnunet.pace import duration
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import Configuration

_PARTS = {"development": "imagesTr", "test": "imagesTs"}
MOST_WORKERS = 8
"""nnU-Net's own default; each costs about 400 MB."""
MOST_AUGMENTATION_WORKERS = 12
"""nnU-Net's own default for one training."""


class TrainingConfig(dg.Config):
    """Training settings of a single run, in nnU-Net's own names; what is not said is the home's, else the profile's.

    Attributes:
        seed: Of weights and sampling. Changes the model.
        num_epochs: Length of the training. Changes the model.
        save_every: Epochs between two checkpoints to resume from.
        num_processes: Processes of the final validation.
        n_proc_DA: Processes that augment beside the training.
        compile: Whether torch compiles the network.
        export_validation_probabilities: Keep the softmax of the validation cases.
        heartbeat_timeout_s: A training that is silent for longer is taken for hung.
    """

    seed: int | None = None
    num_epochs: int | None = None
    save_every: int | None = None
    num_processes: int | None = None
    n_proc_DA: int | None = None
    compile: bool | None = None
    export_validation_probabilities: bool | None = None
    heartbeat_timeout_s: float | None = None


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


def _chosen_training(study: Study, key: str | None) -> str:
    """Returns what a model depends on that no table tells."""
    configuration = Configuration(str(key).split("|", maxsplit=1)[0])
    return fingerprint_text(study.profile.training_part(configuration), str(study.profile.seed))


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
    return Made(frame, {"profile": study.profile.name, "plans": markdown_table(frame)})


@table_asset(
    TrainedFolds,
    deps=[Plans],
    version="2",
    kinds=("nnunet", "pytorch"),
    pool=GPU_POOL,
    source=_chosen_training,
    config=TrainingConfig,
)
def trained_folds(context: dg.AssetExecutionContext, study: Study) -> Made:
    """One model, trained by nnU-Net in a child process on a leased device; an interrupted one is resumed.

    Only one run at a time trains a model; a second one is refused with the name of the first.
    """
    configuration, fold = _model(context)
    folders = study.nnunet_folders
    standing = plans.read_plans(folders.preprocessed / str(dataset.ANNOTATED))
    if standing is None:
        raise ModelError(
            f"{folders.preprocessed}: expected plans and preprocessed data, found none. Materialize nnunet/plans."
        )
    what = f"training of {configuration} fold {fold}"
    model = training.train_fold(
        folders,
        standing,
        configuration=configuration,
        fold=fold,
        profile=study.profile,
        lease=partial(leased_slot, study.home.leases, study.slots, what=what),
        crew=training.Crew(workers=worker_count(study), augmentation_workers=augmentation_worker_count(study)),
        supervision=Supervision(
            log_path=study.home.logs / f"train-{configuration}-{fold}.log",
            on_message=_logger(context),
            heartbeat_timeout_s=study.training.silence_s,
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
        "device": model.record.device,
        "split_sha256": split,
        "checkpoint_sha256": model.checkpoint_sha256,
        "data_fingerprint": model.stamp.fingerprint,
    }
    shown = {
        "profile": study.profile.name,
        "epochs": model.epochs,
        "epochs_trained_now": model.epochs_trained,
        "device": model.record.device,
        "split_sha256": split,
        "curve": dg.MetadataValue.md(_curve(model.record.epochs, title=f"{configuration}, fold {fold}")),
        **{f"validation_dice_{structure}": value for structure, value in dice.items()},
    }
    return Made(pd.DataFrame([row]), shown)


@table_asset(TrainingLog, deps=[TrainedFolds], version="1", kinds=("nnunet",))
def training_log(context: dg.AssetExecutionContext, study: Study) -> Made:
    """Every epoch of one model: losses, pseudo Dice, learning rate, seconds."""
    configuration, fold = _model(context)
    trained = study.read(TrainedFolds, [f"{configuration}-{fold}"])
    folder = study.home.absolute(trained["path"].iloc[0])
    record, stamp = read_record(folder), read_stamp(folder)
    rows = [
        {
            "configuration": epoch.configuration,
            "fold": epoch.fold,
            "epoch": epoch.epoch,
            "epochs": epoch.epochs,
            "train_loss": epoch.train_loss,
            "validation_loss": epoch.val_loss,
            "pseudo_dice_vertebral_body": epoch.pseudo_dice.get(Structure.VERTEBRAL_BODY),
            "pseudo_dice_intervertebral_disc": epoch.pseudo_dice.get(Structure.INTERVERTEBRAL_DISC),
            "ema_pseudo_dice": epoch.ema_pseudo_dice,
            "learning_rate": epoch.learning_rate,
            "seconds": epoch.seconds,
            "device": record.device,
            "profile": study.profile.name,
            "data_fingerprint": stamp.fingerprint if stamp else None,
        }
        for epoch in record.epochs
    ]
    return Made(
        pd.DataFrame(rows), {"curve": dg.MetadataValue.md(_curve(record.epochs, title=f"{configuration}, fold {fold}"))}
    )


def _model(context: dg.AssetExecutionContext) -> tuple[Configuration, int]:
    """Returns the model that a partition is: its configuration and its fold."""
    keys = context.partition_key.keys_by_dimension
    return Configuration(keys["configuration"]), int(keys["fold"])


def _curve(epochs: Sequence[EpochFinished], *, title: str) -> str:
    """Returns the losses and the pseudo Dice as the page shows a picture."""
    curve = TrainingCurve(
        epochs=[epoch.epoch for epoch in epochs],
        train_loss=[epoch.train_loss for epoch in epochs],
        validation_loss=[epoch.val_loss for epoch in epochs],
        pseudo_dice={structure: [epoch.pseudo_dice[structure] for epoch in epochs] for structure in Structure},
    )
    return inline_picture(curve_png(curve, title=title), "losses and pseudo Dice")


def worker_count(study: Study) -> int:
    """Returns how many processes nnU-Net's own steps may use: one for a small study, whose starts cost more."""
    if study.profile.workers is not None:
        return study.profile.workers
    return 1 if study.profile.pools == "threads" else min(MOST_WORKERS, len(os.sched_getaffinity(0)))


def augmentation_worker_count(study: Study) -> int:
    """Returns how many processes augment beside one training, so that all trainings together fill the cores."""
    if study.profile.augmentation_workers is not None:
        return study.profile.augmentation_workers
    return max(1, min(MOST_AUGMENTATION_WORKERS, len(os.sched_getaffinity(0)) // len(study.slots)))


def _logger(context: dg.AssetExecutionContext) -> Callable[[ChildMessage], None]:
    """Returns a listener that puts what a child says into the run's log."""

    def listen(message: ChildMessage) -> None:
        if isinstance(message, EpochFinished):
            dice = ", ".join(f"{structure} {value:.3f}" for structure, value in message.pseudo_dice.items())
            context.log.info(
                f"{message.configuration} fold {message.fold}: epoch {message.epoch} of {message.epochs}, "
                f"loss {message.train_loss:.3f} / {message.val_loss:.3f}, pseudo Dice {dice}, "
                f"learning rate {message.learning_rate:.2g}, {message.seconds:.1f} s, "
                f"about {duration(seconds_left(message))} left"
            )
        elif isinstance(message, Note):
            context.log.info(message.text)

    return listen


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
