"""Sensors: work that starts when something outside changes, off until a person switches them on.

Add a sensor when the platform should notice something by itself. What is then made stands in the assets.
"""

import dagster as dg

from cspine_assets.defs.partitions import patients
from cspine_assets.defs.resources import StudyResource
from cspine_assets.domain.cohort.midrc_tables import read_midrc_table
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.tables.midrc import AnnotationFiles, Cases

TABLES = dg.AssetSelection.groups("midrc", "cohort")


@dg.sensor(
    target=TABLES,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Registers patients who are new in the download, and asks for the tables to be read again.",
)
def new_patients(context: dg.SensorEvaluationContext, study: StudyResource) -> dg.SensorResult | dg.SkipReason:
    """Compares the patients of the download, those with files, with the partitions that stand."""
    try:
        source = study.open().source
        known = set(read_midrc_table(source, Cases).frame["submitter_id"])
        files = read_midrc_table(source, AnnotationFiles).frame["file_name"]
    except CSpineError as error:
        return dg.SkipReason(str(error))
    with_files = {str(name).rsplit("/", maxsplit=1)[-1].split("_", maxsplit=1)[0] for name in files}
    standing = set(context.instance.get_dynamic_partitions(str(patients.name)))
    new = sorted((known & with_files) - standing)
    if not new:
        return dg.SkipReason(f"no new patient among {len(known)} in the download")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=fingerprint_text(*new))],
        dynamic_partitions_requests=[patients.build_add_request(new)],
    )
