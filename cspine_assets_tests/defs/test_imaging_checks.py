"""What checks of volumes say of rows that stand in the lake."""

import pandas as pd

from cspine_assets.defs.imaging import equals_shipped
from cspine_assets.defs.resources import StudyResource
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import TEXT
from cspine_assets.domain.tables.imaging import Volumes
from cspine_assets_tests.domain.warehouse.rows import EXAMS, frames


def look(home: Home, *compared: str | None):
    rows = frames()[Volumes].assign(status="ok")
    values = [*compared, *["absent"] * (len(rows) - len(compared))]
    home.lake.write(Volumes, rows.assign(equals_shipped=pd.array(values, dtype=TEXT)))
    return equals_shipped(StudyResource(home=str(home.root)))


def test_a_shipped_volume_that_differs_is_a_warning_that_names_its_exam(home: Home):
    found = look(home, "equal", "unreadable", "equal", "voxels_differ", "absent", None)
    assert not found.passed
    assert found.severity.value == "WARN"
    assert found.description.startswith("2 of 4 shipped volumes.")
    assert found.metadata["differing"].value == {EXAMS[1]: "unreadable", EXAMS[3]: "voxels_differ"}


def test_equal_and_absent_ones_are_well(home: Home):
    found = look(home, "equal", "absent")
    assert found.passed
    assert found.description == "Nothing found among 1 shipped volumes."
