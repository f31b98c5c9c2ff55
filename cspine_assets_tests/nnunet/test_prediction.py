import json
import pickle
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
import torch
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation

from cspine_assets.domain.errors import CSpineError, ModelError
from cspine_assets.nnunet import process
from cspine_assets.nnunet.application import Application
from cspine_assets.nnunet.children import loading
from cspine_assets.nnunet.children import predict as child
from cspine_assets.nnunet.children.loading import load_folds
from cspine_assets.nnunet.children.pulse import Pulse
from cspine_assets.nnunet.dataset import ANNOTATED
from cspine_assets.nnunet.environment import child_environment
from cspine_assets.nnunet.finished_cases import fingerprint_case, fingerprint_models, is_finished, write_stamp
from cspine_assets.nnunet.messages import CaseFailed, CasePredicted, CaseStage
from cspine_assets.nnunet.postprocessing import Postprocessing
from cspine_assets.nnunet.prediction import (
    Model,
    PredictionCase,
    PredictionSettings,
    Predictor,
    PredictRequest,
    mask_path,
    model_of,
    predict_cases,
)
from cspine_assets.nnunet.profiles import Configuration
from cspine_assets.nnunet.scans import predict_folder, predict_scan
from cspine_assets_tests.nnunet.stock_command import run_stock
from cspine_assets_tests.nnunet.tiny import CPU, TINY, train
from cspine_assets_tests.processes import SetClock, command_of

SETTINGS = PredictionSettings(disable_tta=True, step_size=0.5)
KEEP_LARGEST = {Predictor.ENSEMBLE: Postprocessing.KEEP_LARGEST}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(planned_study, uninterrupted):
    """A fold of each configuration; their quality does not matter here."""
    train(planned_study, configuration=Configuration.FULL_RESOLUTION)
    return [model_of(planned_study.folders, str(ANNOTATED), name, [0], profile=TINY) for name in Configuration]


@pytest.fixture(scope="module")
def predicted(planned_study, models, tmp_path_factory):
    """Both test cases and a broken one, predicted; the result, the messages and the folder.

    With probabilities, and the ensemble's masks with postprocessing: both are compared with nnU-Net's commands.
    """
    folder = tmp_path_factory.mktemp("predicted")
    broken = folder / "broken.nii.gz"
    broken.write_bytes(b"no NIfTI file")
    tests = [case for case in planned_study.cases if case.part == "test"]
    cases = [PredictionCase(case_id=case.case_id, image=case.image) for case in tests]
    cases.insert(1, PredictionCase(case_id="broken", image=broken))
    heard = []
    result = predict_cases(
        models,
        cases,
        folder,
        settings=SETTINGS.model_copy(update={"save_probabilities": True}),
        postprocessing=KEEP_LARGEST,
        slot=CPU,
        supervision=planned_study.supervision("predict", heard.append),
    )
    return result, heard, folder


def test_a_case_that_fails_is_told_and_does_not_stop_the_others(predicted, planned_study):
    result, heard, folder = predicted
    assert result.predicted == tuple(case.case_id for case in planned_study.cases if case.part == "test")
    assert [failure.case_id for failure in result.failed] == ["broken"]
    assert result.failed[0].reason
    outcomes = [message.kind for message in heard if message.kind.startswith("case_") and message.kind != "case_stage"]
    assert outcomes == ["case_predicted", "case_failed", "case_predicted"]
    assert not any(mask_path(folder, predictor, "broken").exists() for predictor in Predictor)


def test_every_stage_of_a_case_is_told(predicted, planned_study):
    _, heard, _ = predicted
    first = next(case.case_id for case in planned_study.cases if case.part == "test")
    stages = [message.stage for message in heard if isinstance(message, CaseStage) and message.case_id == first]
    assert [stage for stage, before in zip(stages, [None, *stages], strict=False) if stage != before] == [
        "reading and preprocessing for 2d",
        "the networks of 2d",
        "2d back to the grid of the scan",
        "writing the mask of 2d",
        "reading and preprocessing for 3d_fullres",
        "the networks of 3d_fullres",
        "3d_fullres back to the grid of the scan",
        "writing the mask of 3d_fullres",
        "averaging the configurations",
        "writing the mask of ensemble",
    ]


