"""The sensor of new models, tick by tick: all ten, up to date, and asked for once."""

import json
import os
from collections.abc import Iterator
from typing import NamedTuple

import dagster as dg
import pandas as pd
import pytest

from cspine_assets.defs import imported_masks, jobs
from cspine_assets.defs.fingerprints import Fingerprints
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.partitions import lake_partition, trainings
from cspine_assets.defs.resources import Study
from cspine_assets.defs.stages import known_tables
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.evaluation.external import CARD_FILE
from cspine_assets.domain.files import write_text
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import Table, empty_frame
from cspine_assets.domain.tables.cohort import Splits
from cspine_assets.domain.tables.imaging import Volumes
from cspine_assets.domain.tables.nnunet import CONFIGURATIONS, FOLDS, Plans, TrainedFolds
from cspine_assets.nnunet.imported import RECORD_FILE, ImportRecord, trust_model
from cspine_assets_tests.defs.test_automation import Ticks, asked

KEYS = trainings.get_partition_keys()


def rows(table: type[Table], **values) -> pd.DataFrame:
    types = empty_frame(table).dtypes.to_dict()
    usual = {"string": "x", "Int64": 1, "Float64": 0.5}
    return pd.DataFrame(
        [{name: usual[str(kind).split("[", maxsplit=1)[0]] for name, kind in types.items()} | values]
    ).astype(types)


def stand(home: Home, instance: dg.DagsterInstance, configuration: str, fold: int, *, checkpoint: str) -> None:
    """A model as its asset leaves it: its row, made from the plans that stand, and its materialization."""
    key = next(key for key in KEYS if key.split("|") == [configuration, str(fold)])
    folder = home.nnunet_results / configuration / str(fold)
    folder.mkdir(parents=True, exist_ok=True)
    values = {"profile": "demo", "path": home.relative(folder), "checkpoint_sha256": checkpoint}
    home.lake.write(
        TrainedFolds,
        rows(TrainedFolds, configuration=configuration, fold=fold, **values),
        partition=lake_partition(str(key)),
        inputs=str(Fingerprints(Study(home)).inputs(known_tables()[TrainedFolds], key)),
    )
    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(TrainedFolds), partition=str(key)))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def tick(home: Home, instance: dg.DagsterInstance) -> Ticks:
    plans = [rows(Plans, configuration=name, profile="demo") for name in CONFIGURATIONS]
    home.lake.write(Plans, pd.concat(plans))
    for configuration in CONFIGURATIONS:
        for fold in FOLDS:
            stand(home, instance, configuration, fold, checkpoint="first")
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=asset_key(TrainedFolds), check_name="schema", passed=True, metadata={})
    )
    return Ticks("new_models", home, instance)


def test_models_that_are_new_are_evaluated_once(tick: Ticks):
    assert [asked(tick()) for _ in range(20)] == [[], ["reevaluate"], *[[]] * 18]


def test_a_model_that_was_trained_anew_is_evaluated(tick: Ticks, home: Home, instance: dg.DagsterInstance):
    assert [job for _ in range(3) for job in asked(tick())] == ["reevaluate"]
    stand(home, instance, "2d", 0, checkpoint="second")
    assert [asked(tick()) for _ in range(3)] == [[], ["reevaluate"], []]


def test_nothing_is_evaluated_while_models_are_older_than_their_data(tick: Ticks, home: Home):
    tick()
    plans = [rows(Plans, configuration=name, profile="demo", data_fingerprint="new") for name in CONFIGURATIONS]
    home.lake.write(Plans, pd.concat(plans))
    data = tick()
    assert asked(data) == []
    assert "10 models are older" in str(data.skip_message)


def import_model(home: Home, *, trusted: bool = False) -> None:
    record = ImportRecord(
        name="theirs",
        archive="theirs.zip",
        archive_sha256="a",
        imported_at="2026-11-25T00:00:00+00:00",
        trusted=trusted,
        dataset="Dataset108_CSpineSeg",
        configurations={},
        files={},
        left_out=(),
        card=None,
    )
    write_text(home.imported_models / "theirs" / RECORD_FILE, record.model_dump_json())


