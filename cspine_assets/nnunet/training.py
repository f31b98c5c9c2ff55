"""Training one fold of one configuration in a child process, by one caller at a time, with fewer workers when they die.

Change this file when how a training is started, watched or tried again changes.
The trainer stands in ``children``, what it leaves behind in ``fold_folder``, how that takes the place of the model in
force in ``replacement``; which folds run at once and on which
devices is the caller's business.
"""

from __future__ import annotations

import shutil
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
from cspine_assets.domain.files import fingerprint_text, write_text
from cspine_assets.nnunet.cpu_training import require_consent
from cspine_assets.nnunet.devices import Device, Slot
from cspine_assets.nnunet.environment import NnunetFolders, child_environment
from cspine_assets.nnunet.fold_folder import (
    FINAL_CHECKPOINT,
    MODEL_FILES,
    OWN_MODEL_FILES,
    RUN_FILE,
    FoldCases,
    LastRun,
    ModelStamp,
    TrainingRecord,
    is_up_to_date,
    mark_of,
    model_folder,
    prepare_fold_folder,
    read_last_run,
    read_record,
    read_stamp,
    read_validation_dice,
)
from cspine_assets.nnunet.holds import Hold, Holder, held, read_holder
from cspine_assets.nnunet.messages import ChildMessage, EpochFinished, Frozen, Note, seconds_left
from cspine_assets.nnunet.plans import Plans, read_splits
from cspine_assets.nnunet.process import ChildLostError, Supervision, run_child
from cspine_assets.nnunet.profiles import Configuration, Profile
from cspine_assets.nnunet.replacement import (
    STANDS,
    Placement,
    finished_fold,
    folders_aside,
    lock_file,
    placing,
    seed_aside,
    take_place,
)
from cspine_assets.nnunet.settings import require_trusted_code

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
        fold_folder: ``fold_0`` in it; one that waits for others stands aside.
        placement: Whether it is in force, and what took its place in this call.
        epochs: Of the model, in all calls.
        epochs_trained: In this call; 0 when nothing had to be trained.
        resumed_from: The checkpoint that this call continued from, or None.
        up_to_date: The fold was complete, in place or aside, and nothing was started.
        validation_dice: Volumetric Dice per structure, mean over the fold's validation cases, from nnU-Net's
            ``summary.json``.
        last_run: Of the call that finished the training, this one or an earlier one.
        checkpoint_sha256: Of ``checkpoint_final.pth``.
        record: Its epochs and its device.
        augmentation_workers: With which the last child worked.
    """

    configuration: Configuration
    fold: int
    model_folder: Path
    fold_folder: Path
    placement: Placement
    epochs: int
    epochs_trained: int
    resumed_from: ResumedFrom | None
    up_to_date: bool
    validation_dice: dict[Structure, float]
    last_run: LastRun
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
    """Train, resume or merely confirm one fold, validation included; then let it take its place, if that may be.

    A complete fold of the same data, plans, cases and recipe is returned at once, and no device is leased for it.
    A training works aside: what is in force is not touched before it can be replaced. An interrupted one continues
    from its most advanced readable checkpoint, and so does one whose workers died, with fewer of them.

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
    probabilities = profile.export_validation_probabilities
    dataset = plans.folder.name
    folder = model_folder(folders, dataset, configuration, profile)
    aside = folders_aside(folders, stamp)
    request = TrainRequest(dataset=dataset, configuration=configuration, fold=fold, profile=profile, device="cpu")
    lock = lock_file(folders, dataset, configuration, fold)
    cases = FoldCases(**read_splits(plans.folder)[fold].model_dump())
    work = model_folder(aside, dataset, configuration, profile) / f"fold_{fold}"

    def begin(asked: TrainRequest, supervision: Supervision) -> None:
        # first the question: nothing is begun by a training that is refused
        require_consent(asked, folders, data=plans.fingerprint, supervision=supervision)
        with placing(folders, dataset, configuration):
            seed_aside(folders, folder, stamp)
        prepare_fold_folder(work, stamp, cases)

    with held(lock, f"training of {configuration} fold {fold}") as hold:
        with placing(folders, dataset, configuration):
            finished = finished_fold(folders, folder, stamp, probabilities=probabilities)
        outcome = None
        if finished is None:
            outcome = _trained(request, aside, lease, crew, _telling(hold, supervision), begin)
        with placing(folders, dataset, configuration):
            if outcome is not None:
                _note_run(work, outcome, seconds=time.monotonic() - began)
            wanted = {number: stamp_of(plans, configuration, number, profile) for number in _fold_numbers(plans)}
            placement = take_place(folders, folder, wanted, fold=fold, probabilities=probabilities)
            standing = finished_fold(folders, folder, stamp, probabilities=probabilities)
            trained = trained_fold(standing or work, placement, crew)
    return trained.model_copy(
        update={
            "epochs_trained": outcome.epochs_trained if outcome else 0,
            "resumed_from": outcome.resumed_from if outcome else None,
            "up_to_date": outcome is None,
        }
    )


def trained_fold(fold_folder: Path, placement: Placement = STANDS, crew: Crew | None = None) -> TrainedFold:
    """What a finished training left in its folder, with nothing trained in this call.

    Raises:
        ModelError: The folder holds no finished training of this platform's.
    """
    stamp = read_stamp(fold_folder)
    if stamp is None or not is_up_to_date(fold_folder, stamp):
        raise ModelError(f"{fold_folder}: expected a fold that is trained and validated. Call `cspine materialize`.")
    record = read_record(fold_folder)
    run = read_last_run(fold_folder)
    if run is None:
        run = LastRun(seconds=0, resumed_from_epoch=None, checkpoint=mark_of(fold_folder / FINAL_CHECKPOINT))
    return TrainedFold(
        configuration=stamp.configuration,
        fold=stamp.fold,
        model_folder=fold_folder.parent,
        fold_folder=fold_folder,
        placement=placement,
        epochs=len(record.epochs),
        epochs_trained=0,
        resumed_from=None,
        up_to_date=True,
        validation_dice=read_validation_dice(fold_folder),
        last_run=run,
        checkpoint_sha256=run.checkpoint.sha256,
        stamp=stamp,
        record=record,
        augmentation_workers=crew.augmentation_workers if crew else None,
    )


def _note_run(fold_folder: Path, outcome: TrainingOutcome, *, seconds: float) -> None:
    """Keep beside a model how the call went that finished it: its row may be written by another one."""
    resumed = outcome.epochs - outcome.epochs_trained if outcome.resumed_from else None
    spare = fold_folder / OWN_MODEL_FILES
    spare.mkdir(exist_ok=True)
    for name in MODEL_FILES:
        shutil.copy2(fold_folder.parent / name, spare / name)
    run = LastRun(seconds=seconds, resumed_from_epoch=resumed, checkpoint=mark_of(fold_folder / FINAL_CHECKPOINT))
    write_text(fold_folder / RUN_FILE, run.model_dump_json() + "\n")


def _fold_numbers(plans: Plans) -> range:
    return range(len(read_splits(plans.folder)))


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
    locks = sorted(folders.results.glob(lock_file(folders, "*", "*", "*").relative_to(folders.results).as_posix()))
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
        choice=fingerprint_text(
            plans.fingerprint, profile.training_part(configuration), str(profile.seed), configuration
        ),
        training_fingerprint=plans.training_fingerprint,
        profile=profile.name,
        configuration=configuration,
        fold=fold,
        seed=profile.seed,
        nnunetv2_version=version("nnunetv2"),
        torch_version=version("torch"),
    )