def test_masks_lie_beside_the_probabilities_that_were_asked_for_and_nothing_else(predicted, planned_study):
    _, _, folder = predicted
    ids = [case.case_id for case in planned_study.cases if case.part == "test"]
    for predictor in Predictor:
        expected = {f"{case_id}{ending}" for case_id in ids for ending in (".nii.gz", ".npz", ".pkl")}
        assert {path.name for path in (folder / predictor).iterdir()} == expected


def test_masks_equal_those_of_nnunets_commands_byte_for_byte(predicted, planned_study, tmp_path):
    _, _, folder = predicted
    environment = child_environment(planned_study.folders, workers=1, augmentation_workers=1)
    images = planned_study.folders.raw / str(ANNOTATED) / "imagesTs"
    how = ["-d", "108", "-f", "0", "--save_probabilities", "--disable_tta", "-device", "cpu"]
    how += ["-npp", "0", "-nps", "0"]
    with ThreadPoolExecutor(2) as pool:
        for done in [
            pool.submit(run_stock, "predict", "-i", images, "-o", tmp_path / name, "-c", name, *how, env=environment)
            for name in Configuration
        ]:
            done.result()
    folders = [tmp_path / name for name in Configuration]
    run_stock("ensemble", "-i", *folders, "-o", tmp_path / "raw", "-np", "1", "--save_npz", env=environment)
    rule = [remove_all_but_largest_component_from_segmentation], [{"labels_or_regions": [1, 2]}]
    (tmp_path / "rule.pkl").write_bytes(pickle.dumps(rule))
    how = ["-pp_pkl_file", tmp_path / "rule.pkl", "-plans_json", tmp_path / "2d" / "plans.json", "-np", "1"]
    run_stock("apply_postprocessing", "-i", tmp_path / "raw", "-o", tmp_path / "ensemble", *how, env=environment)
    for predictor in Predictor:
        theirs = sorted((tmp_path / predictor).glob("*.nii.gz"))
        assert len(theirs) == 2
        for path in theirs:
            assert (folder / predictor / path.name).read_bytes() == path.read_bytes()
    for ours in (folder / "ensemble").glob("*.npz"):
        theirs = np.load(tmp_path / "raw" / ours.name)["probabilities"]
        assert np.array_equal(np.load(ours)["probabilities"], theirs)
        ours_pkl, theirs_pkl = (
            load_pickle(str(folder_ / ours.with_suffix(".pkl").name)) for folder_ in (ours.parent, tmp_path / "raw")
        )
        assert ours_pkl.keys() == theirs_pkl.keys()


@pytest.fixture(scope="module")
def application(models):
    """The models as they are applied to scans of any origin."""
    return Application(models, SETTINGS, KEEP_LARGEST, is_demo=False)


def test_one_scan_gets_the_mask_of_the_ensemble_on_its_own_grid(predicted, application, planned_study, tmp_path):
    _, _, folder = predicted
    case = next(case for case in planned_study.cases if case.part == "test")
    output = tmp_path / "new" / "mask.nii.gz"
    predict_scan(application, case.image, output, slot=CPU, supervision=planned_study.supervision("scan"))
    assert output.read_bytes() == mask_path(folder, Predictor.ENSEMBLE, case.case_id).read_bytes()
    assert np.allclose(nib.load(output).affine, nib.load(case.image).affine)
    assert [path.name for path in output.parent.iterdir()] == ["mask.nii.gz"]


