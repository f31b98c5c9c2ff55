"""Training one fold of one configuration in a child process, by one caller at a time, with fewer workers when they die.

Change this file when how a training is started, watched or tried again changes.
The trainer stands in ``children``, what it leaves behind in ``fold_folder``; which folds run at once and on which
devices is the caller's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_file, fingerprint_text
from cspine_assets.nnunet.cpu_training import require_consent
from cspine_assets.nnunet.devices import Device, Slot
from cspine_assets.nnunet.environment import NnunetFolders, child_environment
from cspine_assets.nnunet.fold_folder import (
    FINAL_CHECKPOINT,
    ModelStamp,
    TrainingRecord,
    is_up_to_date,
    model_folder,
    prepare_fold_folder,
    read_record,
    read_stamp,
    read_validation_dice,
)
from cspine_assets.nnunet.holds import Hold, Holder, held, read_holder
from cspine_assets.nnunet.messages import ChildMessage, EpochFinished, Frozen, Note, seconds_left
from cspine_assets.nnunet.plans import Plans, read_splits
from cspine_assets.nnunet.process import ChildLostError, Supervision, run_child
from cspine_assets.nnunet.profiles import Configuration, Profile
from cspine_assets.nnunet.settings import require_trusted_code

LOCK: Final = ".fold_{}.lock"
"""Beside the fold's folder, which may be moved away, and hidden for the same reason."""

WORKER_DEATHS: Final = ("background workers are no longer alive", "background worker is 6 feet under")
"""What nnU-Net and its loaders say when one of their processes has been killed."""

ResumedFrom = Literal["final", "latest", "previous", "best"]


class TrainRequest(Frozen):
    """What the training child is asked for."""

    dataset: str
    configuration: Configuration
    fold: int
    profile: Profile
    device: Device
    device_name: str = "cpu"


class TrainingOutcome(Frozen):
    """What the training child returns."""

    epochs: int
    epochs_trained: int
    resumed_from: ResumedFrom | None


class TrainedFold(Frozen):
    """One trained and validated fold.

    Attributes:
        model_folder: ``.../nnUNetTrainer__nnUNetPlans__2d``, as nnU-Net's own commands want it.
        fold_folder: ``fold_0`` in it.
        epochs: Of the model, in all calls.
        epochs_trained: In this call; 0 when nothing had to be trained.
        resumed_from: The checkpoint that this call continued from, or None.
        up_to_date: The fold stood there complete, and nothing was started.
        validation_dice: Volumetric Dice per structure, mean over the fold's validation cases, from nnU-Net's
            ``summary.json``.
        seconds: Of this call.
        checkpoint_sha256: Of ``checkpoint_final.pth``.
        record: Its epochs and its device.
        augmentation_workers: With which the last child worked.
    """

    configuration: Configuration
    fold: int
    model_folder: Path
    fold_folder: Path
    epochs: int
    epochs_trained: int
    resumed_from: ResumedFrom | None
    up_to_date: bool
    validation_dice: dict[Structure, float]
    seconds: float
    checkpoint_sha256: str
    stamp: ModelStamp
    record: TrainingRecord
    augmentation_workers: int | None


class Crew(Frozen):
    """How many processes help one training.

    Attributes:
        workers: nnU-Net's processes for the final validation.
        augmentation_workers: Processes that augment; None: nnU-Net's own choice.
    """

    workers: int
    augmentation_workers: int | None


def train_fold(
    folders: NnunetFolders,
    plans: Plans,
    *,
    configuration: Configuration,
    fold: int,
    profile: Profile,
    lease: Callable[[], AbstractContextManager[Slot]],
    crew: Crew,
    supervision: Supervision,
) -> TrainedFold:
    """Train, resume or merely confirm one fold, validation included.

    A complete fold of the same data, plans, cases and recipe is returned at once, and no device is leased for it.
    One of others is moved to ``.replaced`` and trained from the start. An interrupted one continues from its most
    advanced readable checkpoint, and so does one whose workers died, with fewer of them.

    Args:
        folders: nnU-Net's folders.
        plans: Of ``plan_and_preprocess``.
        configuration: To train.
        fold: Number of the split.
        profile: Decides the recipe.
        lease: Gives the device to train on, for as long as it is needed.
        crew: How many processes help.
        supervision: Of the child. A heartbeat limit must exceed a step of the training and a case of the
            validation; a training that was stopped can be resumed.

    Raises:
        HeldError: Somebody else is training this fold at this moment.
        NoConsentError: It would train with the published profile on a CPU, and ``allow_cpu`` is not set.
        ModelError: There is no such fold, or the child failed.
    """
    began = time.monotonic()
    stamp = stamp_of(plans, configuration, fold, profile)
    folder = model_folder(folders, plans.folder.name, configuration, profile)
    fold_folder = folder / f"fold_{fold}"
    request = TrainRequest(
        dataset=plans.folder.name, configuration=configuration, fold=fold, profile=profile, device="cpu"
    )
    with held(folder / LOCK.format(fold), f"training of {configuration} fold {fold}") as hold:
        up_to_date = is_up_to_date(fold_folder, stamp, probabilities=profile.export_validation_probabilities)

        def begin(asked: TrainRequest, supervision: Supervision) -> None:
            # first the question: a training that is refused must not move the model before it away
            require_consent(asked, folders, data=plans.fingerprint, supervision=supervision)
            prepare_fold_folder(fold_folder, stamp)

        outcome = None if up_to_date else _trained(request, folders, lease, crew, _telling(hold, supervision), begin)
        record = read_record(fold_folder)
        return TrainedFold(
            configuration=configuration,
            fold=fold,
            model_folder=folder,
            fold_folder=fold_folder,
            epochs=len(record.epochs),
            epochs_trained=outcome.epochs_trained if outcome else 0,
            resumed_from=outcome.resumed_from if outcome else None,
            up_to_date=up_to_date,
            validation_dice=read_validation_dice(fold_folder),
            seconds=time.monotonic() - began,
            checkpoint_sha256=fingerprint_file(fold_folder / FINAL_CHECKPOINT),
            stamp=read_stamp(fold_folder) or stamp,
            record=record,
            augmentation_workers=crew.augmentation_workers,
        )


