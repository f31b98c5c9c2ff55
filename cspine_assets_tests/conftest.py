"""What holds for all tests: the longest come first, so that the other worker fills the time beside them."""

import pytest

from cspine_assets_tests.nnunet.machines import machine

__all__ = ["machine"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "end_to_end" not in item.nodeid)
