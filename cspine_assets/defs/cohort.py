"""Assets of group ``cohort``: exams, patients, who drew the masks, splits, summaries, and what is wrong.

Add an asset when something new is said of patients or exams. How it is derived stands in the cohort wing.
"""

from collections.abc import Iterable
from pathlib import Path

import dagster as dg
import pandas as pd

from cspine_assets.defs.io import Made, asset_key, table_asset
from cspine_assets.defs.partitions import register_patients
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.defs.shown import inline_table, markdown_table, told
from cspine_assets.domain.cohort.compared import MANIFEST_COLUMNS, CohortTables
from cspine_assets.domain.cohort.evidence import Evidence, read_evidence
from cspine_assets.domain.cohort.exams import ExamsBuilt, build_exams, build_patients
from cspine_assets.domain.cohort.findings import findings_frame
from cspine_assets.domain.cohort.integrity import (
    CHECKS,
    Check,
    examine,
    find_leaks,
    summarize,
)
from cspine_assets.domain.cohort.provenance import ProvenanceBuilt, build_annotation_provenance
from cspine_assets.domain.cohort.rejected_rows import RejectedRow, from_notes, row_findings
from cspine_assets.domain.cohort.split_files import read_split_file
from cspine_assets.domain.cohort.splits import PRESETS, build_split_balance, make_splits
from cspine_assets.domain.cohort.summaries import build_demographics, build_imaging_parameters
from cspine_assets.domain.errors import SourceError
from cspine_assets.domain.files import fingerprint_file, fingerprint_text
from cspine_assets.domain.tables.base import Table
from cspine_assets.domain.tables.cohort import (
    AnnotationProvenance,
    Demographics,
    Exams,
    Findings,
    ImagingParameters,
    Integrity,
    Patients,
    SplitBalance,
    Splits,
)
from cspine_assets.domain.tables.midrc import (
    AnnotationFiles,
    Cases,
    ClinicalManifest,
    Files,
    ImageManifest,
    ImagingStudies,
    MrSeries,
)

MOST_FINDINGS = 20
_SHOWN = ["severity", "exam_id", "message"]
_JOINED = (Cases, ImagingStudies, MrSeries, AnnotationFiles)
_RELEASE = (Cases, ImagingStudies, MrSeries, AnnotationFiles, ImageManifest, ClinicalManifest, Files)


@table_asset(Exams, deps=[Cases, ImagingStudies, MrSeries, AnnotationFiles], version="1")
def exams(context: dg.AssetExecutionContext, study: Study) -> Made:
    """Studies, series and files joined; an exam whose links do not hold is left out and stands in cohort.findings."""
    built = _exams(study)
    left_out = built.findings.loc[built.findings["severity"] == "blocks", "message"].tolist()
    for message in left_out:
        context.log.warning(message)
    return Made(built.frame, {"exams": len(built.frame), "left_out": dg.MetadataValue.json(left_out)})


@table_asset(Patients, deps=[Cases, Exams], version="2")
def patients(context: dg.AssetExecutionContext, study: Study) -> Made:
    """Every patient of the release; those with an exam become partitions."""
    frame = build_patients(study.read(Cases), study.read(Exams))
    added = register_patients(context.instance, frame)
    return Made(frame, {"patients": len(frame), "new_partitions": len(added)})


def _content(path: str | None) -> str:
    """Fingerprint of a file that the user gave; of none, its name."""
    return fingerprint_file(Path(path)) if path and Path(path).is_file() else str(path)


def _given(study: Study, _key: str | None) -> str:
    """Fingerprint of the files that say who drew the masks."""
    return fingerprint_text(_content(study.settings.provenance), _content(study.settings.splits))


@table_asset(AnnotationProvenance, deps=[Exams, AnnotationFiles], version="3", source=_given)
def annotation_provenance(context: dg.AssetExecutionContext, study: Study) -> Made:
    """From the user's files where there are any, else from the release's own column where that tells masks apart."""
    built = _provenance(study)
    counts = built.frame["provenance"].value_counts().to_dict()
    for message in built.findings["message"]:
        context.log.warning(message)
    return Made(
        built.frame,
        {
            "sources": dg.MetadataValue.json(_sources(study, built.frame)),
            "disagreements": len(built.findings),
            **{f"{name}_masks": int(counts.get(name, 0)) for name in ("expert", "model", "unknown")},
        },
    )


