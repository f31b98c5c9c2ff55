"""The split: which patients are developed on, in which fold, and which are tested on.

Add a stratum or a preset here. A patient is on one side with all exams; how patients are shared out evenly is
``stratification``, and who drew a mask was decided in ``provenance``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from cspine_assets.domain.cohort.split_files import GivenSplit, place_exams
from cspine_assets.domain.cohort.strata import patient_strata
from cspine_assets.domain.cohort.stratification import Unit, share_out
from cspine_assets.domain.errors import TableError
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.tables.base import TEXT, validate
from cspine_assets.domain.tables.cohort import SplitBalance, Splits

_NOBODY: Final = pd.DataFrame({"exam_id": [], "patient_id": [], "side": [], "fold": []})

STRATA: Final = ("sex", "age_band", "race_group", "manufacturer", "field_strength", "exam_count")


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """Choices that make a split.

    Attributes:
        name: What the split is called after.
        seed: Sets the order among equals.
        test_fraction: Share of the exams with a reference mask that is tested on; 0 for none.
        fold_count: Folds of the cross-validation.
        reference_provenance: Whose masks count as reference. Anything but expert makes no test score.
        strata: Columns of ``patient_strata`` that the parts should be alike in.
    """

    name: str
    seed: int
    test_fraction: float
    fold_count: int
    reference_provenance: tuple[str, ...]
    strata: tuple[str, ...] = STRATA


PUBLISHED: Final = SplitSettings(
    name="published", seed=108, test_fraction=100 / 491, fold_count=5, reference_provenance=("expert",)
)
"""The published study's sizes, 391 + 100 exams and five folds; which 100 they were was never published."""

ALL_EXPERT: Final = replace(PUBLISHED, name="all_expert", test_fraction=0.0)
"""Every expert exam in the folds, none tested on: for a model to use, judged by cross-validation alone."""

ALL_MASKS: Final = replace(PUBLISHED, name="all_masks", reference_provenance=("expert", "model", "unknown"))
"""Every mask counts, whoever drew it: for a download of which nobody can say. No score of it is called a test score."""

PRESETS: Final = {preset.name: preset for preset in (PUBLISHED, ALL_EXPERT, ALL_MASKS)}


