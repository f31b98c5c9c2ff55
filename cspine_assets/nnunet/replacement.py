"""How a finished training takes the place of the model in force, and what lies aside until then and afterwards.

Every training works aside, in a folder of its own choice. A configuration whose folds are all trained is replaced as a
whole, in one rename, once all folds of the new choice are finished; the folds of two choices are never one model.
Change this file when it changes what takes a place, and when. How a fold is trained stands in ``training``.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from filelock import FileLock

from cspine_assets.domain.files import fingerprint_file, fresh_folder_beside, write_text
from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.fold_folder import (
    FINAL_CHECKPOINT,
    MODEL_FILES,
    OWN_MODEL_FILES,
    RUN_FILE,
    STAMP_FILE,
    SUMMARY,
    LastRun,
    ModelStamp,
    is_complete,
    is_intact,
    is_up_to_date,
    mark_of,
    read_last_run,
    read_record_if_any,
    read_stamp,
)
from cspine_assets.nnunet.holds import SHARED_MODE, read_holder
from cspine_assets.nnunet.profiles import Configuration

ASIDE: Final = "aside"
"""Folder of the results for trainings that are not in force: unfinished, waiting for other folds, or replaced."""

REPLACED: Final = ".replaced"
"""Where earlier releases kept outdated folds, beside those in force; they are found there still."""

_KEY_LENGTH: Final = 16
_LOCK: Final = ".{}-fold_{}.lock"
_PLACE_LOCK: Final = ".{}-place.lock"


@dataclass(frozen=True)
class Placement:
    """What stands in place after a training has ended.

    Attributes:
        in_force: Whether what was wanted of the asked fold stands in its place.
        placed: Folds that took their place in this call; all of them once the configuration is complete by it.
        waits_for: Folds that must be trained before the whole configuration can be replaced.
    """

    in_force: bool
    placed: tuple[int, ...] = ()
    waits_for: tuple[int, ...] = ()


STANDS: Final = Placement(in_force=True)
"""Of a fold that stands in its place already."""


@dataclass(frozen=True)
class AsideFold:
    """A fold that lies aside.

    Attributes:
        root: Its folder among those aside; nothing else is in it.
        folder: The fold's own folder in it.
        stamp: What it was, or is being, trained from.
        is_complete: Whether it is trained and validated to its end.
        epochs: Epochs of a complete one.
    """

    root: Path
    folder: Path
    stamp: ModelStamp
    is_complete: bool
    epochs: int | None


def lock_file(folders: NnunetFolders, dataset: str, configuration: str, fold: int | str) -> Path:
    """Where it is locked that somebody trains a fold: beside the models, whose folders are replaced as a whole."""
    return folders.results / dataset / _LOCK.format(configuration, fold)


def folders_aside(folders: NnunetFolders, stamp: ModelStamp) -> NnunetFolders:
    """nnU-Net's folders for one training that works aside: its own place for results, found again by its stamp."""
    key = f"{stamp.configuration}-fold_{stamp.fold}-{stamp.fingerprint[:_KEY_LENGTH]}"
    return replace(folders, results=folders.results / ASIDE / key)


def folds_aside(folders: NnunetFolders) -> Iterator[AsideFold]:
    """Every fold that lies aside, sorted by its folder; none where nothing does."""
    for folder in sorted(folders.results.glob(f"{ASIDE}/*/*/*/fold_*")):
        stamp = read_stamp(folder)
        if stamp is not None:
            record = read_record_if_any(folder)
            complete = is_complete(folder)
            epochs = len(record.epochs) if record and complete else None
            yield AsideFold(folder.parents[2], folder, stamp, complete, epochs)


def remove_aside(folders: NnunetFolders) -> list[Path]:
    """Remove all that lies aside and is not being trained at this moment; returns the removed folders."""
    gone = []
    for one in list(folds_aside(folders)):
        if not _is_trained_now(folders, one):
            shutil.rmtree(one.root, ignore_errors=True)
            gone.append(one.root)
    with suppress(OSError):
        (folders.results / ASIDE).rmdir()
    return gone


def finished_fold(
    folders: NnunetFolders, model_folder: Path, stamp: ModelStamp, *, probabilities: bool = False
) -> Path | None:
    """Where a training stands that is finished and validated: in place, aside, or where earlier releases moved it."""
    name = f"fold_{stamp.fold}"
    aside = folders_aside(folders, stamp).results / model_folder.relative_to(folders.results) / name
    earlier = sorted((model_folder / REPLACED).glob(f"{name}-*"), reverse=True)
    for folder in (model_folder / name, aside, *earlier):
        # aside, the child has ended its work before its caller has taken note of it
        noted = folder != aside or (folder / RUN_FILE).is_file()
        if noted and is_up_to_date(folder, stamp, probabilities=probabilities):
            return folder
    return None


