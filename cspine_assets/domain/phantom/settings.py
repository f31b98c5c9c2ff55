"""What a person chooses about a synthetic cohort.

Add a choice when two users need different cohorts; give it a default that suits a laptop.
What follows from the choices is drawn elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from cspine_assets.domain.errors import CSpineError


@dataclass(frozen=True)
class CohortSettings:
    """Size and shape of a synthetic cohort; equal settings give equal bytes.

    Attributes:
        patients: Number of patients. From 8 on the cohort holds the release's exceptions: patients with two exams,
            one patient over 89, one exam of a 3-D acquisition, a second spelling of a manufacturer.
        seed: Starts every random draw.
        matrix: Rows and columns of each slice.
        slices_min: Fewest slices of a 2-D acquisition.
        slices_max: Most slices of a 2-D acquisition.
        expert_fraction: Share of patients whose masks an expert drew; the others' come from a model.
        two_exam_fraction: Share of patients with two exams, two at least from 8 patients on. The release has 23 of
            1,232; a small cohort must meet the case too.
        archived: Ship each of the four parts as one zip, as they are downloaded.
        tables_only: Write the part structured alone; sizes and checksums in it are made up.
        defects: Faults to plant, by their names.
        to_c7_every: The mask of one exam in so many ends at C7 though T1 is seen, so that names of its levels are in
            doubt; 0 for none.
    """

    patients: int
    seed: int
    matrix: int = 96
    slices_min: int = 12
    slices_max: int = 15
    expert_fraction: float = 0.6
    two_exam_fraction: float = 0.12
    archived: bool = False
    tables_only: bool = False
    defects: tuple[str, ...] = ()
    to_c7_every: int = 0

    def __post_init__(self) -> None:
        """Refuses sizes that give no usable cohort."""
        _expect(1 <= self.patients <= 100_000, "patients", "1 to 100,000", self.patients)
        _expect(self.seed >= 0, "seed", "0 or more", self.seed)
        _expect(32 <= self.matrix <= 1024, "matrix", "32 to 1024", self.matrix)
        _expect(5 <= self.slices_min <= 64, "slices_min", "5 to 64", self.slices_min)
        _expect(self.slices_min <= self.slices_max <= 64, "slices_max", "slices_min to 64", self.slices_max)
        _expect(self.to_c7_every >= 0, "to_c7_every", "0 or more", self.to_c7_every)
        _expect(0 <= self.expert_fraction <= 1, "expert_fraction", "0 to 1", self.expert_fraction)
        _expect(0 <= self.two_exam_fraction <= 1, "two_exam_fraction", "0 to 1", self.two_exam_fraction)
        if self.tables_only and self.defects:
            raise CSpineError(
                "Synthetic cohort: defects are planted among files; leave out tables_only, or the defects."
            )


def _expect(holds: bool, name: str, expected: str, value: float) -> None:
    if not holds:
        raise CSpineError(f"Synthetic cohort: expected `{name}` to be {expected}, got {value}. Choose another value.")
