"""What holds for all tests: in which order they run, what is told of long ones, and that none depends on chance."""

import hypothesis
import pytest

from cspine_assets_tests.nnunet.machines import machine
from cspine_assets_tests.slow_tests import SlowTests

__all__ = ["machine"]

FIRST = (
    "end_to_end/test_demo.py",  # makes the demo, on which the other files of its folder wait
    "end_to_end/test_kills.py",
    "nnunet/test_faults.py",
    "nnunet/test_prediction.py",
    "benchmarks/test_smallest.py",
    "end_to_end/test_demo_page.py",  # waits for schedules and sensors: the earlier, the better
    "end_to_end/",
    "nnunet/",
    "cli/",
    "defs/",
)
"""Files in the order in which workers take them: long ones first, so that short ones fill up the end. While one worker
makes the demo, the others have long files that need none. There is a worker more than the two processors of a small
machine, because some tests mostly wait."""

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