def seed_aside(folders: NnunetFolders, model_folder: Path, stamp: ModelStamp) -> None:
    """Bring aside what stands in place of this very training and is not finished: it goes on there.

    A finished one that lacks the probabilities that are asked for is copied, as it stays in force; what an earlier
    release left unfinished in place is moved.
    """
    place = model_folder / f"fold_{stamp.fold}"
    standing = read_stamp(place)
    aside = folders_aside(folders, stamp).results / place.relative_to(folders.results)
    if standing is None or standing.fingerprint != stamp.fingerprint or aside.exists():
        return
    if not (place / FINAL_CHECKPOINT).is_file():
        aside.parent.mkdir(parents=True, exist_ok=True)
        place.rename(aside)
    elif is_intact(place):
        shutil.copytree(place, aside, ignore=shutil.ignore_patterns(RUN_FILE))


@contextmanager
def placing(folders: NnunetFolders, dataset: str, configuration: Configuration) -> Iterator[None]:
    """Hold the places of one configuration while the block runs: nobody else moves a fold of it meanwhile."""
    folder = folders.results / dataset
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / _PLACE_LOCK.format(configuration), thread_local=False, mode=SHARED_MODE):
        yield


def take_place(
    folders: NnunetFolders,
    model_folder: Path,
    wanted: Mapping[int, ModelStamp],
    *,
    fold: int,
    probabilities: bool = False,
) -> Placement:
    """Put what is finished of a choice into its place, if that may be; the caller holds the places.

    Where a complete model of the configuration is in force, only all folds of the choice together replace it; else each
    takes its place as it is finished. What is replaced is kept aside; what other choices began and never finished is
    removed then.

    Args:
        folders: nnU-Net's folders.
        model_folder: Where the folds of the choice have their place.
        wanted: The stamp of every fold of the choice.
        fold: The fold that has just been finished.
        probabilities: Whether that fold is to have the softmax of its validation cases.
    """
    configuration = wanted[fold].configuration
    dataset = model_folder.parent
    found = {
        number: finished_fold(folders, model_folder, stamp, probabilities=probabilities and number == fold)
        for number, stamp in wanted.items()
    }
    sources = {number: folder for number, folder in found.items() if folder is not None}
    missing = tuple(sorted(wanted.keys() - sources.keys()))
    if missing and _is_in_force(dataset, configuration, wanted):
        return Placement(in_force=False, waits_for=missing)
    moved = {number: folder for number, folder in sources.items() if folder.parent != model_folder}
    if moved:
        _put(folders, model_folder, moved)
    for number, folder in sources.items():
        if folder.parent == model_folder:
            _link_files(_shared_files(folder), model_folder)  # where they were lost, or changed by others
            _name_choice(folder, wanted[number])
        if number == fold or read_holder(lock_file(folders, dataset.name, configuration, number)) is None:
            _remove_double(folders, model_folder, number)
    if moved or not missing:
        _remove_abandoned(folders, configuration, wanted)
    placed = (moved if missing else sources) if moved else ()
    return Placement(in_force=fold in sources, placed=tuple(sorted(placed)))


def _is_in_force(dataset: Path, configuration: Configuration, folds: Collection[int]) -> bool:
    """Whether a complete model of a configuration stands in place, by whatever trainer and plans."""
    return any(
        all(read_stamp(model / f"fold_{fold}") and is_complete(model / f"fold_{fold}") for fold in folds)
        for model in dataset.glob(f"[!.]*__{configuration}")  # what a killed process left is hidden
    )


def _put(folders: NnunetFolders, model_folder: Path, moved: Mapping[int, Path]) -> None:
    """Put folds into a model's folder, all in one rename; those that they replace are kept aside first."""
    for number, source in moved.items():
        _keep_aside(folders, model_folder / f"fold_{number}", instead=source)
    replaced = {f"fold_{number}" for number in moved}
    # links and not moves: a process killed before the rename leaves every fold where it was
    with fresh_folder_beside(model_folder) as fresh:
        if model_folder.exists():
            _link_tree(model_folder, fresh, without=replaced)
        for number, source in sorted(moved.items()):
            _link_fold(source, fresh / f"fold_{number}", place=model_folder / f"fold_{number}")
            _link_files(_shared_files(source), fresh)