def _trained(
    request: TrainRequest,
    folders: NnunetFolders,
    lease: Callable[[], AbstractContextManager[Slot]],
    crew: Crew,
    telling: Callable[[Slot], Supervision],
    begin: Callable[[TrainRequest, Supervision], None],
) -> TrainingOutcome:
    """Run the child on a leased device; when its workers die, again with fewer."""
    if request.profile.trainer is not None:
        require_trusted_code(request.profile.trainer)
    with lease() as slot:
        asked = request.model_copy(update={"device": slot.device, "device_name": slot.name or slot.device})
        supervision = telling(slot)
        begin(asked, supervision)

        def run(augmentation_workers: int | None) -> TrainingOutcome:
            environment = child_environment(
                folders,
                workers=crew.workers,
                augmentation_workers=augmentation_workers,
                compile_network=request.profile.compile,
            )
            return run_child(
                "cspine_assets.nnunet.children.train",
                asked,
                result_type=TrainingOutcome,
                env=environment | slot.env,
                supervision=supervision,
            )

        ladder = worker_ladder(crew.augmentation_workers)
        for planned, fewer in pairwise(ladder):
            try:
                return run(planned)
            except ModelError as error:
                if not workers_died(error):
                    raise
                what = f"{request.configuration} fold {request.fold}: {str(error).splitlines()[0]}"
                instead = "as many augmentation workers as nnU-Net chose" if planned is None else str(planned)
                supervision.on_message(
                    Note(text=f"{what} Going on after the last checkpoint with {fewer} instead of {instead}.")
                )
        return run(ladder[-1])


def worker_ladder(augmentation_workers: int | None) -> tuple[int | None, ...]:
    """With how many augmentation workers to try, one after the other: as planned, one, none."""
    if augmentation_workers is None or augmentation_workers > 1:
        return (augmentation_workers, 1, 0)
    return tuple(range(augmentation_workers, -1, -1))


def workers_died(error: ModelError) -> bool:
    """Whether fewer workers may be the cure: one has died, or the whole child is lost."""
    return isinstance(error, ChildLostError) or any(death in str(error) for death in WORKER_DEATHS)


def _telling(hold: Hold, supervision: Supervision) -> Callable[[Slot], Supervision]:
    """The same supervision, which also tells others by the lock how far the training is, and on what device."""

    def on(slot: Slot) -> Supervision:
        def listen(message: ChildMessage) -> None:
            if isinstance(message, EpochFinished):
                hold.tell(epoch=message.epoch, epochs=message.epochs, seconds_left=seconds_left(message))
            supervision.on_message(message)

        hold.tell(device=slot.name or slot.device)
        return replace(supervision, on_message=listen)

    return on


def running_trainings(folders: NnunetFolders) -> tuple[Holder, ...]:
    """The trainings that are going on in a home, in whichever process, with their device and their epoch."""
    locks = sorted(folders.results.glob(f"*/*/{LOCK.format('*')}"))
    return tuple(holder for holder in map(read_holder, locks) if holder is not None)


def stamp_of(plans: Plans, configuration: Configuration, fold: int, profile: Profile) -> ModelStamp:
    """What a model of this fold is trained from, as things stand.

    Raises:
        ModelError: There is no such fold.
    """
    splits = read_splits(plans.folder)
    if not 0 <= fold < len(splits):
        # nnU-Net would silently train on a random share of the cases instead
        raise ModelError(f"fold {fold} was asked for; {plans.folder.name} has folds 0 to {len(splits) - 1}")
    return ModelStamp(
        fingerprint=fingerprint_text(
            plans.fingerprint,
            splits[fold].model_dump_json(),
            profile.training_part(configuration),
            str(profile.seed),
            configuration,
        ),
        training_fingerprint=plans.training_fingerprint,
        profile=profile.name,
        configuration=configuration,
        fold=fold,
        seed=profile.seed,
        nnunetv2_version=version("nnunetv2"),
        torch_version=version("torch"),
    )
