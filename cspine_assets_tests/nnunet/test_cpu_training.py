"""A published training on a CPU begins only with consent, after a sentence that says how long it would take."""

import re
from dataclasses import replace

import pytest

from cspine_assets.nnunet.cpu_training import NoConsentError
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT
from cspine_assets.nnunet.messages import Note
from cspine_assets.nnunet.pace import long_duration
from cspine_assets_tests.nnunet.tiny import TINY, train

PUBLISHED = TINY.model_copy(update={"name": "full"})


def test_a_published_training_on_a_cpu_is_refused_with_its_time_measured_once(planned_study, tmp_path, machine):
    heard = []
    for fold in (0, 1):
        with pytest.raises(NoConsentError) as refused:
            train(planned_study, fold=fold, results=tmp_path / "results", profile=PUBLISHED, on_message=heard.append)
    said = str(refused.value)
    assert "2d fold 1: expected a GPU for a training of the published profile, got the CPU" in said
    assert re.search(r"about \d+ s on one core \(\d+\.\d s for each of 6 iterations\)", said)
    assert "cspine training allow_cpu=true" in said
    assert [message.text for message in heard if isinstance(message, Note)] == [
        "measuring how long 2d would train on this CPU"
    ]
    assert not list((tmp_path / "results").rglob("fold_*")), "a refused training changes nothing"


def test_an_allowed_training_begins_and_a_refused_one_leaves_its_model_alone(planned_study, tmp_path, machine):
    allowed = PUBLISHED.model_copy(update={"allow_cpu": True})
    study = replace(planned_study, profile=allowed)
    trained = train(study, results=tmp_path / "results", profile=allowed)
    assert trained.epochs_trained == 2
    with pytest.raises(NoConsentError):
        train(study, results=tmp_path / "results", profile=PUBLISHED.model_copy(update={"seed": 7}))
    assert (trained.fold_folder / FINAL_CHECKPOINT).is_file()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(40, "40 s"), (18_600, "5 h 10 min"), (86400 * 12.2, "12 days"), (86400 * 365 * 2.5, "2.5 years")],
)
def test_a_duration_may_be_years(seconds, said):
    assert long_duration(seconds) == said
