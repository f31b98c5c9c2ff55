import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.prediction import HEARTBEAT_TIMEOUT_S, PredictionSettings
from cspine_assets.nnunet.prediction_settings import (
    SETTINGS_FILE,
    PredictionChoices,
    changed,
    read_choices,
    write_choices,
)
from cspine_assets.nnunet.profiles import DEMO, FULL


def test_where_nobody_has_chosen_the_profile_decides(tmp_path):
    choices = read_choices(tmp_path)
    assert choices.settings(FULL) == PredictionSettings(disable_tta=False, step_size=0.5)
    assert choices.settings(DEMO).disable_tta
    assert choices.silence_s == HEARTBEAT_TIMEOUT_S


def test_a_choice_is_kept_and_stands_before_the_profile(tmp_path):
    write_choices(tmp_path, changed(PredictionChoices(), {"disable_tta": True, "step_size": 0.25}))
    again = changed(read_choices(tmp_path), {"disable_tta": None, "save_probabilities": True})
    assert again.settings(FULL) == PredictionSettings(disable_tta=True, step_size=0.25, save_probabilities=True)


@pytest.mark.parametrize(("name", "value"), [("step_size", 0), ("step_size", 1.5), ("heartbeat_timeout_s", -1)])
def test_a_choice_out_of_its_range_is_named(name, value):
    with pytest.raises(ModelError, match=name):
        changed(PredictionChoices(), {name: value})


def test_a_file_that_nobody_understands_is_named(tmp_path):
    (tmp_path / SETTINGS_FILE).write_text('{"mirroring": false}')
    with pytest.raises(ModelError, match=r"prediction\.json.*mirroring"):
        read_choices(tmp_path)
