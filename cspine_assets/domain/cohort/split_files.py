"""A user's own split: a test list, nnU-Net's ``splits_final.json``, or a table of train, val and test.

Add a form here when people keep splits in another one. What is said of exams is checked against the cohort here too;
how the exams that a file leaves open are dealt out belongs to ``splits``.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cspine_assets.domain.cohort.names import exam_key
from cspine_assets.domain.errors import SourceError, TableError
from cspine_assets.domain.tables.base import TEXT

_EXPECTED: Final = (
    "a test list (one exam, series or file name a line), nnU-Net's splits_final.json, or a TSV with patient_id, "
    "series_submitter_id, split (train, val, test) and annotation_quality"
)
_KEYS: Final = ("series_submitter_id", "series_uid", "exam_id", "file_name", "case_id")
_SIDES: Final = {"train": "development", "val": "development", "development": "development", "test": "test"}
_SHOWN: Final = 10


@dataclass(frozen=True)
class GivenSplit:
    """What a user's file says of the exams it names.

    Attributes:
        name: File name.
        sides: ``development`` or ``test`` by exam or series.
        folds: Fold that holds an exam out, where the file deals folds; empty otherwise.
        patients: Patient that the file says an exam is of, where it does.
        others: What exams with a reference mask that the file does not name become: ``development`` (a test list says
            who is tested on), ``test`` (nnU-Net's file names everybody who is trained on), or ``withheld`` (a table
            names all that it is about).
    """

    name: str
    sides: Mapping[str, str]
    others: str
    folds: Mapping[str, int] = field(default_factory=dict)
    patients: Mapping[str, str] = field(default_factory=dict)


def read_split_file(path: Path) -> GivenSplit:
    """Reads a user's split.

    Raises:
        SourceError: The file is missing, empty, in no known form, or names an exam twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: expected {_EXPECTED}; it cannot be read ({error}).") from error
    if text.lstrip()[:1] in ("[", "{"):
        return _from_nnunet(path, text)
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise SourceError(f"{path}: expected {_EXPECTED}; the file is empty.")
    header = {name.strip() for name in lines[0].replace(",", "\t").split("\t")}
    if not header & {*_KEYS, "split"}:
        return GivenSplit(path.name, _once(path, [(exam_key(line), "test") for line in lines]), others="development")
    records = list(csv.DictReader(io.StringIO("\n".join(lines)), delimiter="\t" if "\t" in lines[0] else ","))
    return _from_table(path, records)


def place_exams(exams: pd.DataFrame, given: GivenSplit) -> pd.DataFrame:
    """Returns exams named by a split with their side and fold: ``exam_id``, ``patient_id``, ``side``, ``fold``.

    Args:
        exams: Rows of ``cohort.exams``.
        given: A user's split.

    Raises:
        TableError: The file names an exam that is not in the cohort or has no mask, says another patient of it, or has
            a patient on two sides.
    """
    frame = exams[["exam_id", "patient_id", "series_uid", "mask_file_name"]].copy()
    by_name = set(frame["exam_id"])
    frame["key"] = frame["exam_id"].where(frame["exam_id"].isin(list(given.sides)), frame["series_uid"])
    _refuse(given, "exams of this cohort", sorted(set(given.sides) - by_name - set(frame["series_uid"])), "unknown")
    frame = frame[frame["key"].isin(list(given.sides))]
    bare = frame.loc[frame["mask_file_name"].isna(), "exam_id"]
    _refuse(given, "exams with a mask", sorted(bare), "without one")
    said = frame["key"].map(given.patients)
    other = frame[said.notna() & (said != frame["patient_id"])]
    _refuse(given, "the patient of the release", sorted(other["exam_id"]), "of another patient")
    frame["side"] = frame["key"].map(given.sides)
    frame["fold"] = frame["key"].map(given.folds).astype("Int64")
    where = frame["side"] + frame["fold"].astype(TEXT).radd(" fold ").fillna("")
    several = where.groupby(frame["patient_id"]).nunique()
    _refuse(given, "every patient on one side", sorted(several.index[several > 1]), "patients on two sides")
    return frame[["exam_id", "patient_id", "side", "fold"]].reset_index(drop=True)


def _refuse(given: GivenSplit, expected: str, names: Sequence[str], what: str) -> None:
    """Refuses a split for what it says of some exams or patients; a part of a split would give another number."""
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise TableError(
            f"{given.name}: expected {expected}, got {len(names)} {what}: {', '.join(names[:_SHOWN])}{more}. "
            "Correct the file, or leave it out to have a split made."
        )


def _once(path: Path, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Returns pairs as a mapping; an exam that stands twice is refused, even on the same side."""
    twice = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    if twice:
        raise SourceError(f"{path}: expected every exam once, got {', '.join(twice[:_SHOWN])} several times.")
    return dict(pairs)


def _from_nnunet(path: Path, text: str) -> GivenSplit:
    """Reads ``splits_final.json``: a list of folds with ``train`` and ``val``; each exam is held out once."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise SourceError(f"{path}: expected {_EXPECTED}; the JSON is not whole ({error}).") from error
    if not isinstance(content, list) or not all(isinstance(f, dict) and {"train", "val"} <= set(f) for f in content):
        raise SourceError(f"{path}: expected {_EXPECTED}; the JSON is no list of folds with train and val.")
    held = [(exam_key(str(name)), fold) for fold, parts in enumerate(content) for name in parts["val"]]
    sides = _once(path, [(name, "development") for name, _ in held])
    for fold, parts in enumerate(content):
        train, rest = {exam_key(str(name)) for name in parts["train"]}, {name for name, own in held if own != fold}
        if train != rest:
            odd = sorted(train ^ rest)
            raise SourceError(
                f"{path}: expected fold {fold} to train on all exams that other folds hold out, it differs in "
                f"{len(odd)}: {', '.join(odd[:_SHOWN])}."
            )
    return GivenSplit(path.name, sides, others="test", folds=dict(held))


def _from_table(path: Path, records: Sequence[Mapping[str, Any]]) -> GivenSplit:
    """Reads a table with a column of exams or series and one of sides."""
    names = set(records[0]) if records else set()
    key = next((name for name in _KEYS if name in names), None)
    if key is None or "split" not in names:
        raise SourceError(f"{path}: expected {_EXPECTED}; found {', '.join(sorted(map(str, names))) or 'no rows'}.")
    pairs, patients = [], {}
    for record in records:
        side = _SIDES.get((record["split"] or "").strip().lower())
        if side is None or not record[key]:
            raise SourceError(f"{path}: expected {key} and split (train, val, test) in every row, got {dict(record)}.")
        subject = exam_key(str(record[key]))
        pairs.append((subject, side))
        if record.get("patient_id"):
            patients[subject] = str(record["patient_id"]).strip()
    return GivenSplit(path.name, _once(path, pairs), others="withheld", patients=patients)