def make_splits(
    exams: pd.DataFrame,
    provenance: pd.DataFrame,
    *,
    settings: SplitSettings,
    given: GivenSplit | None = None,
    standing: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Returns rows of ``cohort.splits``, one per exam, sorted by exam.

    A patient with a reference mask is on the development or the test side. An exam of that patient without
    one is ``withheld``: as a development exam it would teach from no reference, and as an unannotated one it
    would be predicted by a model that knows the patient. The result depends on the rows, not on their order.

    No rule that looks at a cohort alone can take a fixed share and also keep every earlier choice when
    patients are added; what was chosen before is therefore handed in, and kept.

    Args:
        exams: Rows of ``cohort.exams``.
        provenance: Rows of ``cohort.annotation_provenance``.
        settings: Choices that make the split.
        given: A user's own split; an exam that it names is where it says, whoever drew the mask.
        standing: An earlier split of a part of the cohort, by the same rule: its test patients stay, and its
            development patients never become test patients. Folds are dealt anew.

    Raises:
        TableError: No mask counts as reference, the patients are too few for the folds, or the user's split leaks,
            names exams that are not there, or deals another number of folds.
    """
    frame = exams[["exam_id", "patient_id"]].merge(
        provenance[["exam_id", "provenance"]], on="exam_id", how="left", validate="one_to_one"
    )
    frame["annotation_provenance"] = frame.pop("provenance").fillna("unknown")
    with_mask = set(exams.loc[exams["mask_file_name"].notna(), "exam_id"])
    is_reference = frame["annotation_provenance"].isin(settings.reference_provenance) & frame["exam_id"].isin(with_mask)
    placed = place_exams(exams, given) if given is not None else _NOBODY
    is_named = frame["exam_id"].isin(placed["exam_id"])
    if not (is_reference | is_named).any():
        raise TableError(_no_reference(frame, settings))
    # the exams of a patient whom a user's file names are those that it names, and no more
    is_open = (given is None or given.others != "withheld") & ~frame["patient_id"].isin(placed["patient_id"])
    is_used = is_named | (is_reference & is_open)
    units = _units(exams, frame.loc[is_used, "exam_id"], settings)
    test = _test_patients(units, settings, standing) if given is None else _given_test(units, placed, given)
    folds = _given_folds(placed, settings) or _folds([unit for unit in units if unit.key not in test], settings)
    side = frame["patient_id"].map(dict.fromkeys(folds, "development") | dict.fromkeys(test, "test"))
    unused = side.map(lambda _: "withheld", na_action="ignore").mask(is_reference, "withheld")
    frame["part"] = side.where(is_used, unused).fillna("unannotated")
    frame["fold"] = frame["patient_id"].map(folds).where(frame["part"] == "development").astype("Int64")
    frame["rule"] = settings.name if given is None else f"file:{given.name}"
    frame["split_sha256"] = split_fingerprint(frame)
    return validate(Splits, frame.sort_values("exam_id"))


def _given_test(units: list[Unit], placed: pd.DataFrame, given: GivenSplit) -> set[str]:
    """Returns the patients that a user's split tests on, with those it leaves to be tested on."""
    test = set(placed.loc[placed["side"] == "test", "patient_id"])
    if given.others == "test":
        test |= {unit.key for unit in units} - set(placed["patient_id"])
    return test


def _given_folds(placed: pd.DataFrame, settings: SplitSettings) -> dict[str, int]:
    """Returns the fold of each patient where a user's split deals folds; empty where it does not."""
    dealt = placed.dropna(subset=["fold"])
    folds = {str(patient): int(fold) for patient, fold in zip(dealt["patient_id"], dealt["fold"], strict=True)}
    if folds and set(folds.values()) != set(range(settings.fold_count)):
        raise TableError(
            f"cohort.splits: expected {settings.fold_count} folds with exams in each, got {len(set(folds.values()))}. "
            "Deal the exams to that many folds, or give a test list and have the folds dealt."
        )
    return folds


def split_fingerprint(splits: pd.DataFrame) -> str:
    """Returns one SHA-256 over who is developed on, in which fold, and who is tested on.

    Models and metrics carry it to say which split they are of; an exam that no model learns from or is tested on does
    not change it.
    """
    rows = splits[splits["part"].isin(["development", "test"])].sort_values("exam_id")
    cells = zip(rows["exam_id"], rows["part"], rows["fold"].astype(TEXT).fillna(""), strict=True)
    return fingerprint_text(*("|".join(row) for row in cells))


def build_split_balance(exams: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Returns rows of ``cohort.split_balance``: each part and fold against all other split patients.

    The standardized difference of two shares p and q is (p - q) / sqrt((p (1 - p) + q (1 - q)) / 2) (Austin,
    Commun Stat Simul Comput 2009); below 0.1 in size is taken as balanced.
    """
    placed = splits[splits["part"].isin(["development", "test"])].drop_duplicates("patient_id")
    placed = placed.set_index("patient_id").sort_index()
    strata = patient_strata(exams[exams["exam_id"].isin(splits.loc[splits["part"] != "unannotated", "exam_id"])])
    strata = strata.loc[placed.index]
    members = {part: placed["part"] == part for part in ("development", "test")}
    members |= {
        f"fold_{int(fold)}": (placed["fold"] == fold).fillna(False) for fold in sorted(placed["fold"].dropna().unique())
    }
    rows = [
        _balance_row(variable, str(value), part, strata[variable] == value, inside.astype(bool))
        for variable in strata.columns
        for value in sorted(strata[variable].unique())
        for part, inside in members.items()
        if inside.any()
    ]
    return validate(SplitBalance, pd.DataFrame(rows))


def _balance_row(
    variable: str, value: str, part: str, has: pd.Series[bool], inside: pd.Series[bool]
) -> dict[str, object]:
    """Returns one row of the balance table."""
    p = float(has[inside].mean())
    q = float(has[~inside].mean()) if (~inside).any() else p
    spread = ((p * (1 - p) + q * (1 - q)) / 2) ** 0.5
    return {
        "variable": variable,
        "value": value,
        "part": part,
        "patient_count": int(has[inside].sum()),
        "share": p,
        "standardized_difference": (p - q) / spread if spread > 0 else None,
    }


def _units(exams: pd.DataFrame, reference_ids: pd.Series[str], settings: SplitSettings) -> list[Unit]:
    """Returns the patients that have a reference mask, with their strata and number of reference exams."""
    reference = exams[exams["exam_id"].isin(reference_ids)]
    weights = reference.groupby("patient_id").size()
    strata = patient_strata(reference)
    labels = {
        str(patient): tuple(f"{name}={row[name]}" for name in settings.strata) for patient, row in strata.iterrows()
    }
    return [Unit(key, labels[key], int(weights[key])) for key in sorted(labels)]


def _test_patients(units: list[Unit], settings: SplitSettings, standing: pd.DataFrame | None) -> set[str]:
    """Returns the patients to test on: those who stand, and new ones until the share is reached."""
    total = sum(unit.weight for unit in units)
    room = round(settings.test_fraction * total)
    if settings.test_fraction > 0 and total > 1:
        room = max(room, 1)
    kept: set[str] = set()
    fixed: set[str] = set()
    if standing is not None:
        kept = set(standing.loc[standing["part"] == "test", "patient_id"]) & {unit.key for unit in units}
        fixed = kept | set(standing.loc[standing["part"] == "development", "patient_id"])
    room -= sum(unit.weight for unit in units if unit.key in kept)
    free = [unit for unit in units if unit.key not in fixed]
    if room <= 0 or not free:
        return kept
    weight = sum(unit.weight for unit in free)
    groups = share_out(free, [min(room, weight), max(weight - room, 0)], seed=settings.seed)
    return kept | {key for key, group in groups.items() if group == 0}


def _folds(units: list[Unit], settings: SplitSettings) -> dict[str, int]:
    """Deals patients to folds; the folds' numbers of patients differ by one at most."""
    count, folds = len(units), settings.fold_count
    if count < folds:
        raise TableError(
            f"cohort.splits: expected at least {folds} development patients for {folds} folds, got {count}. "
            "Use fewer folds, a smaller test fraction, or a larger cohort."
        )
    rooms = [count // folds + (fold < count % folds) for fold in range(folds)]
    # every patient counts once here: folds are equal in patients; several exams are a stratum
    alike = [Unit(unit.key, unit.labels) for unit in units]
    return share_out(alike, rooms, seed=settings.seed + 1)


def _no_reference(frame: pd.DataFrame, settings: SplitSettings) -> str:
    """Says why nobody can be split and what to do."""
    counts = ", ".join(f"{count} {name}" for name, count in frame["annotation_provenance"].value_counts().items())
    return (
        f"cohort.splits: expected exams whose mask is by {' or '.join(settings.reference_provenance)}, got "
        f"{counts or 'no exams'}. Give a file that says who drew the masks (CSPINE_PROVENANCE): a saved "
        "Guppy answer or a list of the expert masks' file names. Without one, the preset all_masks takes every mask "
        "for a reference; its scores are then named after who drew the masks, and none is a test score."
    )