def test_a_folder_of_scans_gets_the_same_masks_once_and_a_bad_scan_fails_alone(
    predicted, application, planned_study, tmp_path
):
    _, _, folder = predicted
    scans, out, heard = tmp_path / "scans", tmp_path / "masks", []
    scans.mkdir()
    case = next(case for case in planned_study.cases if case.part == "test")
    shutil.copyfile(case.image, scans / f"{case.case_id}_0000.nii.gz")
    image = nib.load(case.image)
    voxels = image.get_fdata()
    voxels[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(voxels, image.affine), scans / "hole.nii.gz")
    (scans / "notes.txt").write_text("no scan")

    def predict():
        supervision = planned_study.supervision("scans", heard.append)
        return predict_folder(application, scans, out, slot=CPU, supervision=supervision)

    made = predict()
    assert made.predicted == (case.case_id,)
    assert [failure.case_id for failure in made.failed] == ["hole"]
    assert "expected finite intensities" in made.failed[0].reason
    for predictor in Predictor:
        ours, theirs = (mask_path(place, predictor, case.case_id) for place in (out, folder))
        assert ours.read_bytes() == theirs.read_bytes()

    heard.clear()
    assert predict() == made
    assert [type(message) for message in heard] == [CasePredicted, CaseFailed]
    assert heard[0].reused

    (out / "2d" / "hole.nii.gz").write_bytes(b"a mask that somebody else has put here")
    shutil.copyfile(scans / "hole.nii.gz", scans / f"{case.case_id}_0000.nii.gz")
    assert predict().predicted == ()
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == ["hole.nii.gz"]


@pytest.mark.parametrize("spoil", ["nothing", "hole"])
def test_a_scan_that_is_no_picture_is_named_before_a_model_is_loaded(spoil, application, planned_study, tmp_path):
    scan = tmp_path / f"{spoil}.nii.gz"
    if spoil == "hole":
        nib.save(nib.Nifti1Image(np.full((4, 5, 6), np.inf, np.float32), np.eye(4)), scan)
    with pytest.raises(CSpineError, match=rf"{spoil}\.nii\.gz: expected"):
        predict_scan(
            application, scan, tmp_path / "m.nii.gz", slot=CPU, supervision=planned_study.supervision("no scan")
        )
    assert not (tmp_path / "m.nii.gz").exists()


def test_a_fold_that_is_not_trained_is_named(planned_study):
    with pytest.raises(ModelError, match=r"missing are \[2\]"):
        model_of(planned_study.folders, str(ANNOTATED), Configuration.FLAT, [0, 2], profile=TINY)


def cut_short(folder, _other):
    checkpoint = folder / "fold_1" / "checkpoint_final.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:50_000])
    return checkpoint, "expected a whole checkpoint"


def of_the_other_configuration(folder, other):
    checkpoint = folder / "fold_0" / "checkpoint_final.pth"
    shutil.copyfile(other / "fold_0" / checkpoint.name, checkpoint)
    return checkpoint, "expected a model of 2d"


def with_another_network_in_a_later_fold(folder, other):
    checkpoint = folder / "fold_1" / "checkpoint_final.pth"
    shutil.copyfile(other / "fold_0" / checkpoint.name, checkpoint)
    return checkpoint, "expected weights of the network that plans.json and dataset.json"


def of_other_labels(folder, _other):
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"]["cord"] = 3
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder / "fold_0" / "checkpoint_final.pth", "expected weights of the network"


def of_other_channels(folder, _other):
    description = json.loads((folder / "dataset.json").read_text())
    description["channel_names"]["1"] = "T1"
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder / "fold_0" / "checkpoint_final.pth", "expected weights of the network"


def without_plans(folder, _other):
    (folder / "plans.json").unlink()
    return folder, "this model cannot be loaded"


