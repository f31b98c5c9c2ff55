"""Evidence from outside the release: a saved Guppy answer or a list that says who drew masks.

Add a form here when people keep such lists in another one. What is concluded for an exam belongs to
``provenance``.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cspine_assets.domain.cohort.names import exam_key
from cspine_assets.domain.errors import SourceError

EXPERT_WORDS: Final = frozenset({"expert", "gold", "retrospective_expert", "post_clinical_expert"})
MODEL_WORDS: Final = frozenset({"model", "silver", "auto", "retrospective_auto", "post_clinical_auto"})

_EXPECTED = (
    "a saved Guppy answer (JSON), or a CSV/TSV with a column of file names, exams or series ids and, if it "
    "lists more than expert masks, a column annotation_quality (gold, silver) or provenance (expert, model, "
    "unknown)"
)
_KEYS = (
    "file_name",
    "filename",
    "exam_id",
    "series_submitter_id",
    "series_uid",
    "submitter_id",
    "mr_series_files.submitter_id",
)
_VALUES = ("provenance", "annotation_provenance", "annotation_quality", "annotation_method")
_KEY_LIKE = re.compile(r"(_Study-MR-\d+_Series-\d+)|(^\d+(\.\d+){4,}$)")


@dataclass(frozen=True)
class Evidence:
    """Who drew which mask, as one file says.

    Attributes:
        name: File name of the evidence.
        stated: Provenance (expert, model or unknown) by exam or series.
        complete: Whether the list holds every expert mask, so that a mask not in it is a model's.
    """

    name: str
    stated: Mapping[str, str]
    complete: bool


def provenance_of_word(word: str | None) -> str:
    """Returns expert, model or unknown for a word that a table or file uses."""
    text = (word or "").strip().lower()
    if text in EXPERT_WORDS:
        return "expert"
    return "model" if text in MODEL_WORDS else "unknown"


def read_evidence(path: Path) -> Evidence:
    """Reads a file that says who drew the masks.

    A list that says nothing of provenance, and a Guppy answer of expert masks alone, are complete: whatever they do
    not list is a model's. A table with a column of provenance speaks of its own rows only.

    Raises:
        SourceError: The file is missing, empty or in no form that is known.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SourceError(f"{path}: expected {_EXPECTED}; there is no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: expected {_EXPECTED}; it cannot be read ({error}).") from error
    if text.lstrip()[:1] in ("{", "["):
        evidence = _evidence(path, _json_records(path, text))
        # an answer that names experts alone was asked for them, whether or not it repeats the method
        return replace(evidence, complete=set(evidence.stated.values()) == {"expert"})
    return _evidence(path, _table_records(path, text))


def _json_records(path: Path, text: str) -> list[Mapping[str, Any]]:
    """Returns the records of a Guppy answer, or of a plain list of records or names."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise SourceError(f"{path}: expected {_EXPECTED}; the JSON is not whole ({error}). Save it again.") from error
    if isinstance(content, dict) and content.get("errors"):
        raise SourceError(f"{path}: expected a Guppy answer with data, got its errors {content['errors']}. Ask again.")
    if isinstance(content, dict):
        content = content.get("data", content)
    if isinstance(content, dict):
        content = next((value for value in content.values() if isinstance(value, list)), None)
    if not isinstance(content, list):
        raise SourceError(f"{path}: expected {_EXPECTED}; the JSON holds no list of files.")
    return [item if isinstance(item, dict) else {"file_name": item} for item in content]


def _table_records(path: Path, text: str) -> list[Mapping[str, Any]]:
    """Returns the records of a CSV or TSV; a list of names alone needs no header."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise SourceError(f"{path}: expected {_EXPECTED}; the file is empty.")
    if _KEY_LIKE.search(lines[0].strip()) and not any(mark in lines[0] for mark in "\t,"):
        return [{"file_name": line} for line in lines]
    delimiter = "\t" if "\t" in lines[0] else ","
    return list(csv.DictReader(io.StringIO("\n".join(lines)), delimiter=delimiter))


def _evidence(path: Path, records: Sequence[Mapping[str, Any]]) -> Evidence:
    """Turns records into provenance by exam or series."""
    names = {name for record in records for name in record if isinstance(name, str)}
    key = _first(_KEYS, names)
    if key is None:
        found = ", ".join(sorted(names)) or "no records"
        raise SourceError(f"{path}: expected {_EXPECTED}; found {found}.")
    value = _first(_VALUES, names)
    stated: dict[str, str] = {}
    for record in records:
        cell = record.get(key)
        if not cell:
            raise SourceError(f"{path}: expected a {key} in every record, got {dict(record)}. Complete or remove it.")
        subject, word = exam_key(str(cell)), provenance_of_word(record.get(value)) if value else "expert"
        if stated.setdefault(subject, word) != word:
            raise SourceError(f"{path}: expected one provenance of {subject}, got {stated[subject]} and {word}.")
    return Evidence(path.name, stated, complete=value is None)


def _first(candidates: Iterable[str], names: set[str]) -> str | None:
    """Returns the first candidate that is among the names."""
    return next((name for name in candidates if name in names), None)
