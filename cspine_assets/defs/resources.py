"""Resources: the study that assets work on.

Add a resource when assets share something that depends on where they run. The environment is read when a resource
is used, never when this module is loaded.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from cspine_assets.defs.automation import AutomationSettings, read_automation
from cspine_assets.defs.instance import index_kept_open
from cspine_assets.domain.cohort.source import Source, find_source
from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.evaluation.stated_tops import StatedTops, read_stated_tops
from cspine_assets.domain.home import Home, HomeSettings, home_root
from cspine_assets.domain.lake import to_frame
from cspine_assets.domain.tables.base import Table, rows_of
from cspine_assets.domain.tables.cohort import Exams, Patients
from cspine_assets.domain.tables.imaging import Volumes
from cspine_assets.nnunet.devices import Slot
from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.prediction import PredictionSettings
from cspine_assets.nnunet.prediction_settings import PredictionChoices, read_choices
from cspine_assets.nnunet.profiles import PROFILES, Profile
from cspine_assets.nnunet.settings import TrainingSettings, changed, read_settings

SOURCE_VARIABLE = "CSPINE_SOURCE"
PROVENANCE_VARIABLE = "CSPINE_PROVENANCE"


class Study:
    """One study: its home, its settings, and its tables.

    Made anew for every step, so what it remembers is as of the step's beginning.

    Args:
        home: Where everything has its place.
        choices: Training settings of this one run, before those kept in the home.
    """

    def __init__(self, home: Home, choices: Mapping[str, object] | None = None) -> None:
        self.home = home
        self._choices = dict(choices or {})

    @cached_property
    def settings(self) -> HomeSettings:
        """What the home was opened for.

        Raises:
            HomeError: Nobody has opened it yet and CSPINE_SOURCE is not set.
        """
        standing = self.home.read_settings()
        source = os.environ.get(SOURCE_VARIABLE)
        if standing is None and source is None:
            raise HomeError(
                f"{self.home.root}: expected a home that knows its download, and {SOURCE_VARIABLE} is not set. "
                f"Set {SOURCE_VARIABLE} to the folder of the MIDRC download, or run `cspine demo`."
            )
        if standing is None:
            provenance = os.environ.get(PROVENANCE_VARIABLE)
            return self.home.open(
                HomeSettings(
                    profile="full",
                    source=str(Path(str(source)).resolve()),
                    provenance=str(Path(provenance).resolve()) if provenance else None,
                )
            )
        return standing

    @cached_property
    def automation(self) -> AutomationSettings:
        """What is set for the work that runs by itself."""
        return read_automation(self.home)

    @cached_property
    def profile(self) -> Profile:
        """How models are trained here: ``full`` or ``demo``, with what a person has chosen otherwise."""
        standing = next(profile for name, profile in PROFILES.items() if name == self.settings.profile)
        return self.training.applied_to(standing)

    @cached_property
    def training(self) -> TrainingSettings:
        """What a person has chosen otherwise than the profile: in the run, else in the home."""
        said = {name: value for name, value in self._choices.items() if value is not None}
        return changed(read_settings(self.home.root), said)

    @cached_property
    def stated_tops(self) -> StatedTops:
        """What people say the topmost annotated body of masks is."""
        return read_stated_tops(self.home.root)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The places for trainings and predictions."""
        return self.training.slots()

    @cached_property
    def prediction_choices(self) -> PredictionChoices:
        """What a person has chosen of the way masks are drawn."""
        return read_choices(self.home.root)

    @property
    def prediction_settings(self) -> PredictionSettings:
        """The way masks are drawn here: the profile's, where nobody has chosen another."""
        return self.prediction_choices.settings(self.profile)

    def read(self, table: type[Table], partitions: list[str] | None = None) -> pd.DataFrame:
        """Returns a table's rows, without those of patients who have left the cohort.

        Tables of the release and the cohort are whole: they are what says who belongs to it, and who is new.
        """
        return to_frame(self.read_arrow(table, partitions))

    def read_arrow(self, table: type[Table], partitions: list[str] | None = None) -> pa.Table:
        """Returns the same rows as Arrow holds them; see ``read``."""
        rows = self.home.lake.read_arrow(table, partitions)
        if table.schema_name() in ("midrc", "cohort") or "patient_id" not in rows.column_names:
            return rows
        if not self.patient_ids:
            return rows
        return rows.filter(pc.is_in(rows["patient_id"], pa.array(self.patient_ids, pa.string())))

    @cached_property
    def source(self) -> Source:
        """The download, looked through once.

        Raises:
            SourceError: It is missing or no MIDRC download.
        """
        return find_source(Path(self.settings.source))

    @cached_property
    def exams_by_patient(self) -> dict[str, list[Any]]:
        """Rows of ``cohort.exams`` of each patient who has any, as named tuples."""
        exams: dict[str, list[Any]] = {}
        for exam in rows_of(self.home.lake.read(Exams)):
            exams.setdefault(exam.patient_id, []).append(exam)
        return exams

    def usable_volumes(self) -> pd.DataFrame:
        """Returns the volumes that stand: ``exam_id``, ``path``, ``sha256``."""
        volumes = self.read(Volumes)
        return volumes.loc[volumes["status"] == "ok", ["exam_id", "path", "sha256"]]

    @property
    def nnunet_folders(self) -> NnunetFolders:
        """nnU-Net's three folders in the home."""
        home = self.home
        return NnunetFolders(raw=home.nnunet_raw, preprocessed=home.nnunet_preprocessed, results=home.nnunet_results)

    @cached_property
    def patient_ids(self) -> frozenset[str]:
        """The patients of the cohort; none before it has been made."""
        return frozenset(self.home.lake.read(Patients)["patient_id"])


class StudyResource(dg.ConfigurableResource[Study]):
    """Gives assets the study; its home comes from here or from CSPINE_HOME."""

    home: str = Field(default="", description="Folder of the study; where empty, CSPINE_HOME says it.")

    def open(self, choices: Mapping[str, object] | None = None) -> Study:
        """Returns the study of the configured home.

        Args:
            choices: Training settings of this one run.
        """
        return Study(Home(home_root(self.home or None)), choices)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Any]:
        """Gives itself to a run, for whose time the index of events is kept open."""
        with index_kept_open(context.instance) if context.instance else nullcontext():
            yield self


@dg.definitions
def resources() -> dg.Definitions:
    """The study, and how runs are executed: every step in the run's own process, which costs no second start.

    What is heavy runs in children of its own, and what can be made side by side is made in runs side by side.
    """
    return dg.Definitions(resources={"study": StudyResource()}, executor=dg.in_process_executor)
