"""Assets of group ``nnunet`` that train: one model per configuration and fold, and every epoch of it.

Add an asset when a training leaves something more behind. What comes before it stands in ``nnunet``, what is made of
finished models in ``models``; how a model is trained in ``cspine_assets.nnunet``.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import Field

from cspine_assets.defs.children import augmentation_worker_count, log_listener, log_unused_gpu, worker_count
from cspine_assets.defs.instance import GPU_POOL
from cspine_assets.defs.io import Kept, Made, RunConfig, table_asset
from cspine_assets.defs.partitions import trainings
from cspine_assets.defs.resources import Study
from cspine_assets.defs.row_files import names_files
from cspine_assets.defs.shown import inline_picture
from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.named_files import NamedFile, name_file
from cspine_assets.domain.report.curves import TrainingCurve, curve_png
from cspine_assets.domain.tables.base import rows_of
from cspine_assets.domain.tables.nnunet import Plans, TrainedFolds, TrainingLog
from cspine_assets.nnunet import dataset, plans, training
from cspine_assets.nnunet.devices import leased_slot
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT, MODEL_FILES, read_record, read_stamp
from cspine_assets.nnunet.gpus import report_gpus
from cspine_assets.nnunet.messages import EpochFinished
from cspine_assets.nnunet.process import Supervision
from cspine_assets.nnunet.profiles import Configuration


def _choice(description: str) -> Any:  # noqa: ANN401
    """Describes a setting that is the home's, else the profile's, where a run leaves it at null."""
    return Field(default=None, description=f"{description} null: as set by `cspine training`, else by the profile.")


class TrainingConfig(RunConfig):
    """Training settings of a single run, in nnU-Net's own names; what is not set is the home's, else the profile's."""

    seed: int | None = _choice("Seed of weights and sampling. Changes the model.")
    num_epochs: int | None = _choice("Number of epochs. Changes the model.")
    save_every: int | None = _choice("Epochs between two checkpoints to resume from.")
    num_processes: int | None = _choice("Processes of the final validation.")
    n_proc_DA: int | None = _choice("Processes that augment beside the training.")
    compile: bool | None = _choice("Whether torch compiles the network.")
    export_validation_probabilities: bool | None = _choice("Keep the softmax of the validation cases.")
    heartbeat_timeout_s: float | None = _choice("Seconds of silence after which a training counts as hung.")
    allow_cpu: bool | None = _choice("Allow the published profile to train on a CPU, which takes months.")


def _chosen_training(study: Study, key: str | None) -> str:
    """Returns what a model depends on that no table tells."""
    configuration = Configuration(str(key).split("|", maxsplit=1)[0])
    return fingerprint_text(study.profile.training_part(configuration), str(study.profile.seed))


@names_files(TrainedFolds)
def _files_of_models(study: Study, frame: pd.DataFrame) -> Iterator[NamedFile]:
    """Yields what a fold needs to predict: its checkpoint, and what all folds of its model share."""
    root = study.home.root
    for row in rows_of(frame):
        folder = study.home.absolute(row.path)
        yield name_file(root, folder / FINAL_CHECKPOINT, sha256=row.checkpoint_sha256)
        yield from (name_file(root, folder.parent / name) for name in MODEL_FILES)


@table_asset(
    TrainedFolds,
    deps=[Plans],
    version="2",
    kinds=("nnunet", "pytorch"),
    pool=GPU_POOL,
    source=_chosen_training,
    config=TrainingConfig,
)
def trained_folds(context: dg.AssetExecutionContext, study: Study) -> Made | Kept:
    """One model, trained by nnU-Net in a child process on a leased device; an interrupted one is resumed.

    Only one run at a time trains a model; a second one is refused with the name of the first. Where all folds of a
    configuration stand, those of another choice wait aside until all of them are finished, and replace them together;
    until then the rows and all that is made from them go on with the models in force.
    """
    configuration, fold = _model(context)
    model = _train(context, study, configuration, fold)
    placement = model.placement
    if not placement.in_force:
        return _waiting(model)
    others = {
        _key(configuration, number): _made(study, training.trained_fold(model.model_folder / f"fold_{number}"))
        for number in placement.placed
        if number != fold
    }
    made = _made(study, model)
    return Made(made.frame, {**made.metadata, "epochs_trained_now": model.epochs_trained}, others=others)


def _waiting(model: training.TrainedFold) -> Kept:
    """Returns what is told of a fold that is finished and waits for the others of its choice."""
    folds = ", ".join(str(fold) for fold in model.placement.waits_for)
    reason = (
        f"{model.configuration} fold {model.fold} is trained and waits aside for fold {folds} of the same choice; "
        "until then the models in force stay."
    )
    told = {"waits_aside": reason, "waits_for_folds": folds, "epochs_aside": model.epochs}
    return Kept(reason, {**told, "checkpoint_sha256_aside": model.checkpoint_sha256})


def _made(study: Study, model: training.TrainedFold) -> Made:
    """Returns the row of a fold in force, and what the page shows of it."""
    dice = model.validation_dice
    split = study.read(Plans)["split_sha256"].iloc[0]
    row = {
        "configuration": model.configuration.value,
        "fold": model.fold,
        "profile": model.stamp.profile,
        "path": study.home.relative(model.fold_folder),
        "epochs": model.epochs,
        "resumed_from_epoch": model.last_run.resumed_from_epoch,
        "seconds": model.last_run.seconds,
        "validation_dice_vertebral_body": dice.get(Structure.VERTEBRAL_BODY),
        "validation_dice_intervertebral_disc": dice.get(Structure.INTERVERTEBRAL_DISC),
        "device": model.record.device,
        "split_sha256": split,
        "checkpoint_sha256": model.checkpoint_sha256,
        "data_fingerprint": model.stamp.fingerprint,
    }
    shown = {
        "profile": model.stamp.profile,
        "epochs": model.epochs,
        "device": model.record.device,
        "gpus": report_gpus().sentence,
        "split_sha256": split,
        "curve": dg.MetadataValue.md(_curve(model.record.epochs, title=f"{model.configuration}, fold {model.fold}")),
        **{f"validation_dice_{structure}": value for structure, value in dice.items()},
    }
    return Made(pd.DataFrame([row]), shown)


def _key(configuration: Configuration, fold: int) -> str:
    """Returns the partition key of a model."""
    wanted = {"configuration": configuration.value, "fold": str(fold)}
    return next(key for key in trainings.get_partition_keys() if key.keys_by_dimension == wanted)


def _train(
    context: dg.AssetExecutionContext, study: Study, configuration: Configuration, fold: int
) -> training.TrainedFold:
    """Trains one model by the plans that stand.

    Raises:
        ModelError: There are no plans, or the training failed.
    """
    folders = study.nnunet_folders
    standing = plans.read_plans(folders.preprocessed / str(dataset.ANNOTATED))
    if standing is None:
        raise ModelError(
            f"{folders.preprocessed}: expected plans and preprocessed data, found none. Materialize nnunet/plans."
        )
    what = f"training of {configuration} fold {fold}"
    log_unused_gpu(context)
    return training.train_fold(
        folders,
        standing,
        configuration=configuration,
        fold=fold,
        profile=study.profile,
        lease=partial(leased_slot, study.home.leases, study.slots, what=what),
        crew=training.Crew(workers=worker_count(study), augmentation_workers=augmentation_worker_count(study)),
        supervision=Supervision(
            log_path=study.home.logs / f"train-{configuration}-{fold}.log",
            on_message=log_listener(context),
            heartbeat_timeout_s=study.training.silence_s,
        ),
    )


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