def test_an_imported_model_counts_once_it_is_trusted(tick: Ticks, home: Home):
    assert [job for _ in range(3) for job in asked(tick())] == ["reevaluate"]
    import_model(home)
    assert [asked(tick()) for _ in range(3)] == [[], [], []]
    trust_model(home.imported_models, "theirs")
    assert [asked(tick()) for _ in range(3)] == [[], ["reevaluate"], []]


class Predicted(NamedTuple):
    """What an imported model was asked for: which exams, whether again."""

    exams: tuple[str, ...]
    force: bool


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[Predicted]:
    """What a trusted model is asked to predict; its card is written as after the prediction."""
    asked_for: list[Predicted] = []

    def predict(study: Study, name: str, _on_message: object, *, force: bool) -> tuple[()]:
        exams = imported_masks._test_exams(study)
        asked_for.append(Predicted(tuple(exams["exam_id"]), force))
        card = {"settings": {imported_masks._TEST_EXAMS: imported_masks._fingerprint(exams)}}
        write_text(study.home.external_predictions / name / CARD_FILE, json.dumps(card))
        return ()

    monkeypatch.setattr(jobs, "predict_test_exams", predict)
    return asked_for


def hold_test_set(home: Home, *names: str) -> None:
    """Makes these the test exams, each with its volume."""
    tested = [
        rows(Splits, exam_id=name, patient_id=name, part="test", fold=None, annotation_provenance="expert")
        for name in names
    ]
    home.lake.write(Splits, pd.concat(tested))
    for name in names:
        volume = rows(
            Volumes, exam_id=name, patient_id=name, status="ok", origin="dicom", equals_shipped="absent", cause=None
        )
        home.lake.write(Volumes, volume, partition=name)


def test_an_imported_model_predicts_once_and_again_when_the_test_set_is_another(home: Home, predicted: list[Predicted]):
    def work(*, force: bool = False) -> list[Predicted]:
        """What is predicted now."""
        before = len(predicted)
        assert jobs.predict_with_imports(Study(home), lambda _said: None, force=force) == []
        return predicted[before:]

    hold_test_set(home, "e1")
    import_model(home)
    assert work() == []
    trust_model(home.imported_models, "theirs")
    assert work() == [Predicted(("e1",), False)]
    assert work() == []
    hold_test_set(home, "e1", "e2")
    assert work() == [Predicted(("e1", "e2"), False)]
    assert work() == []
    assert work(force=True) == [Predicted(("e1", "e2"), True)]
    imported = home.imported_models / "theirs" / RECORD_FILE
    later = (home.external_predictions / "theirs" / CARD_FILE).stat().st_mtime_ns + 1
    os.utime(imported, ns=(later, later))
    assert work() == [Predicted(("e1", "e2"), False)]
    os.utime(imported, ns=(1, 1))
    (home.external_predictions / "theirs" / CARD_FILE).write_text("no card")
    assert work() == [Predicted(("e1", "e2"), False)]


@pytest.mark.parametrize("card", [None, "no card", '{"title": "a tool of theirs"}'])
def test_a_persons_masks_are_not_replaced_by_a_model_of_the_same_name(
    home: Home, card: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(imported_masks, "imported_application", lambda *_: None)
    folder = home.external_predictions / "theirs"
    folder.mkdir(parents=True)
    (folder / "e1.nii.gz").write_bytes(b"drawn by hand")
    if card is not None:
        (folder / CARD_FILE).write_text(card)
    with pytest.raises(ModelError, match=r"theirs: expected the masks of the imported model .* another --name"):
        imported_masks.predict_test_exams(Study(home), "theirs", lambda _said: None)
    assert (folder / "e1.nii.gz").read_bytes() == b"drawn by hand"


def test_a_model_may_not_be_called_as_the_studys_own(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(imported_masks, "imported_application", lambda *_: None)
    with pytest.raises(ModelError, match="the study's own models are called so"):
        imported_masks.predict_test_exams(Study(home), "ensemble", lambda _said: None)