def _name_choice(fold_folder: Path, wanted: ModelStamp) -> None:
    """Let the stamp of an earlier release, which does not name its choice, name this one: it is the same training."""
    standing = read_stamp(fold_folder)
    if standing is not None and standing.choice is None:
        named = standing.model_copy(update={"choice": wanted.choice})
        write_text(fold_folder / STAMP_FILE, named.model_dump_json(indent=2) + "\n")


def _remove_double(folders: NnunetFolders, model_folder: Path, number: int) -> None:
    """Remove aside what stands in place now, also where a process was killed before it could."""
    place = model_folder / f"fold_{number}"
    stamp = read_stamp(place)
    if stamp is None:
        return
    shutil.rmtree(folders_aside(folders, stamp).results, ignore_errors=True)
    for earlier in (model_folder / REPLACED).glob(f"{place.name}-*"):
        if read_stamp(earlier) == stamp:
            shutil.rmtree(earlier)


def _keep_aside(folders: NnunetFolders, place: Path, *, instead: Path) -> None:
    """Let a fold stand aside too that is about to be replaced by another training; one that is no model goes."""
    if not is_intact(place):
        return
    stamp, new = read_stamp(place), read_stamp(instead)
    if stamp is not None and new is not None and stamp.fingerprint == new.fingerprint:
        return
    if stamp is None:  # trained by other means: known by its checkpoint alone
        root = folders.results / ASIDE / f"{place.name}-{fingerprint_file(place / FINAL_CHECKPOINT)[:_KEY_LENGTH]}"
    else:
        root = folders_aside(folders, stamp).results
    aside = root / place.relative_to(folders.results)
    if aside.exists():
        shutil.rmtree(aside)
    _link_fold(place, aside, place=aside)
    if read_last_run(aside) is None:  # trained by an earlier release
        run = LastRun(seconds=0, resumed_from_epoch=None, checkpoint=mark_of(aside / FINAL_CHECKPOINT))
        write_text(aside / RUN_FILE, run.model_dump_json() + "\n")
    _link_files(_shared_files(place), aside.parent)


def _shared_files(fold_folder: Path) -> list[Path]:
    """nnU-Net's files that all folds of a model share: plans, dataset and its fingerprint."""
    beside = fold_folder.parent.parent if fold_folder.parent.name == REPLACED else fold_folder.parent
    own = fold_folder / OWN_MODEL_FILES
    folder = own if own.is_dir() else beside
    return [folder / name for name in MODEL_FILES if (folder / name).is_file()]


def _remove_abandoned(folders: NnunetFolders, configuration: Configuration, wanted: Mapping[int, ModelStamp]) -> None:
    """Remove what other choices of a configuration began and never finished, once this one stands."""
    kept = {stamp.fingerprint for stamp in wanted.values()}
    for one in list(folds_aside(folders)):
        other = one.stamp.configuration == configuration and one.stamp.fingerprint not in kept
        if other and not one.is_complete and not _is_trained_now(folders, one):
            shutil.rmtree(one.root, ignore_errors=True)


def _is_trained_now(folders: NnunetFolders, one: AsideFold) -> bool:
    dataset = one.folder.parents[1].name
    return read_holder(lock_file(folders, dataset, one.stamp.configuration, one.stamp.fold)) is not None


def _link_tree(source: Path, destination: Path, *, without: set[str] | frozenset[str] = frozenset()) -> None:
    """Let a folder stand at a second place, with nothing copied where the file system has hard links."""
    shutil.copytree(
        source,
        destination,
        copy_function=_link,
        dirs_exist_ok=True,
        ignore=lambda folder, _names: without if Path(folder) == source else (),
    )


def _link_fold(source: Path, destination: Path, *, place: Path) -> None:
    """Let a fold stand at a second place; the files that its summary names are found from there.

    Args:
        source: The fold's folder.
        destination: Folder to be made.
        place: Where that will be in the end.
    """
    _link_tree(source, destination)
    if not (source / SUMMARY).is_file():
        return
    summary = json.loads((source / SUMMARY).read_text(encoding="utf-8"))
    for case in summary.get("metric_per_case", ()):
        for key in ("prediction_file", "reference_file"):
            named = Path(os.path.normpath(source / SUMMARY.parent / case[key]))
            if not named.is_relative_to(source):
                case[key] = os.path.relpath(named, place / SUMMARY.parent)
    write_text(destination / SUMMARY, json.dumps(summary, indent=4, sort_keys=True) + "\n")


def _link_files(files: list[Path], folder: Path) -> None:
    """Let files stand in a folder too; one that holds the same already stays as it is."""
    for file in files:
        place = folder / file.name
        if place.is_file() and filecmp.cmp(file, place, shallow=False):
            continue
        place.unlink(missing_ok=True)
        _link(str(file), str(place))


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)
