"""Two folders of masks: which reference and which prediction belong together.

Add here how names of other makers are matched. Reading and measuring the masks is no matter of this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.image_names import without_ending

_MARK: Final = "_seg"
"""What the release puts behind a mask's name, in any case; nnU-Net's predictions have the plain name."""


@dataclass(frozen=True)
class MaskFiles:
    """The files of one case.

    Attributes:
        case_id: Name of both files without ``.nii``, ``.nii.gz`` and ``_SEG``.
        reference: Mask that is taken as true.
        prediction: Mask that is judged, None where there is none.
    """

    case_id: str
    reference: Path
    prediction: Path | None


@dataclass(frozen=True)
class MatchedFolders:
    """What two folders hold.

    Attributes:
        cases: Every reference, with its prediction or without, by case.
        without_reference: Predictions that nothing can be compared with, by name.
        passed_over: A sentence per folder in which masks were sought that lie in folders inside it.
    """

    cases: list[MaskFiles]
    without_reference: list[str]
    passed_over: list[str]


def match_folders(references: Path, predictions: Path) -> MatchedFolders:
    """Returns the cases of two folders, by name: a prediction ``case.nii.gz`` belongs to ``case_SEG.nii.gz``.

    Names count in composed Unicode and endings in any case. Images of other kinds than NIfTI are taken for cases, so
    that each fails by its name. Other files, hidden ones and folders inside are passed over; where one of both files is
    missing, it is said of masks in folders inside.

    Raises:
        CSpineError: A folder is none or holds no mask, two files of a folder have one case, or not one case is in both.
    """
    true, judged = _masks_in(references), _masks_in(predictions)
    lacking = ((references, judged.keys() - true.keys()), (predictions, true.keys() - judged.keys()))
    passed_over = [told for folder, absent in lacking if absent and (told := _inside(folder))]
    if not true.keys() & judged.keys():
        raise CSpineError(
            f"expected masks of the same cases in {references} and {predictions}, not one name is in both "
            f"(such as {min(true)!r} and {min(judged)!r}, without .nii.gz and _SEG). "
            f"{' '.join(passed_over) or 'Rename the predictions after their references.'}"
        )
    return MatchedFolders(
        cases=[MaskFiles(case_id, path, judged.get(case_id)) for case_id, path in sorted(true.items())],
        without_reference=sorted(path.name for case_id, path in judged.items() if case_id not in true),
        passed_over=passed_over,
    )


def _masks_in(folder: Path) -> dict[str, Path]:
    """Returns the masks of a folder by case."""
    if not folder.is_dir():
        raise CSpineError(f"{folder}: expected a folder of masks (.nii.gz or .nii), there is none.")
    masks: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        case_id = _case_id(path.name)
        if case_id is None or path.is_dir():
            continue
        if case_id in masks:
            raise CSpineError(
                f"{folder}: expected one mask of a case, got {masks[case_id].name} and {path.name}. Take one away."
            )
        masks[case_id] = path
    if not masks:
        raise CSpineError(f"{folder}: expected masks (.nii.gz or .nii), there is none. {_inside(folder)}".rstrip())
    return masks


def _inside(folder: Path) -> str:
    """Returns what to say of the masks in folders inside a folder; nothing where there are none."""
    found = sorted(path for path in folder.glob("*/**/*") if _case_id(path.name) is not None and path.is_file())
    if not found:
        return ""
    return (
        f"{len(found)} mask(s) lie in folders inside {folder}, such as {found[0].relative_to(folder)}; only those in "
        "the folder itself are taken. Name the folder that holds them, or move them up."
    )


def _case_id(name: str) -> str | None:
    """Returns the case that a file's name stands for, None where it is no mask's."""
    stem = without_ending(name)
    if stem is None:
        return None
    return stem[: -len(_MARK)] if stem.lower().endswith(_MARK) else stem
