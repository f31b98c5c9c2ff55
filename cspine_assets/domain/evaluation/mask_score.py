"""All measures of one reference and one prediction, from their files.

Add a measure here when it has a module of its own. What a row of a table is stands in ``score`` and ``folder_score``;
tables and pandas stay out, since a score of two folders starts within a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cspine_assets.domain.anatomy import LABELS, Structure
from cspine_assets.domain.evaluation.overlap import Overlap, measure_overlap
from cspine_assets.domain.evaluation.pair import PairScratch, read_mask_pair
from cspine_assets.domain.volume import STRICT, Allowance

if TYPE_CHECKING:
    from cspine_assets.domain.evaluation.level_naming import NamedPair, Namer
    from cspine_assets.domain.evaluation.level_score import LevelScore
    from cspine_assets.domain.evaluation.morphometry import Morphometry
    from cspine_assets.domain.evaluation.pair import MaskPair
    from cspine_assets.domain.evaluation.surface import SurfaceDistance


@dataclass(frozen=True)
class MaskScore:
    """All measures of one pair of masks.

    Attributes:
        overlap: Overlap of each structure.
        surfaces: Surface distances of each structure, empty where none were asked for.
        levels: Levels of bodies and discs, empty where none were asked for.
        morphometry: Sizes and angles, empty where none were asked for.
        diagonal_mm: Diagonal of the volume.
    """

    overlap: dict[Structure, Overlap]
    surfaces: dict[Structure, SurfaceDistance]
    levels: list[LevelScore]
    morphometry: list[Morphometry]
    diagonal_mm: float


def score_masks(  # noqa: PLR0913 - keyword-only choices, each with its default
    reference_path: Path,
    prediction_path: Path | None,
    *,
    labels: Mapping[Structure, int] = LABELS,
    with_surfaces: bool = True,
    with_levels: bool = True,
    with_morphometry: bool = False,
    scratch: PairScratch | None = None,
    name: Namer | None = None,
    allowed: Allowance = STRICT,
) -> MaskScore:
    """Returns all measures of two mask files.

    Args:
        reference_path: Mask that is taken as true.
        prediction_path: Mask that is judged; None stands for a missing prediction and scores as an empty one.
        labels: Number of each structure in both files; by default the study's.
        with_surfaces: Whether surface distances are measured too.
        with_levels: Whether levels are measured too.
        with_morphometry: Whether sizes and angles are measured too.
        scratch: Memory to score many pairs with, one after another.
        name: Names the levels of the reference; None names them anew.
        allowed: What is allowed of both files beyond the rules.

    Raises:
        GeometryError: A file cannot be read, or the grids differ; the message names the difference.
        CSpineError: A mask has labels, but none of those asked for.
    """
    pair = read_mask_pair(reference_path, prediction_path, labels=labels, scratch=scratch, allowed=allowed)
    overlap = measure_overlap(
        pair.reference,
        pair.prediction,
        slice_axis=pair.geometry.slice_axis,
        voxel_volume_mm3=pair.geometry.voxel_volume_mm3,
    )
    named = _named(pair, name) if with_levels or with_morphometry else None
    return MaskScore(
        overlap={structure: overlap[structure] for structure in labels},
        surfaces=_surfaces(pair, labels) if with_surfaces else {},
        levels=_levels(pair, labels, named) if with_levels else [],
        morphometry=_morphometry(pair, named) if with_morphometry else [],
        diagonal_mm=pair.geometry.diagonal_mm,
    )


def _surfaces(pair: MaskPair, labels: Mapping[Structure, int]) -> dict[Structure, SurfaceDistance]:
    # scipy takes a quarter of a second to import, as long as the overlap of two hundred exams
    from cspine_assets.domain.evaluation.surface import measure_surfaces  # noqa: PLC0415

    measured = measure_surfaces(pair.reference, pair.prediction, spacing_mm=pair.geometry.spacing_mm)
    return {structure: measured[structure] for structure in labels}


def _named(pair: MaskPair, name: Namer | None) -> NamedPair | None:
    from cspine_assets.domain.evaluation.level_naming import name_pair, name_reference  # noqa: PLC0415 - as above

    return name_pair((name or name_reference)(pair.reference, pair.geometry), pair.prediction)


def _levels(pair: MaskPair, labels: Mapping[Structure, int], named: NamedPair | None) -> list[LevelScore]:
    from cspine_assets.domain.evaluation.levels import score_all_levels  # noqa: PLC0415 - as above

    levels = score_all_levels(named, pair.reference, pair.prediction, slice_axis=pair.geometry.slice_axis)
    return [level for level in levels if level.structure in labels]


def _morphometry(pair: MaskPair, named: NamedPair | None) -> list[Morphometry]:
    from cspine_assets.domain.evaluation.morphometry import measure_named  # noqa: PLC0415 - as above

    return measure_named(named, pair.reference, pair.prediction)
