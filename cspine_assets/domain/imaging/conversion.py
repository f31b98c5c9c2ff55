"""Requested series become volumes at their places: one exam, any scan, or several with one call of dcm2niix.

Add an entrance here when series come in a new way. What happens to a series stands in ``opening``,
``converter`` and ``finishing``; worker processes are the matter of ``batch``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cspine_assets.domain.errors import ConversionError, unexpected_reason
from cspine_assets.domain.image_names import refusal_of_ending, without_ending
from cspine_assets.domain.imaging.converter import Produced, convert_alone, convert_call
from cspine_assets.domain.imaging.deidentification import HeaderFinding
from cspine_assets.domain.imaging.finishing import finish_converted, finish_shipped
from cspine_assets.domain.imaging.opening import OpenedSeries, open_series
from cspine_assets.domain.imaging.outcome import Converted, ConvertedVolume, Failed, Outcome
from cspine_assets.domain.imaging.refusal import Cause, Refusal, cause_of
from cspine_assets.domain.imaging.scratch import memory_folder, scratch_folder
from cspine_assets.domain.imaging.series import SeriesGeometry
from cspine_assets.domain.imaging.sources import SeriesRequest
from cspine_assets.domain.volume import STRICT, Allowance, is_placed, place_volume

_T = TypeVar("_T")


@dataclass(frozen=True)
class ConversionTask:
    """A series and the place of its volume, ending in ``.nii.gz``."""

    request: SeriesRequest
    destination: Path


def convert_exam(request: SeriesRequest, destination: Path, scratch: Path) -> ConvertedVolume:
    """Writes one exam's volume and returns what it is.

    The DICOM series is converted; where there is none, the shipped NIfTI is taken after the same checks. The
    file is written whole or not at all, and equal input gives equal bytes.

    Args:
        request: What is asked for.
        destination: Place of the volume, ending in ``.nii.gz``.
        scratch: Folder for unpacked files; emptied again.

    Raises:
        ConversionError: The series cannot become one trustworthy volume, with one reason. Nothing is written.
    """
    outcome = convert_together([ConversionTask(request, destination)], scratch)[0]
    if isinstance(outcome, Failed):
        raise Refusal(outcome.cause, outcome.reason)
    return outcome.volume


def convert_series(
    scan: Path, destination: Path, *, scratch: Path | None = None, allowed: Allowance = STRICT
) -> ConvertedVolume:
    """Writes the volume of any scan outside the study and returns what it is.

    Args:
        scan: Folder or zip of one DICOM series, or a NIfTI.
        destination: Place of the volume, ending in ``.nii.gz``.
        scratch: Folder for unpacked files; the system's own where not given.
        allowed: What is allowed of a NIfTI beyond the rules.

    Raises:
        ConversionError: As ``convert_exam``; patient, series and length are not known and not checked.
        GeometryError: A NIfTI for which something is allowed cannot be read.
    """
    scratch = scratch or Path(tempfile.gettempdir())
    if not scan.exists():
        raise ConversionError(f"{scan}: expected a DICOM series (folder, zip) or a NIfTI, there is nothing.")
    if destination.exists() and destination.samefile(scan):
        raise ConversionError(f"{scan}: expected another place for the volume than the scan itself. Choose one.")
    name = scan_name(scan)
    if scan.is_dir() or without_ending(scan.name) is None:
        return convert_exam(SeriesRequest(name, series=scan), destination, scratch)
    if found := refusal_of_ending(scan.name):
        raise Refusal(Cause.OTHER_KIND, f"{scan}: {found}")
    if allowed.axes is None or is_placed(scan):
        return convert_exam(SeriesRequest(name, shipped_nifti=scan), destination, scratch)
    with scratch_folder(scratch) as folder:
        placed = folder / "placed.nii"
        place_volume(scan, placed, allowed)
        return convert_exam(SeriesRequest(name, shipped_nifti=placed), destination, scratch)


def scan_name(scan: Path) -> str:
    """Returns what a scan outside the study is called: its file or folder without the ending of its format."""
    name = scan.resolve().name
    ending = next((ending for ending in (".nii.gz", ".nii", ".zip", ".dcm") if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def convert_together(tasks: Sequence[ConversionTask], scratch: Path) -> list[Outcome]:
    """Converts several series with one call of dcm2niix and returns an outcome for each, in their order.

    A series that does not come out of the shared call as it should is converted once more by itself, so that
    no outcome depends on its neighbours.

    Args:
        tasks: Of different exams.
        scratch: Folder for unpacked files; emptied again.
    """
    with scratch_folder(scratch) as folder, memory_folder() as memory:
        opened = {f"{number:05d}": _opened(task, folder, f"{number:05d}", memory) for number, task in enumerate(tasks)}
        shared = _convert_shared(opened, folder)
        return [
            _finished(task, opened[name], shared.get(name), folder / "alone" / name)
            for task, name in zip(tasks, opened, strict=True)
        ]


def _opened(task: ConversionTask, folder: Path, name: str, memory: Path | None) -> OpenedSeries | Failed | None:
    """Unpacks a series; None where there is none to unpack."""
    source = task.request.series
    if source is None:
        return None
    place, in_memory = folder / "series" / name, None if memory is None else memory / name
    return _guarded(task.request, (), lambda: open_series(task.request, source, place, memory=in_memory))


def _convert_shared(opened: dict[str, OpenedSeries | Failed | None], folder: Path) -> dict[str, Produced]:
    """Converts the good series in one call; those that are refused lie elsewhere by then."""
    uids: dict[str, str] = {}
    for name, series in opened.items():
        if isinstance(series, OpenedSeries) and isinstance(series.verdict, SeriesGeometry):
            uids[name] = series.verdict.series_uid
        elif (folder / "series" / name).exists():
            (folder / "refused").mkdir(exist_ok=True)
            (folder / "series" / name).rename(folder / "refused" / name)
    return convert_call(folder / "series", uids, folder / "shared") if len(uids) > 1 else {}


def _finished(
    task: ConversionTask, opened: OpenedSeries | Failed | None, shared: Produced | None, folder: Path
) -> Outcome:
    if isinstance(opened, Failed):
        return opened
    findings = () if opened is None else opened.findings
    made = _guarded(task.request, findings, lambda: _volume(task, opened, shared, folder))
    return made if isinstance(made, Failed) else Converted(made)


def _volume(
    task: ConversionTask, opened: OpenedSeries | None, shared: Produced | None, folder: Path
) -> ConvertedVolume:
    request = task.request
    if opened is None:
        if request.shipped_nifti is None:
            raise Refusal(Cause.MISSING, f"{request.exam_id}: expected a DICOM series or a NIfTI, there is neither.")
        return finish_shipped(request, request.shipped_nifti, task.destination, folder)
    verdict = opened.verdict
    if isinstance(verdict, ConversionError):
        raise verdict

    def finish(produced: Produced) -> ConvertedVolume:
        return finish_converted(
            request,
            task.destination,
            produced=produced,
            series=verdict,
            slices=opened.slices,
            findings=opened.findings,
            notes=opened.notes,
            folder=folder / "shipped",
        )

    if shared is not None:
        try:
            return finish(shared)
        except ConversionError:
            pass  # its neighbours may be the cause: the verdict is that of a call of its own
    return finish(convert_alone(opened.folder, folder / "out"))


def _guarded(request: SeriesRequest, findings: tuple[HeaderFinding, ...], step: Callable[[], _T]) -> _T | Failed:
    """Takes one step of one exam; whatever fails there fails for this exam alone."""
    try:
        return step()
    except ConversionError as error:
        return Failed(request, cause_of(error), str(error), findings)
    # hostile files raise what nobody listed, and a whole cohort waits
    except Exception as error:  # noqa: BLE001
        return Failed(request, Cause.UNEXPECTED, unexpected_reason(request.exam_id, error), findings)
