"""Who drew each mask: an expert, the authors' model, or nobody knows.

Add a rule when another source can tell. A wrong "expert" would turn a model's agreement with itself into a
test score, so whatever is not clearly said is unknown; reading the files that say it happens in ``evidence``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from cspine_assets.domain.cohort.evidence import Evidence, provenance_of_word
from cspine_assets.domain.cohort.findings import Finding, findings_frame
from cspine_assets.domain.cohort.names import MASK_ENDING, exam_key
from cspine_assets.domain.tables.base import TEXT, validate
from cspine_assets.domain.tables.cohort import AnnotationProvenance

FROM_TABLE: Final = "annotation_method"
NO_SOURCE: Final = "none"
_TABLE = "cohort.annotation_provenance"
_ALL_AUTO: Final = (
    "the release marks every mask as automatic; the release of 2025-03-21 does so although experts drew 491. "
    "Give a file that says who drew the masks"
)


@dataclass(frozen=True)
class ProvenanceBuilt:
    """Who drew the masks, and where sources disagree.

    Attributes:
        frame: Rows of ``cohort.annotation_provenance``, one per exam.
        findings: Rows of ``cohort.findings``.
    """

    frame: pd.DataFrame
    findings: pd.DataFrame


def build_annotation_provenance(
    exams: pd.DataFrame, annotation_files: pd.DataFrame, evidences: Sequence[Evidence]
) -> ProvenanceBuilt:
    """Decides who drew each exam's mask.

    Files given by the user go before the release's own column, which counts only where it tells masks apart; of
    several files the first that speaks of an exam counts, and the others are held against it.

    Args:
        exams: Rows of ``cohort.exams``.
        annotation_files: Rows of ``midrc.annotation_files``.
        evidences: What the user's files say, the one that counts first; there may be none.
    """
    methods = _methods(annotation_files)
    has_mask = exams["mask_file_name"].notna()
    frame = exams[["exam_id", "patient_id"]].copy()
    frame["annotation_method"] = frame["exam_id"].map(methods).astype(TEXT).where(has_mask)
    words = frame["annotation_method"].map(provenance_of_word, na_action="ignore").astype(TEXT).fillna("unknown")
    all_auto = bool((words == "model").any()) and not bool((words == "expert").any())
    if all_auto:
        words = words.where(words != "model", "unknown")
    said = {evidence.name: _stated(exams, evidence) for evidence in evidences}
    if not evidences:
        said[FROM_TABLE] = words
    frame["provenance"], frame["source"] = "unknown", NO_SOURCE
    for name, stated in said.items():
        new = (frame["provenance"] == "unknown") & (stated != "unknown") & has_mask
        frame.loc[new, "provenance"], frame.loc[new, "source"] = stated[new], name
    frame["reason"] = _ALL_AUTO if all_auto else "nothing that was given says who drew the mask"
    frame.loc[~has_mask, "reason"] = "the exam has no mask"
    frame["reason"] = frame["reason"].where(frame["provenance"] == "unknown", None)
    findings = [finding for evidence in evidences for finding in _doubts(exams, annotation_files, evidence)]
    findings += _disagreements(frame, {**said, FROM_TABLE: words}, has_mask)
    if not evidences and all_auto:
        findings.append(Finding("provenance", "warns", _TABLE, FROM_TABLE, _ALL_AUTO))
    return ProvenanceBuilt(validate(AnnotationProvenance, frame), findings_frame(findings))


def _methods(annotation_files: pd.DataFrame) -> pd.Series[str]:
    """Returns the release's word for each mask, by exam."""
    masks = annotation_files[annotation_files["file_name"].str.endswith(MASK_ENDING)]
    keys = masks["file_name"].map(exam_key)
    methods: pd.Series[str] = masks["annotation_method"].set_axis(keys.to_numpy())
    return methods[~methods.index.duplicated()]


def _stated(exams: pd.DataFrame, evidence: Evidence) -> pd.Series[str]:
    """Returns what the evidence says of each exam, by its name or else its series."""
    stated = exams["exam_id"].map(evidence.stated).fillna(exams["series_uid"].map(evidence.stated))
    # a complete list of expert masks says of every other mask that no expert drew it
    return stated.astype(TEXT).fillna("model" if evidence.complete else "unknown")


def _doubts(exams: pd.DataFrame, annotation_files: pd.DataFrame, evidence: Evidence) -> list[Finding]:
    """Lists what a file says that cannot be: names that the release does not have, a list of everything."""
    findings = []
    # an exam that was left out for another fault is still one of the release
    known = set(annotation_files["file_name"].map(exam_key)) | set(annotation_files["mr_series_files_submitter_id"])
    for name in sorted(set(evidence.stated) - known - set(exams["series_uid"])):
        message = f"{evidence.name} speaks of {name}, which is no exam of this cohort; is it of another release?"
        findings.append(Finding("provenance", "warns", evidence.name, name, message))
    if evidence.complete and bool((_stated(exams, evidence) == "expert").all()):
        message = (
            f"{evidence.name} lists every mask and says nothing of who drew it, so all count as expert; "
            "was the question for annotation_method Retrospective_expert left out?"
        )
        findings.append(Finding("provenance", "warns", evidence.name, evidence.name, message))
    return findings


def _disagreements(frame: pd.DataFrame, said: Mapping[str, pd.Series[str]], has_mask: pd.Series[bool]) -> list[Finding]:
    """Lists exams of which a source says another thing than the one that counts."""
    findings = []
    for name, words in said.items():
        at_odds = (words != "unknown") & (frame["provenance"] != words) & has_mask
        for row, word in zip(frame[at_odds].itertuples(), words[at_odds], strict=True):
            message = f"exam {row.exam_id}: {row.source} says {row.provenance}, {name} says {word}; {row.source} counts"
            findings.append(Finding("provenance", "warns", _TABLE, str(row.exam_id), message, str(row.exam_id)))
    return findings
