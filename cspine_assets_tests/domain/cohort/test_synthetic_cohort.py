import pytest

from cspine_assets.domain.cohort.evidence import read_evidence
from cspine_assets.domain.cohort.exams import build_exams, build_patients
from cspine_assets.domain.cohort.integrity import (
    find_file_differences,
    find_instance_differences,
    find_leaks,
    find_unpaired_files,
)
from cspine_assets.domain.cohort.midrc_tables import read_midrc_table
from cspine_assets.domain.cohort.provenance import build_annotation_provenance
from cspine_assets.domain.cohort.source import find_source
from cspine_assets.domain.cohort.splits import PUBLISHED, make_splits
from cspine_assets.domain.phantom.cohort import write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.tables.midrc import (
    NODES,
    AnnotationFiles,
    Cases,
    ImageManifest,
    ImagingStudies,
    MrSeries,
)


@pytest.mark.parametrize("archived", [False, True])
def test_a_synthetic_cohort_passes_every_check_from_files_to_split(tmp_path, archived):
    report = write_cohort(tmp_path / "download", CohortSettings(patients=12, seed=1, matrix=32, archived=archived))
    source = find_source(report.destination)
    tables = {node.table: read_midrc_table(source, node.table).frame for node in NODES}
    built = build_exams(tables[Cases], tables[ImagingStudies], tables[MrSeries], tables[AnnotationFiles])
    evidence = read_evidence(report.provenance_file)
    provenance = build_annotation_provenance(built.frame, tables[AnnotationFiles], evidence)
    split = make_splits(built.frame, provenance.frame, settings=PUBLISHED)

    assert len(built.frame) == report.exams
    assert build_patients(tables[Cases], built.frame)["exam_count"].sum() == report.exams
    assert (provenance.frame["provenance"] == "expert").sum() == report.expert_masks
    assert len(tables[ImageManifest]) == report.instances
    for findings in (
        built.findings,
        provenance.findings,
        find_unpaired_files(built.frame),
        find_instance_differences(tables[MrSeries], tables[ImageManifest]),
        find_file_differences(built.frame, source),
        find_leaks(split),
    ):
        assert findings["message"].tolist() == []
