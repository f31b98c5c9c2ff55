"""Fixtures of the nnU-Net tests; what they are made of stands in ``tiny``."""

import pytest

from cspine_assets.nnunet.messages import EpochFinished
from cspine_assets.nnunet.training import TrainedFold
from cspine_assets_tests.nnunet.tiny import TinyStudy, planned, train


@pytest.fixture(scope="session")
def planned_study(tmp_path_factory) -> TinyStudy:
    """The tiny study with raw dataset, plans and preprocessed data."""
    return planned(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def uninterrupted(planned_study) -> tuple[TrainedFold, list[EpochFinished]]:
    """Fold 0 of 2d, trained in one go, and the epochs that it reported."""
    heard = []
    trained = train(planned_study, on_message=heard.append)
    return trained, [message for message in heard if isinstance(message, EpochFinished)]
