"""The people of a synthetic cohort: distributed as in the release, in the release's own words.

Add here what a table says about a person.
Exams, scanners and images do not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator

from cspine_assets.domain.phantom.settings import CohortSettings

SMALLEST_WITH_EXCEPTIONS: Final = 8
"""Cohorts below this size have none of the release's exceptions: there would be little else."""

# Counts of the release (Sci Data 12:1695): the shares of a synthetic cohort of any size.
_SEXES: Final = {"Female": 675, "Male": 557}
_RACES: Final = {
    "White": 795,
    "Black or African American": 342,
    "Not Reported": 33,
    "Other": 28,
    "Asian": 24,
    "American Indian or Alaska Native": 9,
    "Native Hawaiian or other Pacific Islander": 1,
}
_ETHNICITIES: Final = {"Not Hispanic or Latino": 1141, "Hispanic or Latino": 58, "Not Reported": 33}
_OVER_89_SHARE: Final = 12 / 1232


@dataclass(frozen=True)
class Patient:
    """One synthetic person; the age is the true one, also above 89."""

    index: int
    patient_id: str
    sex: str
    race: str
    ethnicity: str
    age_years: int
    build: float
    exam_count: int
    has_expert_masks: bool


def draw_patients(settings: CohortSettings) -> tuple[Patient, ...]:
    """Draws all patients of a cohort, ordered by patient id."""
    count = settings.patients
    rng = np.random.default_rng([settings.seed, 1])
    numbers = np.sort(rng.choice(max(1300, 2 * count), size=count, replace=False)) + 1
    sexes, races = _apportion(rng, _SEXES, count), _apportion(rng, _RACES, count)
    ethnicities = _apportion(rng, _ETHNICITIES, count)
    # Mean and SD of the release.
    ages = np.clip(np.rint(rng.normal(54.5, 16.4, count)), 18, 89).astype(int)
    exams = np.ones(count, dtype=int)
    if count >= SMALLEST_WITH_EXCEPTIONS:
        oldest = max(1, round(_OVER_89_SHARE * count))
        ages[rng.choice(count, oldest, replace=False)] = rng.integers(90, 97, oldest)
        exams[rng.choice(count, max(2, round(settings.two_exam_fraction * count)), replace=False)] = 2
    experts = _chosen(rng, count, round(settings.expert_fraction * count))
    builds = np.clip(rng.normal(1, 0.09, count), 0.82, 1.25)
    return tuple(
        Patient(
            index=index,
            patient_id=f"593973-{numbers[index]:06d}",
            sex=sexes[index],
            race=races[index],
            ethnicity=ethnicities[index],
            age_years=int(ages[index]),
            build=float(builds[index]),
            exam_count=int(exams[index]),
            has_expert_masks=bool(experts[index]),
        )
        for index in range(count)
    )


def _chosen(rng: Generator, count: int, how_many: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    chosen = np.zeros(count, dtype=np.bool_)
    chosen[rng.choice(count, how_many, replace=False)] = True
    return chosen


def _apportion(rng: Generator, shares: Mapping[str, int], count: int) -> list[str]:
    """Returns `count` values in random order whose shares are as near the given ones as whole people allow."""
    names = list(shares)
    exact = np.array([shares[name] for name in names], dtype=float) / sum(shares.values()) * count
    whole = np.floor(exact).astype(int)
    largest_rest = np.argsort(whole - exact, kind="stable")[: count - int(whole.sum())]
    whole[largest_rest] += 1
    return [names[number] for number in rng.permutation(np.repeat(np.arange(len(names)), whole))]
