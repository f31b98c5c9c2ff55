"""Who drew each mask: an expert, the authors' model, or nobody knows.

Add a rule when another source can tell. A wrong "expert" would turn a model's agreement with itself into a
test score, so whatever is not clearly said is unknown; reading the files that say it happens in ``evidence``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pandas as pd

from cspine_assets.domain.cohort.evidence import Evidence, exam_key, provenance_of_word
from cspine_assets.domain.cohort.findings import Finding, findings_frame
from cspine_assets.domain.tables.base import validate
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
    exams: pd.DataFrame, annotation_files: pd.DataFrame, evidence: Evidence | None
) -> ProvenanceBuilt:
    """Decides who drew each exam's mask.

    A file given by the user goes before the release's own column, which counts only where it tells masks
    apart.

    Args:
        exams: Rows of ``cohort.exams``.
        annotation_files: Rows of ``midrc.annotation_files``.
        evidence: What a user's file says, or None.
    """
    methods = _methods(annotation_files)
    frame = exams[["exam_id", "patient_id"]].copy()
    frame["annotation_method"] = frame["exam_id"].map(methods).astype("string").where(exams["mask_file_name"].notna())
    words = frame["annotation_method"].map(provenance_of_word, na_action="ignore").astype("string").fillna("unknown")
    all_auto = bool((words == "model").any()) and not bool((words == "expert").any())
    has_mask = exams["mask_file_name"].notna()
    if evidence is None:
        frame["provenance"] = "unknown" if all_auto else words
        frame["source"] = pd.Series(FROM_TABLE, frame.index).where(frame["provenance"] != "unknown", NO_SOURCE)
        frame["reason"] = _ALL_AUTO if all_auto else "the release's table does not say who drew the mask"
    else:
        frame["provenance"] = _stated(exams, evidence)
        frame["source"] = evidence.name
        frame["reason"] = f"{evidence.name} does not say who drew the mask"
    frame.loc[~has_mask, ["provenance", "source"]] = ["unknown", NO_SOURCE]
    frame.loc[~has_mask, "reason"] = "the exam has no mask"
    frame["reason"] = frame["reason"].where(frame["provenance"] == "unknown", None)
    findings = [] if evidence is None else _disagreements(exams, frame, words, evidence, all_auto)
    if evidence is None and all_auto:
        findings.append(Finding("provenance", "warns", _TABLE, FROM_TABLE, _ALL_AUTO))
    return ProvenanceBuilt(validate(AnnotationProvenance, frame), findings_frame(findings))


def _methods(annotation_files: pd.DataFrame) -> pd.Series[str]:
    """Returns the release's word for each mask, by exam."""
    masks = annotation_files[annotation_files["file_name"].str.endswith("_SEG.nii.gz")]
    keys = masks["file_name"].map(exam_key)
    methods: pd.Series[str] = masks["annotation_method"].set_axis(keys.to_numpy())
    return methods[~methods.index.duplicated()]


def _stated(exams: pd.DataFrame, evidence: Evidence) -> pd.Series[str]:
    """Returns what the evidence says of each exam, by its name or else its series."""
    stated = exams["exam_id"].map(evidence.stated).fillna(exams["series_uid"].map(evidence.stated))
    # a complete list of expert masks says of every other mask that no expert drew it
    return stated.astype("string").fillna("model" if evidence.complete else "unknown")


def _disagreements(
    exams: pd.DataFrame, frame: pd.DataFrame, words: pd.Series[str], evidence: Evidence, all_auto: bool
) -> list[Finding]:
    """Lists what does not fit together: names without an exam, a list of everything, sources at odds."""
    findings = []
    for name in sorted(set(evidence.stated) - set(exams["exam_id"]) - set(exams["series_uid"])):
        message = f"{evidence.name} speaks of {name}, which is no exam of this cohort; is it of another release?"
        findings.append(Finding("provenance", "warns", evidence.name, name, message))
    if evidence.complete and bool((frame["provenance"] == "expert").all()):
        message = (
            f"{evidence.name} lists every mask and says nothing of who drew it, so all count as expert; "
            "was the question for annotation_method Retrospective_expert left out?"
        )
        findings.append(Finding("provenance", "warns", evidence.name, evidence.name, message))
    if not all_auto:
        at_odds = (words != "unknown") & (frame["provenance"] != words)
        for exam_id, said, word in zip(
            frame.loc[at_odds, "exam_id"], frame.loc[at_odds, "provenance"], words[at_odds], strict=True
        ):
            message = f"exam {exam_id}: {evidence.name} says {said}, the release says {word}; the file counts"
            findings.append(Finding("provenance", "warns", _TABLE, exam_id, message, exam_id))
    return findings
