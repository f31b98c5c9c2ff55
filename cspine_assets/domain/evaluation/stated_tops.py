"""What people say the topmost body of masks is: for a whole cohort, and for single exams.

Add here another way in which a person may say it. What a word means for names stands in ``top_body``.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from cspine_assets.domain.anatomy import VERTEBRAE
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.evaluation.top_body import Source, StatedTop
from cspine_assets.domain.files import write_text

FILE: Final = "levels.json"
"""Where a home keeps it."""

_SHOWN: Final = 5


@dataclass(frozen=True)
class StatedTops:
    """What was said.

    Attributes:
        cohort: Topmost body of every exam that is not named by itself, or None.
        exams: Topmost body of single exams.
    """

    cohort: str | None = None
    exams: Mapping[str, str] = field(default_factory=dict)

    def of(self, exam_id: str) -> StatedTop | None:
        """Returns what was said about one exam: about itself first, then about all."""
        if exam_id in self.exams:
            return StatedTop(self.exams[exam_id], Source.EXAM)
        return StatedTop(self.cohort, Source.COHORT) if self.cohort else None

    def text(self, exam_ids: Iterable[str]) -> str:
        """Returns what was said about some exams, to tell when it changes; empty where nothing was."""
        said = {exam_id: self.of(exam_id) for exam_id in exam_ids}
        return ",".join(f"{exam_id}={top.level}" for exam_id, top in sorted(said.items()) if top)


def read_stated_tops(home: Path) -> StatedTops:
    """Returns what is kept in a home; nothing where nobody has said anything.

    Raises:
        CSpineError: The file cannot be understood.
    """
    path = home / FILE
    if not path.exists():
        return StatedTops()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        tops = StatedTops(kept["cohort"], dict(kept["exams"]))
        _require_levels(path, [*([tops.cohort] if tops.cohort else []), *tops.exams.values()])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CSpineError(
            f"{path}: expected what `cspine levels` wrote, got something else ({error}). Correct the file or delete it."
        ) from error
    return tops


def write_stated_tops(home: Path, tops: StatedTops) -> None:
    """Keeps what was said in a home."""
    write_text(home / FILE, json.dumps(asdict(tops), indent=2, sort_keys=True) + "\n")


def read_top_table(path: Path, *, known: Collection[str]) -> dict[str, str]:
    """Returns the topmost body of each exam that a CSV or TSV names in its columns ``exam_id`` and ``top``.

    Args:
        path: The table.
        known: Exams of the cohort; empty where it is not known yet, then every name is taken.

    Raises:
        CSpineError: The file cannot be read, lacks a column, names an exam twice or one that is not in the cohort, or
            holds a level that is none of C2 to T1.
    """
    expected = f"a CSV or TSV with the columns exam_id and top ({VERTEBRAE[0]} to {VERTEBRAE[-1]})"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CSpineError(f"{path}: expected {expected}; it cannot be read ({error}).") from error
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in text.split("\n", 1)[0] else ","))
    if not rows or not {"exam_id", "top"} <= set(rows[0]):
        raise CSpineError(f"{path}: expected {expected}; got {', '.join(rows[0]) if rows else 'no rows'}.")
    pairs = [((row["exam_id"] or "").strip(), (row["top"] or "").strip()) for row in rows]
    _require_levels(path, [level for _, level in pairs])
    twice = sorted(exam_id for exam_id, count in Counter(exam_id for exam_id, _ in pairs).items() if count > 1)
    if twice:
        raise CSpineError(f"{path}: expected every exam once, got {_some(twice)} several times. Correct the file.")
    unknown = sorted({exam_id for exam_id, _ in pairs} - set(known)) if known else []
    if unknown:
        raise CSpineError(f"{path}: expected exams of this cohort, got {_some(unknown)}. Compare their spelling.")
    return dict(pairs)


def _require_levels(path: Path, levels: Iterable[str]) -> None:
    wrong = sorted({str(level) for level in levels} - set(VERTEBRAE))
    if wrong:
        raise CSpineError(f"{path}: expected the topmost body as one of {', '.join(VERTEBRAE)}, got {_some(wrong)}.")


def _some(names: list[str]) -> str:
    """Returns the first names of a list, and how many there are more."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
