"""What assets read of the study: the cohort whole, everything below it without patients who have left."""

import subprocess
import sys

import pandas as pd

from cspine_assets.defs.resources import Study
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import empty_frame
from cspine_assets.domain.tables.cohort import AnnotationProvenance, Patients
from cspine_assets.domain.tables.imaging import HeaderFindings


def rows(table, patients, **values):
    frame = pd.DataFrame([{"patient_id": patient, **values} for patient in patients])
    return frame.reindex(columns=empty_frame(table).columns)


def test_a_new_patient_is_seen_by_the_cohort_and_one_who_left_by_nothing_below_it(tmp_path):
    home = Home(tmp_path)
    nobody = {"sex": "Male", "race": "White", "ethnicity": "Not Reported", "age_over_89": False, "exam_count": 1}
    known = {key: value for key, value in nobody.items() if key in empty_frame(Patients).columns}
    home.lake.write(Patients, rows(Patients, ["old"], **known))
    drawn = rows(AnnotationProvenance, ["new", "old"], provenance="expert", source="none")
    home.lake.write(AnnotationProvenance, drawn.assign(exam_id=["new_1", "old_1"]))
    found = rows(HeaderFindings, ["left", "old"], tag="(0010,0010)", keyword="x", kind="date", instance_count=1)
    home.lake.write(HeaderFindings, found.assign(exam_id=["left_1", "old_1"]))
    study = Study(home)
    assert study.read(AnnotationProvenance)["patient_id"].tolist() == ["new", "old"]
    assert study.read(HeaderFindings)["patient_id"].tolist() == ["old"]


def test_models_can_be_asked_for_before_any_asset_was_loaded(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from cspine_assets.defs.jobs import models_stand\n"
        "from cspine_assets.defs.resources import Study\n"
        "from cspine_assets.domain.home import Home, HomeSettings\n"
        "home = Home(Path(sys.argv[1])); home.open(HomeSettings('demo', '/nowhere'))\n"
        "print(models_stand(Study(home)))\n"
    )
    said = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert said.stdout.strip() == "False", said.stderr
