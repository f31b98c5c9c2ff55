"""What holds for all tests: in which order they run, what is told of long ones, and that none depends on chance."""

import hypothesis
import pytest

from cspine_assets_tests.nnunet.machines import machine
from cspine_assets_tests.slow_tests import SlowTests

__all__ = ["machine"]

FIRST = (
    "end_to_end/test_demo.py",  # makes the demo, on which the next but some wait
    "end_to_end/test_kills.py",
    "nnunet/",
    "end_to_end/",
)
"""By worker: one makes the demo while the other has long tests without it; the many short ones fill up the end."""

# the same examples in every run; a loaded machine may take its time over each
hypothesis.settings.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and config.pluginmanager.hasplugin("terminalreporter"):
        config.pluginmanager.register(SlowTests(config), "slow-tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next((place for place, part in enumerate(FIRST) if part in item.nodeid), len(FIRST))

    items.sort(key=rank)