@pytest.mark.parametrize(
    "spoil",
    [
        cut_short,
        of_the_other_configuration,
        with_another_network_in_a_later_fold,
        of_other_labels,
        of_other_channels,
        without_plans,
    ],
)
def test_a_model_that_cannot_be_used_is_named_by_its_file_before_any_exam(models, spoil, tmp_path):
    flat, full = models
    folder = tmp_path / flat.model_folder.name
    for fold in (0, 1):
        shutil.copytree(flat.model_folder / "fold_0", folder / f"fold_{fold}")
    for name in ("plans.json", "dataset.json"):
        shutil.copyfile(flat.model_folder / name, folder / name)
    model = Model(configuration=Configuration.FLAT, model_folder=folder, folds=(0, 1))
    load_folds(nnUNetPredictor(device=torch.device("cpu")), model)
    file, expected = spoil(folder, full.model_folder)
    with pytest.raises(ModelError, match=f"^{re.escape(str(file))}: {expected}") as raised:
        load_folds(nnUNetPredictor(device=torch.device("cpu")), model)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def of_trainer(model: Model, name: str, folder: Path) -> Model:
    """A copy of a model whose checkpoint says that another trainer made it."""
    (folder / "fold_0").mkdir(parents=True)
    for file in ("plans.json", "dataset.json"):
        shutil.copyfile(model.model_folder / file, folder / file)
    checkpoint = torch.load(model.model_folder / "fold_0" / "checkpoint_final.pth", weights_only=False)
    torch.save({**checkpoint, "trainer_name": name}, folder / "fold_0" / "checkpoint_final.pth")
    return Model(configuration=model.configuration, model_folder=folder, folds=(0,))


@pytest.mark.parametrize("name", ["nnUNetTrainerNoMirroring", "nnUNetTrainer_250epochs", "nnUNetTrainerDA5", "Theirs"])
def test_models_of_other_trainers_load(name, models, tmp_path):
    """Those of nnU-Net, whatever other module of its trainers cannot be imported, and a stranger's."""
    load_folds(nnUNetPredictor(device=torch.device("cpu")), of_trainer(models[0], name, tmp_path / "m"))


