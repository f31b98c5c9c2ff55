"""Fixtures of the nnU-Net tests; what they are made of stands in ``tiny``."""

import pytest

from cspine_assets_tests.nnunet.tiny import TinyStudy, planned


@pytest.fixture(scope="session")
def planned_study(tmp_path_factory) -> TinyStudy:
    """The tiny study with raw dataset, plans and preprocessed data."""
    return planned(tmp_path_factory.mktemp("tiny"))
