from __future__ import annotations

import pytest

from cspine_assets_tests.domain.phantom.phantom_cohort import write


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    return write(tmp_path_factory.mktemp("phantom") / "download")
