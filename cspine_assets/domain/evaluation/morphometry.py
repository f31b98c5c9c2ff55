"""What a segmentation is used for: heights, depths and volumes of all levels, disc-height index and Cobb angle.

Add a measure of several levels here, with its source. Measures of a single piece stand in ``shape``, names of levels
in the naming modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import LABELS, LEVELS, VERTEBRAE, Structure
from cspine_assets.domain.evaluation.flags import Flag, Severity, severity_of
from cspine_assets.domain.evaluation.level_naming import (
    NamedPair,
    NamedReference,
    Namer,
    name_pair,
    name_reference,
    once,
)
from cspine_assets.domain.evaluation.level_score import View
from cspine_assets.domain.evaluation.levels import NO_BODY, voxels_in_doubt
from cspine_assets.domain.evaluation.named_pieces import NamedPieces, level_indices
from cspine_assets.domain.evaluation.shape import Shape, Unmeasured, lateral_axis, measure_shape
from cspine_assets.domain.evaluation.top_body import UNKNOWN, Confidence, confidence_of
from cspine_assets.domain.evaluation.voxels import Piece
from cspine_assets.domain.volume import Geometry

COBB_LEVEL: Final = "C2-C7"
_C7: Final = 5


class Measure(StrEnum):
    """What is measured; its unit is the end of its name, and an index has none."""

    HEIGHT = "height_mm"
    DEPTH = "depth_mm"
    VOLUME = "volume_mm3"
    DISC_HEIGHT_INDEX = "disc_height_index"
    COBB = "cobb_deg"


class Measured(StrEnum):
    """Which of both masks a value could be measured in."""

    OK = "ok"
    REFERENCE_ONLY = "reference_only"
    PREDICTION_ONLY = "prediction_only"
    NEITHER = "neither"


@dataclass(frozen=True)
class Morphometry:
    """One measure of one level in both masks.

    Attributes:
        level: A body, a disc, or ``C2-C7``.
        measure: What is measured.
        reference: Its value in the reference, or None.
        prediction: Its value in the prediction, or None.
        reason: Why one or both are None; None where both were measured.
        flags: Findings that bear on the level's name and on its ends.
        confidence: How sure the name is.
        named_by: By what the levels were named, in words.
    """

    level: str
    measure: Measure
    reference: float | None
    prediction: float | None
    reason: str | None
    flags: tuple[Flag, ...]
    confidence: Confidence
    named_by: str

    @property
    def difference(self) -> float | None:
        """Prediction minus reference."""
        return None if self.reference is None or self.prediction is None else self.prediction - self.reference

    @property
    def status(self) -> Measured:
        """Which of both could be measured."""
        if self.reference is None:
            return Measured.NEITHER if self.prediction is None else Measured.PREDICTION_ONLY
        return Measured.REFERENCE_ONLY if self.prediction is None else Measured.OK

    @property
    def severity(self) -> Severity:
        """Weight of the flags."""
        return severity_of(self.flags)


@dataclass(frozen=True)
class _Value:
    """A value, or why there is none."""

    value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class _Levels:
    """The measured pieces of one mask by structure and level index.

    Attributes:
        volumes_mm3: Volume of each whole piece; it needs no plates.
        shapes: Its shape.
        reasons: Why a piece has no shape.
    """

    volumes_mm3: dict[tuple[Structure, int], float]
    shapes: dict[tuple[Structure, int], Shape]
    reasons: dict[tuple[Structure, int], str]

    def value(self, structure: Structure, index: int, measure: Measure) -> _Value:
        """Returns a measure of one level."""
        if measure is Measure.VOLUME and (structure, index) in self.volumes_mm3:
            return _Value(self.volumes_mm3[structure, index])
        shape = self.shapes.get((structure, index))
        if shape is None:
            return _Value(None, self.reasons[structure, index])
        if measure is Measure.DISC_HEIGHT_INDEX:
            return self._index(shape, index)
        if structure is Structure.VERTEBRAL_BODY and index == 0:
            return _Value(None, "C2 has no upper endplate: its dens stands there")
        return _Value(float(getattr(shape, measure.value)))

    def _index(self, disc: Shape, index: int) -> _Value:
        """Returns a disc's height over the mean height of the bodies beside it; C2 has no height that counts."""
        beside = [(Structure.VERTEBRAL_BODY, body) for body in _beside(index)]
        lacking = [f"{VERTEBRAE[body[1]]}: {self.reasons[body]}" for body in beside if body not in self.shapes]
        if lacking:
            return _Value(None, ", ".join(lacking))
        return _Value(disc.height_mm / float(np.mean([self.shapes[body].height_mm for body in beside])))

    def cobb(self, lateral: NDArray[np.float64]) -> _Value:
        """Returns the angle from C7's lower plate to C2's in degrees, positive for lordosis."""
        ends = [(Structure.VERTEBRAL_BODY, body) for body in (0, _C7)]
        lacking = [f"{VERTEBRAE[end[1]]}: {self.reasons[end]}" for end in ends if end not in self.shapes]
        if lacking:
            return _Value(None, ", ".join(lacking))
        upper, lower = (self.shapes[end].lower_normal for end in ends)
        return _Value(float(np.degrees(np.arctan2(np.cross(upper, lower) @ -lateral, upper @ lower))))


def measure_morphometry(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    geometry: Geometry,
    *,
    name: Namer = name_reference,
) -> list[Morphometry]:
    """Returns all measures of an exam, always 46: three of each body, four of each disc, and the Cobb angle.

    Height and depth: ``measure_shape``. Disc-height index: height of the disc over the mean height of the bodies beside
    it (Masuda et al., Spine 2005; 30: 5), at C2/C3 over C3's alone. Cobb angle: between the lower endplates of C2 and
    C7 in the sagittal plane, positive for lordosis (Scheer et al., J Neurosurg Spine 2013; 19: 141).

    Args:
        reference: Mask with the study's labels.
        prediction: Mask on the same grid.
        geometry: That grid.
        name: Names the reference; one that remembers serves all predictions of an exam.
    """
    return measure_named(name_pair(name(reference, geometry), prediction), reference, prediction)