def test_a_fault_at_loading_is_told_by_its_cause(models, tmp_path, monkeypatch):
    def find(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(loading, "_trainer", find)
    with pytest.raises(ModelError, match=r"cannot be loaded \(RuntimeError: operator torchvision::nms"):
        load_folds(nnUNetPredictor(device=torch.device("cpu")), of_trainer(models[0], "Theirs", tmp_path / "m"))
    monkeypatch.undo()
    with pytest.raises(ModelError, match="expected weights of the network"):
        load_folds(
            nnUNetPredictor(device=torch.device("cpu")), of_trainer(models[0], "nnUNetTrainerBN", tmp_path / "n")
        )


def inputs_of(models, case) -> PredictionCase:
    common = fingerprint_models(models, SETTINGS, {})
    return PredictionCase(case_id=case.case_id, image=case.image, inputs=fingerprint_case(common, "its volume"))


def test_a_prediction_that_is_ended_loses_the_case_in_flight_and_no_other(models, planned_study, tmp_path):
    cases = [inputs_of(models, case) for case in planned_study.cases if case.part == "test"]

    def stop_after_the_first(message):
        if isinstance(message, CasePredicted):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_cases(
            models,
            cases,
            tmp_path,
            settings=SETTINGS,
            postprocessing={},
            slot=CPU,
            supervision=planned_study.supervision("ended", stop_after_the_first),
        )
    first, second = cases
    assert is_finished(tmp_path, first.case_id, first.inputs)
    assert not is_finished(tmp_path, second.case_id, second.inputs)
    assert not is_finished(tmp_path, first.case_id, "of another volume")
    mask_path(tmp_path, Predictor.FLAT, first.case_id).write_bytes(b"another mask")
    assert not is_finished(tmp_path, first.case_id, first.inputs)


def test_a_case_that_fails_in_the_child_has_none_of_the_masks_that_it_had(models, planned_study, tmp_path):
    case = next(case for case in planned_study.cases if case.part == "test")
    masks = [mask_path(tmp_path, predictor, case.case_id) for predictor in Predictor]
    for mask in masks:
        mask.parent.mkdir()
        mask.write_bytes(b"of other inputs")
    write_stamp(tmp_path, case.case_id, "other inputs", masks)
    spoilt = tmp_path / "spoilt.nii.gz"
    spoilt.write_bytes(b"no scan")
    made = predict_cases(
        models,
        [PredictionCase(case_id=case.case_id, image=spoilt)],
        tmp_path,
        settings=SETTINGS,
        postprocessing={},
        slot=CPU,
        supervision=planned_study.supervision("spoilt"),
    )
    assert [failure.case_id for failure in made.failed] == [case.case_id]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["spoilt.nii.gz"]


def test_a_case_that_fails_after_its_first_mask_keeps_none(monkeypatch, models, tmp_path):
    class Loaded:
        """Stands in for the networks: one mask, and then no memory left."""

        def predict(self, _case):
            yield Predictor.FLAT
            raise MemoryError("no room for the second network")

    def write(_writer, case, predictor):
        mask = mask_path(tmp_path, predictor, case.case_id)
        mask.parent.mkdir()
        mask.write_bytes(b"of one network alone")
        return [mask]

    monkeypatch.setattr(child._Writer, "_write", write)
    request = PredictRequest(
        models=tuple(models), cases=(), out_folder=tmp_path, device="cpu", settings=SETTINGS, postprocessing={}
    )
    case = PredictionCase(case_id="a", image=tmp_path / "a.nii.gz", inputs="these")
    outcome = child._Writer(request, Loaded(), Pulse(lambda _message: None)).outcome(case)
    assert isinstance(outcome, CaseFailed)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_files_that_a_case_has_no_more_go_with_its_new_stamp(tmp_path):
    mask, probabilities = tmp_path / "2d" / "a.nii.gz", tmp_path / "2d" / "a.npz"
    mask.parent.mkdir()
    for file in (mask, probabilities):
        file.write_bytes(b"old")
    write_stamp(tmp_path, "a", "with probabilities", [mask, probabilities])
    mask.write_bytes(b"new")
    write_stamp(tmp_path, "a", "without", [mask])
    assert is_finished(tmp_path, "a", "without")
    assert not probabilities.exists()


def test_other_models_settings_or_postprocessing_are_other_inputs(models):
    plain = fingerprint_models(models, SETTINGS, {})
    assert plain == fingerprint_models(models, SETTINGS, {})
    others = [
        fingerprint_models(models[:1], SETTINGS, {}),
        fingerprint_models(models, SETTINGS.model_copy(update={"step_size": 0.25}), {}),
        fingerprint_models(models, SETTINGS.model_copy(update={"disable_tta": False}), {}),
        fingerprint_models(models, SETTINGS, KEEP_LARGEST),
    ]
    assert len({plain, *others}) == 5


def test_a_case_over_which_the_child_hangs_or_dies_fails_alone(models, planned_study, tmp_path, monkeypatch):
    clock = SetClock()
    monkeypatch.setattr(process, "time", clock)
    doomed, good = (case for case in planned_study.cases if case.part == "test")
    cases = [PredictionCase(case_id=case.case_id, image=case.image) for case in (doomed, good)]
    cases.insert(0, PredictionCase(case_id="hanging", image=good.image))
    blows = {"hanging": signal.SIGSTOP, doomed.case_id: signal.SIGKILL}
    heard = {}

    def strike(message):
        if isinstance(message, CaseStage) and message.case_id in blows:
            # so small a case may be a stage further before the blow falls
            heard[message.case_id] = message.stage
            for child in psutil.Process().children():
                # a child that has just ended has no command line any more
                with suppress(psutil.NoSuchProcess):
                    if "cspine_assets.nnunet.children.predict" in command_of(child):
                        child.send_signal(blows[message.case_id])
                        if blows[message.case_id] == signal.SIGSTOP:
                            clock.forward(1001)

    supervision = planned_study.supervision("lost", strike)
    result = predict_cases(
        models[:1],
        cases,
        tmp_path / "out",
        settings=SETTINGS,
        postprocessing={},
        slot=CPU,
        supervision=replace(supervision, heartbeat_timeout_s=1000),
    )
    assert result.predicted == (good.case_id,)
    hung, died = result.failed
    assert (hung.case_id, died.case_id) == ("hanging", doomed.case_id)
    assert hung.reason.startswith(f"at stage '{heard['hanging']}'")
    assert "silent for more than 1000 s" in hung.reason
    assert "killed by signal 9" in died.reason
