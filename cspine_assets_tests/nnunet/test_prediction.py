import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.dataset import ANNOTATED
from cspine_assets.nnunet.environment import child_environment
from cspine_assets.nnunet.prediction import (
    PredictionCase,
    Predictor,
    mask_path,
    model_of,
    predict_cases,
    predict_scan,
)
from cspine_assets.nnunet.profiles import Configuration
from cspine_assets_tests.nnunet.tiny import CPU, train

PREDICT, ENSEMBLE = (Path(sys.executable).parent / name for name in ("nnUNetv2_predict", "nnUNetv2_ensemble"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(planned_study, uninterrupted):
    """A fold of each configuration; their quality does not matter here."""
    train(planned_study, configuration=Configuration.FULL_RESOLUTION)
    return [model_of(planned_study.folders, str(ANNOTATED), name, [0]) for name in Configuration]


@pytest.fixture(scope="module")
def predicted(planned_study, models, tmp_path_factory):
    """Both test cases and a broken one, predicted; the result, the messages and the folder."""
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
        disable_tta=True,
        step_size=0.5,
        slot=CPU,
        supervision=planned_study.supervision("predict", heard.append),
    )
    return result, heard, folder


def test_a_case_that_fails_is_told_and_does_not_stop_the_others(predicted, planned_study):
    result, heard, folder = predicted
    assert result.predicted == tuple(case.case_id for case in planned_study.cases if case.part == "test")
    assert [failure.case_id for failure in result.failed] == ["broken"]
    assert result.failed[0].reason
    assert [message.kind for message in heard[1:]] == ["case_predicted", "case_failed", "case_predicted"]
    assert not any(mask_path(folder, predictor, "broken").exists() for predictor in Predictor)


def test_nothing_is_left_beside_the_masks(predicted):
    _, _, folder = predicted
    for predictor in Predictor:
        assert all(path.name.endswith("Series-1.nii.gz") for path in (folder / predictor).iterdir())


def test_masks_equal_those_of_nnunets_commands_byte_for_byte(predicted, planned_study, tmp_path):
    _, _, folder = predicted
    environment = child_environment(planned_study.folders, workers=1, augmentation_workers=1)
    images = planned_study.folders.raw / str(ANNOTATED) / "imagesTs"
    run = {"env": environment, "stdout": subprocess.DEVNULL}
    how = ["-d", "108", "-f", "0", "--save_probabilities", "--disable_tta", "-device", "cpu"]
    how += ["-npp", "0", "-nps", "0"]
    running = [
        subprocess.Popen([PREDICT, "-i", images, "-o", tmp_path / name, "-c", name, *how], **run)
        for name in Configuration
    ]
    assert [process.wait() for process in running] == [0, 0]
    folders = [tmp_path / name for name in Configuration]
    subprocess.run([ENSEMBLE, "-i", *folders, "-o", tmp_path / "ensemble", "-np", "1"], check=True, **run)
    for predictor in Predictor:
        theirs = sorted((tmp_path / predictor).glob("*.nii.gz"))
        assert len(theirs) == 2
        for path in theirs:
            assert (folder / predictor / path.name).read_bytes() == path.read_bytes()


def test_one_scan_gets_the_mask_of_the_ensemble_on_its_own_grid(predicted, models, planned_study, tmp_path):
    _, _, folder = predicted
    case = next(case for case in planned_study.cases if case.part == "test")
    output = tmp_path / "new" / "mask.nii.gz"
    predict_scan(models, case.image, output, disable_tta=True, step_size=0.5, slot=CPU, log_path=tmp_path / "log")
    assert output.read_bytes() == mask_path(folder, Predictor.ENSEMBLE, case.case_id).read_bytes()
    assert np.allclose(nib.load(output).affine, nib.load(case.image).affine)
    assert [path.name for path in output.parent.iterdir()] == ["mask.nii.gz"]


def test_a_scan_that_does_not_exist_and_a_fold_that_is_not_trained_are_named(models, planned_study, tmp_path):
    nothing = tmp_path / "nothing.nii.gz"
    with pytest.raises(ModelError, match=r"nothing\.nii\.gz"):
        predict_scan(
            models,
            nothing,
            tmp_path / "m.nii.gz",
            disable_tta=True,
            step_size=0.5,
            slot=CPU,
            log_path=tmp_path,
        )
    with pytest.raises(ModelError, match=r"missing are \[2\]"):
        model_of(planned_study.folders, str(ANNOTATED), Configuration.FLAT, [0, 2])
