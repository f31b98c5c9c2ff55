"""Assets of group ``cohort``: exams, patients, who drew the masks, splits, summaries, and what is wrong.

Add an asset when something new is said of patients or exams. How it is derived stands in the cohort wing.
"""

from pathlib import Path

import dagster as dg
import pandas as pd

from cspine_assets.defs.io import Made, asset_key, table_asset
from cspine_assets.defs.partitions import patients as patient_partitions
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.domain.cohort.evidence import read_evidence
from cspine_assets.domain.cohort.exams import build_exams, build_patients
from cspine_assets.domain.cohort.integrity import (
    find_file_differences,
    find_instance_differences,
    find_leaks,
    find_unpaired_files,
)
from cspine_assets.domain.cohort.provenance import ProvenanceBuilt, build_annotation_provenance
from cspine_assets.domain.cohort.splits import PUBLISHED, build_split_balance, make_splits
from cspine_assets.domain.cohort.summaries import build_demographics, build_imaging_parameters
from cspine_assets.domain.lake import fingerprint_file, fingerprint_text
from cspine_assets.domain.tables.cohort import (
    AnnotationProvenance,
    Demographics,
    Exams,
    Findings,
    ImagingParameters,
    Patients,
    SplitBalance,
    Splits,
)
from cspine_assets.domain.tables.midrc import AnnotationFiles, Cases, ImageManifest, ImagingStudies, MrSeries


@table_asset(Exams, deps=[Cases, ImagingStudies, MrSeries, AnnotationFiles], version="1")
def exams(context: dg.AssetExecutionContext, study: Study) -> Made:
    """Studies, series and files joined; an exam whose links do not hold is left out and stands in cohort.findings."""
    built = _exams(study)
    left_out = built.findings.loc[built.findings["severity"] == "blocks", "message"].tolist()
    for message in left_out:
        context.log.warning(message)
    return Made(built.frame, {"exams": len(built.frame), "left_out": dg.MetadataValue.json(left_out)})


@table_asset(Patients, deps=[Cases, Exams], version="1")
def patients(context: dg.AssetExecutionContext, study: Study) -> Made:
    """Every patient of the release; those with an exam become partitions."""
    frame = build_patients(study.read(Cases), study.read(Exams))
    added = register_patients(context.instance, frame)
    return Made(frame, {"patients": len(frame), "new_partitions": len(added)})


def register_patients(instance: dg.DagsterInstance, frame: pd.DataFrame) -> list[str]:
    """Makes partitions of the patients with an exam, sorted, removes those who have left, and returns the new ones."""
    name = str(patient_partitions.name)
    wanted = sorted(frame.loc[frame["exam_count"] > 0, "patient_id"])
    standing = set(instance.get_dynamic_partitions(name))
    added = [key for key in wanted if key not in standing]
    instance.add_dynamic_partitions(name, added)
    for key in sorted(standing - set(wanted)):
        instance.delete_dynamic_partition(name, key)
    return added


def _provenance_file(study: Study, _key: str | None) -> str:
    """Fingerprint of the file that says who drew the masks."""
    path = study.settings.provenance
    return fingerprint_file(Path(path)) if path and Path(path).is_file() else str(path)


@table_asset(AnnotationProvenance, deps=[Exams, AnnotationFiles], version="1", source=_provenance_file)
def annotation_provenance(context: dg.AssetExecutionContext, study: Study) -> Made:
    """From the user's file where there is one, else from the release's own column where that tells masks apart."""
    built = _provenance(study)
    counts = built.frame["provenance"].value_counts().to_dict()
    for message in built.findings["message"]:
        context.log.warning(message)
    return Made(
        built.frame,
        {
            "sources": dg.MetadataValue.json(sorted(built.frame["source"].unique())),
            "disagreements": len(built.findings),
            **{f"{name}_masks": int(counts.get(name, 0)) for name in ("expert", "model", "unknown")},
        },
    )


