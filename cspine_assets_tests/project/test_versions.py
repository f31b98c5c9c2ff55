"""The ranges of pyproject.toml, the pins and the oldest versions agree, and our own deprecations are heard."""

import tomllib
import warnings
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]


def ranges():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in project["dependencies"]]


def pins(file):
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def test_every_package_has_a_lower_bound_and_none_is_held_to_one_version():
    for one in ranges():
        operators = [part.operator for part in one.specifier if not part.version.endswith("*")]
        assert operators.count(">=") == 1, one
        assert "==" not in operators, one


def test_the_pins_lie_in_the_ranges():
    pinned = pins("constraints.txt")
    for one in ranges():
        assert pinned[canonicalize_name(one.name)] in one.specifier, one


def test_the_oldest_versions_are_the_lower_bounds():
    lowest = {
        canonicalize_name(one.name): Version(part.version)
        for one in ranges()
        for part in one.specifier
        if part.operator == ">="
    }
    assert lowest.items() <= pins("constraints-oldest.txt").items()


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
def test_a_deprecation_of_our_own_code_is_an_error(category):
    with pytest.raises(category):
        warnings.warn_explicit("is old", category, "lake.py", 1, module="cspine_assets.domain.lake")


def test_a_deprecation_inside_another_package_is_not():
    warnings.warn_explicit("is old", DeprecationWarning, "torch.py", 1, module="torch.storage")
