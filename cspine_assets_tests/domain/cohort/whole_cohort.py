"""The cohort wing on a folder, as the assets put it together."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cspine_assets.domain.cohort.compared import CohortTables
from cspine_assets.domain.cohort.evidence import read_evidence
from cspine_assets.domain.cohort.exams import build_exams
from cspine_assets.domain.cohort.files import ChecksumMemory, list_files
from cspine_assets.domain.cohort.integrity import examine, summarize
from cspine_assets.domain.cohort.midrc_tables import MidrcRead, read_midrc_table
from cspine_assets.domain.cohort.provenance import build_annotation_provenance
from cspine_assets.domain.cohort.source import Source, find_source
from cspine_assets.domain.tables.midrc import (
    NODES,
    AnnotationFiles,
    Cases,
    ClinicalManifest,
    ImageManifest,
    ImagingStudies,
    MrSeries,
)

HASHED = frozenset({"table", "image", "mask", "instance"})


@dataclass(frozen=True)
class Cohort:
    source: Source
    read: dict[str, MidrcRead]
    tables: CohortTables
    provenance: pd.DataFrame
    findings: pd.DataFrame

    @property
    def integrity(self) -> pd.DataFrame:
        return summarize(self.tables, self.findings).set_index("check_name")


def examine_folder(folder: Path, provenance_file: Path | None, memory: Path) -> Cohort:
    source = find_source(folder)
    read = {node.name: read_midrc_table(source, node.table) for node in NODES}
    frame = {node.table: read[node.name].frame for node in NODES}
    rejected = tuple(row for node in NODES for row in read[node.name].rejected)
    built = build_exams(frame[Cases], frame[ImagingStudies], frame[MrSeries], frame[AnnotationFiles], rejected)
    evidences = [read_evidence(provenance_file)] if provenance_file else []
    provenance = build_annotation_provenance(built.frame, frame[AnnotationFiles], evidences)
    tables = CohortTables(
        cases=frame[Cases],
        studies=frame[ImagingStudies],
        series=frame[MrSeries],
        annotation_files=frame[AnnotationFiles],
        image_manifest=frame[ImageManifest],
        clinical_manifest=frame[ClinicalManifest],
        files=list_files(source, hashed=HASHED, memory=ChecksumMemory(memory)),
        exams=built.frame,
        provenance=provenance.frame,
        rejected=rejected,
    )
    parts = [part for part in (built.findings, provenance.findings, examine(tables)) if not part.empty]
    findings = pd.concat(parts, ignore_index=True) if parts else built.findings
    return Cohort(source, read, tables, provenance.frame, findings)