@table_asset(Splits, deps=[Exams, AnnotationProvenance], version="1")
def splits(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Test set and five folds by patient, in the published proportions, seeded; an earlier split is kept as it grows."""
    standing = study.home.lake.read(Splits)
    frame = make_splits(
        study.read(Exams),
        study.read(AnnotationProvenance),
        settings=PUBLISHED,
        standing=None if standing.empty else standing,
    )
    counts = frame["part"].value_counts().to_dict()
    return Made(frame, {**{f"{part}_exams": int(count) for part, count in counts.items()}, "seed": PUBLISHED.seed})


@table_asset(SplitBalance, deps=[Exams, Splits], version="1")
def split_balance(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """How alike test set and folds are; below 0.1 is taken as balanced."""
    frame = build_split_balance(study.read(Exams), study.read(Splits))
    return Made(frame, {"largest_difference": float(frame["standardized_difference"].abs().max())})


@table_asset(Demographics, deps=[Patients, AnnotationProvenance], version="1")
def demographics(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """The published notebook's counts, means and standard deviations, over all and by who drew the mask."""
    frame = build_demographics(study.read(Patients), study.read(AnnotationProvenance))
    return Made(frame, {"table": _markdown(frame, "variable", "value", "patient_count", "mean", "sd_sample")})


@table_asset(ImagingParameters, deps=[Exams, AnnotationProvenance], version="1")
def imaging_parameters(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """The published notebook's overview of acquisition parameters, over all and by who drew the mask."""
    frame = build_imaging_parameters(study.read(Exams), study.read(AnnotationProvenance))
    return Made(frame, {"table": _markdown(frame, "parameter", "value", "exam_count", "mean", "sd_sample")})


def _markdown(frame: pd.DataFrame, *columns: str) -> dg.MarkdownMetadataValue:
    """Returns the rows over all masks as a table for the page."""
    rows = frame.loc[frame["provenance"] == "all", list(columns)]
    return dg.MetadataValue.md(rows.to_markdown(index=False, floatfmt=".4g", missingval=""))


def _download(study: Study, _key: str | None) -> str:
    """Fingerprint of what lies in the download: names and sizes."""
    source = study.source
    files = [
        *source.images.values(),
        *source.masks.values(),
        *(file for found in source.series.values() for file in found),
    ]
    return fingerprint_text(*sorted(f"{file.location} {file.size}" for file in files), _provenance_file(study, None))


@table_asset(
    Findings,
    deps=[
        Cases,
        ImagingStudies,
        MrSeries,
        AnnotationFiles,
        ImageManifest,
        Exams,
        AnnotationProvenance,
        Splits,
    ],
    version="1",
    source=_download,
)
def findings(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Links, pairs, instance counts, files on the disk, and leaks between the parts of the split."""
    standing = study.read(Exams)
    frames = [
        _exams(study).findings,
        _provenance(study).findings,
        find_unpaired_files(standing),
        find_instance_differences(study.read(MrSeries), study.read(ImageManifest)),
        find_file_differences(standing, study.source),
        find_leaks(study.read(Splits)),
    ]
    filled = [frame for frame in frames if not frame.empty]
    frame = pd.concat(filled, ignore_index=True) if filled else frames[0]
    counts = frame["check_name"].value_counts().to_dict()
    return Made(frame, {"findings": len(frame), "by_check": dg.MetadataValue.json(counts)})


def _exams(study: Study):  # noqa: ANN202 - ExamsBuilt
    return build_exams(study.read(Cases), study.read(ImagingStudies), study.read(MrSeries), study.read(AnnotationFiles))


def _provenance(study: Study) -> ProvenanceBuilt:
    path = study.settings.provenance
    evidence = read_evidence(Path(path)) if path else None
    return build_annotation_provenance(study.read(Exams), study.read(AnnotationFiles), evidence)


@dg.asset_check(asset=asset_key(Splits), blocking=True, description="No patient is on two sides or in two folds.")
def no_patient_on_two_sides(study: StudyResource) -> dg.AssetCheckResult:
    """Looks at the split that stands."""
    found = find_leaks(study.open().read(Splits))
    return dg.AssetCheckResult(
        passed=found.empty,
        metadata={"leaks": len(found), "patients": dg.MetadataValue.json(found["subject"].tolist())},
    )


@dg.asset_check(asset=asset_key(Findings), description="Nothing that blocks was found in the cohort.")
def no_blocking_findings(study: StudyResource) -> dg.AssetCheckResult:
    """Counts findings by severity; the exams concerned are left out, the others go on."""
    frame = study.open().read(Findings)
    blocking = frame[frame["severity"] == "blocks"]
    return dg.AssetCheckResult(
        passed=blocking.empty,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "blocking": len(blocking),
            "warning": len(frame) - len(blocking),
            "messages": dg.MetadataValue.json(blocking["message"].head(20).tolist()),
        },
    )