def measure_named(
    pair: NamedPair | None, reference: NDArray[np.uint8], prediction: NDArray[np.uint8]
) -> list[Morphometry]:
    """Returns all measures of an exam whose levels are named, as ``measure_morphometry``.

    Args:
        pair: Reference and prediction with their levels named; None where the reference has no body.
        reference: Mask with the study's labels.
        prediction: Mask on the same grid.
    """
    if pair is None:
        return [
            Morphometry(level, measure, None, None, NO_BODY, (), Confidence.LOW, UNKNOWN)
            for _, _, level, measure in _wanted()
        ]
    named, predicted = pair.reference, pair.prediction
    ours = _measured(prediction, predicted, named)
    theirs = once(named.computed, "shapes", lambda: _measured(reference, named.named, named))
    found = {
        (structure, index): named.flags(structure, index)
        | predicted[structure].flags_at(index)
        | voxels_in_doubt(pair, structure, index, View.VOLUME)
        for structure in Structure
        for index in level_indices(structure)
    }
    rows = []
    for structure, index, level, measure in _wanted():
        if measure is Measure.COBB:
            lateral = lateral_axis(named.geometry)
            values = theirs.cobb(lateral), ours.cobb(lateral)
        else:
            values = theirs.value(structure, index, measure), ours.value(structure, index, measure)
        flags = set().union(*(found[place] for place in _bearing(structure, index, measure)))
        reasons = dict(zip(("reference", "prediction"), (value.reason for value in values), strict=True))
        reason = "; ".join(f"{mask}: {why}" for mask, why in reasons.items() if why) or None
        rows.append(
            Morphometry(
                level,
                measure,
                values[0].value,
                values[1].value,
                reason,
                tuple(sorted(flags)),
                confidence_of(flags, named.frame.top),
                named.frame.top.words(),
            )
        )
    return rows


def _beside(disc: int) -> list[int]:
    """Returns the bodies beside a disc whose heights count: C2 has none."""
    return [body for body in (disc - 1, disc) if body]


def _bearing(structure: Structure, index: int, measure: Measure) -> list[tuple[Structure, int]]:
    """Returns the levels whose findings bear on a measure: its own, and all that it is computed from."""
    if measure is Measure.COBB:
        return [(structure, 0), (structure, _C7)]
    if measure is Measure.DISC_HEIGHT_INDEX:
        return [(structure, index), *((Structure.VERTEBRAL_BODY, body) for body in _beside(index))]
    return [(structure, index)]


def _wanted() -> Iterator[tuple[Structure, int, str, Measure]]:
    """Yields every row's structure, level index, level and measure; the Cobb angle stands at C7."""
    simple = (Measure.HEIGHT, Measure.DEPTH, Measure.VOLUME)
    for structure in Structure:
        measures = (*simple, Measure.DISC_HEIGHT_INDEX) if structure is Structure.INTERVERTEBRAL_DISC else simple
        for index, level in zip(level_indices(structure), LEVELS[structure], strict=True):
            for measure in measures:
                yield structure, index, level, measure
    yield Structure.VERTEBRAL_BODY, _C7, COBB_LEVEL, Measure.COBB


def _measured(mask: NDArray[np.uint8], named: dict[Structure, NamedPieces], reference: NamedReference) -> _Levels:
    """Returns the shapes of all levels of one mask, along the reference's spine."""
    found = _Levels({}, {}, {})
    for structure in Structure:
        for index in level_indices(structure):
            place, piece = (structure, index), named[structure].at(index)
            is_body = structure is Structure.VERTEBRAL_BODY
            is_cut = is_body and named is reference.named and not _is_whole(reference, index)
            reason = _why_not(piece, reference.geometry, is_cut=is_cut)
            shape = reason or _shape(piece, mask, reference, place)
            if isinstance(shape, Shape):
                found.shapes[place] = shape
            else:
                found.reasons[place] = shape
            if isinstance(shape, Shape) or shape == Unmeasured.TOO_SMALL:
                found.volumes_mm3[place] = len(piece) * reference.geometry.voxel_volume_mm3
    return found


def _is_whole(reference: NamedReference, index: int) -> bool:
    return index < len(reference.frame) and reference.frame.is_whole[index]


def _why_not(piece: Piece, geometry: Geometry, *, is_cut: bool) -> str | None:
    """Returns why a piece's ends are not its own, or None where they are."""
    if not len(piece):
        return "it is not there"
    if _reaches_end(piece, geometry):
        return "it reaches the end of the volume"
    return Unmeasured.CUT if is_cut else None


def _reaches_end(piece: Piece, geometry: Geometry) -> bool:
    """Returns whether a piece touches a side of the volume, beyond which it may go on."""
    at_end = (piece.indices == 0) | (piece.indices == np.array(geometry.shape) - 1)
    return bool(at_end.any())


def _shape(
    piece: Piece, mask: NDArray[np.uint8], reference: NamedReference, place: tuple[Structure, int]
) -> Shape | Unmeasured:
    line = reference.frame.line
    upwards = -line.direction(float(piece.along_mm(line).mean()))
    is_c2 = place == (Structure.VERTEBRAL_BODY, 0)
    label = LABELS[place[0]]
    return measure_shape(piece, mask, reference.geometry, upwards, has_upper_plate=not is_c2, label=label)