def _sources(study: Study, frame: pd.DataFrame) -> dict[str, dict[str, object]]:
    """Returns what each source decided: its number of masks, and the day on which its file was last changed."""
    paths = {Path(path).name: Path(path) for path in (study.settings.provenance, study.settings.splits) if path}
    return {
        str(name): {
            "masks": int(count),
            "date": str(pd.Timestamp(paths[str(name)].stat().st_mtime, unit="s").date()) if name in paths else None,
        }
        for name, count in frame["source"].value_counts().items()
    }


def _rule(study: Study, _key: str | None) -> str:
    """Fingerprint of what the user says of the split."""
    return fingerprint_text(study.settings.preset, _content(study.settings.splits))


@table_asset(Splits, deps=[Exams, AnnotationProvenance], version="2", source=_rule)
def splits(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Test set and five folds by patient: by a preset, seeded and kept as the cohort grows, or the user's own."""
    preset = PRESETS[study.settings.preset]
    given = read_split_file(Path(study.settings.splits)) if study.settings.splits else None
    earlier = study.home.lake.read(Splits)
    standing = earlier[earlier["rule"] == preset.name] if given is None else earlier.head(0)
    frame = make_splits(
        study.read(Exams),
        study.read(AnnotationProvenance),
        settings=preset,
        given=given,
        standing=None if standing.empty else standing,
    )
    counts = frame["part"].value_counts().to_dict()
    shown = {"rule": frame["rule"].iloc[0], "split_sha256": frame["split_sha256"].iloc[0], "seed": preset.seed}
    return Made(frame, {**{f"{part}_exams": int(count) for part, count in counts.items()}, **shown})


@table_asset(SplitBalance, deps=[Exams, Splits], version="2")
def split_balance(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """How alike test set and folds are; below 0.1 is taken as balanced."""
    frame = build_split_balance(study.read(Exams), study.read(Splits))
    largest = frame["standardized_difference"].abs().max()
    shown = frame.pivot_table(index=["variable", "value"], columns="part", values="standardized_difference")
    return Made(
        frame,
        {
            "largest_difference": 0.0 if pd.isna(largest) else float(largest),
            "table": markdown_table(shown.reset_index(), "+.3f"),
        },
    )


@table_asset(Demographics, deps=[Patients, Exams, AnnotationProvenance, Splits], version="2")
def demographics(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """The published notebook's counts, means and standard deviations, over all and group by group."""
    frame = build_demographics(
        study.read(Patients), study.read(Exams), study.read(AnnotationProvenance), study.read(Splits)
    )
    return Made(frame, {"table": _markdown(frame, "variable", "value", "patient_count", "mean", "sd_sample")})


@table_asset(ImagingParameters, deps=[Exams, AnnotationProvenance, Splits], version="2")
def imaging_parameters(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """The published notebook's overview of acquisition parameters, over all and group by group."""
    frame = build_imaging_parameters(study.read(Exams), study.read(AnnotationProvenance), study.read(Splits))
    return Made(frame, {"table": _markdown(frame, "parameter", "value", "exam_count", "mean", "sd_sample")})


def _markdown(frame: pd.DataFrame, *columns: str) -> dg.MarkdownMetadataValue:
    """Returns the rows over all as a table for the page."""
    rows = frame.loc[frame["grouped_by"] == "all", list(columns)]
    return markdown_table(rows, ".4g")


@table_asset(Findings, deps=[*_RELEASE, Exams, AnnotationProvenance], version="3", source=_given)
def findings(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Links, pairs, sums, files on the disk and their checksums, provenance, and the published counts."""
    manifests = findings_frame(row_findings(_rejected(study, (ImageManifest, ClinicalManifest))))
    frames = [_exams(study).findings, manifests, _provenance(study).findings, examine(_tables(study))]
    filled = [frame for frame in frames if not frame.empty]
    frame = pd.concat(filled, ignore_index=True) if filled else frames[0]
    counts = frame["check_name"].value_counts().to_dict()
    return Made(
        frame,
        {
            "findings": len(frame),
            "by_check": dg.MetadataValue.json({str(name): int(count) for name, count in counts.items()}),
        },
    )


@table_asset(Integrity, deps=[*_RELEASE, Exams, AnnotationProvenance, Findings], version="2")
def integrity(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """What each check looked at and found; each has a light of its own on the page."""
    frame = summarize(_tables(study), study.read(Findings))
    columns = ["check_name", "checked_count", "checked_what", "blocking_count", "warning_count", "note"]
    return Made(frame, {"table": markdown_table(frame[columns])})


def _tables(study: Study) -> CohortTables:
    """Returns the tables that are held against each other."""
    return CohortTables(
        cases=study.read(Cases),
        studies=study.read(ImagingStudies),
        series=study.read(MrSeries),
        annotation_files=study.read(AnnotationFiles),
        # read whole: a row that names a patient who is not there is just what is looked for
        image_manifest=study.home.lake.read(ImageManifest, columns=MANIFEST_COLUMNS),
        clinical_manifest=study.read(ClinicalManifest),
        files=study.read(Files),
        exams=study.read(Exams),
        provenance=study.read(AnnotationProvenance),
        rejected=_rejected(study, _RELEASE),
    )


def _exams(study: Study) -> ExamsBuilt:
    return build_exams(
        study.read(Cases),
        study.read(ImagingStudies),
        study.read(MrSeries),
        study.read(AnnotationFiles),
        _rejected(study, _JOINED),
    )


def _rejected(study: Study, tables: Iterable[type[Table]]) -> tuple[RejectedRow, ...]:
    """Returns the rows of some tables that could not be used."""
    return tuple(row for table in tables for row in from_notes(study.home.lake.notes(table)))


def _provenance(study: Study) -> ProvenanceBuilt:
    return build_annotation_provenance(study.read(Exams), study.read(AnnotationFiles), _evidences(study))


def _evidences(study: Study) -> list[Evidence]:
    """Returns what the user's files say of who drew the masks; a split serves where it says so too."""
    evidences = [read_evidence(Path(study.settings.provenance))] if study.settings.provenance else []
    if study.settings.splits:
        try:
            of_split = read_evidence(Path(study.settings.splits))
        except SourceError:
            return evidences  # a split in a form that says nothing of masks; whether it is one is asked by the split
        # a bare list of test exams is complete as a list of tests, and says nothing of who drew them
        evidences += [] if of_split.complete else [of_split]
    return evidences


@dg.asset_check(asset=asset_key(Splits), blocking=True, description="No patient is on two sides or in two folds.")
def no_patient_on_two_sides(study: StudyResource) -> dg.AssetCheckResult:
    """Looks at the split that stands: test, folds and the unannotated set."""
    standing = study.open().read(Splits)
    found = find_leaks(standing)
    return dg.AssetCheckResult(
        passed=found.empty,
        description=told(
            len(found),
            standing["patient_id"].nunique(),
            "patients",
            "They are on two sides, and scores would be too good: mend the file of --splits.",
        ),
        metadata={
            "leaks": len(found),
            "checked_patients": int(standing["patient_id"].nunique()),
            "patients": dg.MetadataValue.json(found["subject"].tolist()),
        },
    )


def _sentence(found: pd.DataFrame, checked: int, check: Check) -> str:
    """Returns what a light says without a click: how much it found, the first of it, and where the rest stands."""
    if found.empty:
        return told(0, checked, check.what, "")
    all_of_it = "" if len(found) == 1 else f" All of them stand in cohort.findings, as {check.name}."
    return f"{len(found)} found among {checked:,} {check.what}. The first: {found['message'].iloc[0]}.{all_of_it}"


def _check(check: Check) -> dg.AssetChecksDefinition:
    """Returns the light of one check: red where something has to be mended, yellow where a person should look."""

    @dg.asset_check(asset=asset_key(Integrity), name=check.name, description=check.description)
    def look(study: StudyResource) -> dg.AssetCheckResult:
        opened = study.open()
        (row,) = opened.read(Integrity).query("check_name == @name", local_dict={"name": check.name}).to_dict("records")
        found = opened.home.lake.read(Findings).query("check_name == @name", local_dict={"name": check.name})
        found = found.sort_values("severity", kind="stable")  # what has to be mended comes first
        return dg.AssetCheckResult(
            passed=found.empty,
            severity=dg.AssetCheckSeverity.ERROR if row["blocking_count"] else dg.AssetCheckSeverity.WARN,
            description=_sentence(found, row["checked_count"], check),
            metadata={
                f"checked ({check.what})": row["checked_count"],
                "to_mend": row["blocking_count"],
                "to_look_at": row["warning_count"],
                **({} if found.empty else {"findings": inline_table(found[_SHOWN].head(MOST_FINDINGS))}),
                **({} if pd.isna(row["note"]) else {"seen": row["note"]}),
            },
        )

    return look


integrity_checks = [_check(check) for check in CHECKS]
