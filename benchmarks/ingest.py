"""Taking in the tables of a cohort: 1,255 exams, and a million image rows.

Change a budget only with its reason. The cohorts are synthetic and tables alone; files are no part of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks.catalog import Size
from benchmarks.results import Column, Results, Row, Table, cost_table
from benchmarks.runner import measure
from cspine_assets.domain.cohort.compared import MANIFEST_COLUMNS, CohortTables
from cspine_assets.domain.cohort.evidence import read_evidence
from cspine_assets.domain.cohort.exams import build_exams, build_patients
from cspine_assets.domain.cohort.files import ChecksumMemory, list_files
from cspine_assets.domain.cohort.integrity import examine, summarize
from cspine_assets.domain.cohort.midrc_tables import read_midrc_table
from cspine_assets.domain.cohort.provenance import build_annotation_provenance
from cspine_assets.domain.cohort.source import find_source
from cspine_assets.domain.cohort.splits import PUBLISHED, build_split_balance, make_splits
from cspine_assets.domain.home import Home
from cspine_assets.domain.phantom.cohort import PROVENANCE_FILE, write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.tables.cohort import (
    AnnotationProvenance,
    Exams,
    Findings,
    Integrity,
    Patients,
    SplitBalance,
    Splits,
)
from cspine_assets.domain.tables.midrc import (
    NODES,
    AnnotationFiles,
    Cases,
    ClinicalManifest,
    Files,
    ImageManifest,
    ImagingStudies,
    MrSeries,
)

RELEASE = CohortSettings(
    patients=1232, seed=1, tables_only=True, expert_fraction=481 / 1232, two_exam_fraction=23 / 1232
)
"""As many patients, exams and expert masks as the release has."""

MILLION = CohortSettings(patients=66_200, seed=1, tables_only=True, expert_fraction=481 / 1232)
"""74,100 exams of 12 to 15 slices: a million rows of the image manifest."""

COHORTS: Final[Mapping[Size, tuple[CohortSettings, CohortSettings]]] = MappingProxyType(
    {
        Size.SMALLEST: (replace(RELEASE, patients=30), replace(MILLION, patients=60)),
        Size.USUAL: (RELEASE, MILLION),
        Size.LARGE: (RELEASE, replace(MILLION, patients=100_000)),
    }
)
"""The release, and a cohort far larger than it."""


def ingest(folder: Path, root: Path) -> None:
    """Reads, checks and stores the six tables, patients and exams."""
    source, lake = find_source(folder), Home(root).lake
    for node in NODES:
        lake.write(node.table, read_midrc_table(source, node.table).frame)
    cases = lake.read(Cases)
    built = build_exams(cases, lake.read(ImagingStudies), lake.read(MrSeries), lake.read(AnnotationFiles))
    lake.write(Exams, built.frame)
    lake.write(Patients, build_patients(cases, built.frame))


def examine_all(folder: Path, root: Path) -> None:
    """Holds all tables against each other."""
    home = Home(root)
    lake = home.lake
    lake.write(Files, list_files(find_source(folder), hashed=("table",), memory=ChecksumMemory(home.checksums)))
    tables = CohortTables(
        cases=lake.read(Cases),
        studies=lake.read(ImagingStudies),
        series=lake.read(MrSeries),
        annotation_files=lake.read(AnnotationFiles),
        image_manifest=lake.read(ImageManifest, columns=MANIFEST_COLUMNS),
        clinical_manifest=lake.read(ClinicalManifest),
        files=lake.read(Files),
        exams=lake.read(Exams),
        provenance=lake.read(AnnotationProvenance),
    )
    findings = examine(tables)
    lake.write(Findings, findings)
    lake.write(Integrity, summarize(tables, findings))


def split(folder: Path, root: Path) -> None:
    """Decides who drew the masks, and makes the split with its balance."""
    lake = Home(root).lake
    exams = lake.read(Exams)
    evidence = read_evidence(folder / PROVENANCE_FILE)
    provenance = build_annotation_provenance(exams, lake.read(AnnotationFiles), [evidence]).frame
    lake.write(AnnotationProvenance, provenance)
    made = make_splits(exams, provenance, settings=PUBLISHED)
    lake.write(Splits, made)
    lake.write(SplitBalance, build_split_balance(exams, made))


def run(size: Size, folder: Path) -> Results:
    """Write both cohorts and measure what each step costs."""
    small, large = (write_cohort(folder / str(number), one) for number, one in enumerate(COHORTS[size]))
    homes = folder / "small", folder / "large"
    small_limits = {"budget_s": 3, "budget_mb": 500}
    large_limits = {"budget_s": 30, "budget_mb": 2000} if size is Size.USUAL else {}
    cost_of = partial(measure, apart=size is not Size.SMALLEST)
    costs = [
        cost_of(f"ingest {small.exams:,} exams", ingest, small.destination, homes[0], **small_limits),
        cost_of("split them", split, small.destination, homes[0]),
        cost_of("compare their tables with each other", examine_all, small.destination, homes[0]),
        cost_of(f"ingest {large.instances:,} image rows", ingest, large.destination, homes[1], **large_limits),
        cost_of(
            "compare their tables with each other",
            examine_all,
            large.destination,
            homes[1],
            budget_mb=large_limits.get("budget_mb"),
        ),
    ]
    return Results((cost_table("Tables of a cohort, each step in a process of its own", costs), _balance(homes[0])))


def _balance(home: Path) -> Table:
    """Return how far the parts of the split differ in each variable."""
    balance = Home(home).lake.read(SplitBalance)
    largest = balance.groupby("variable", observed=True)["standardized_difference"].agg(
        lambda column: column.abs().max()
    )
    rows = [Row(str(name), (float(value),)) for name, value in largest.items()]
    return Table("Balance of the split: largest standardized difference by variable", (Column("difference", 3),), rows)
