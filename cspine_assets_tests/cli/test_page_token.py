"""The token of a page is kept, its owner's alone, and never one that others may have read."""

import stat
from pathlib import Path

import pytest

from cspine_assets.cli.page_token import ensure_token, read_token
from cspine_assets.domain.errors import HomeError


def test_it_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path):
    path = tmp_path / "dagster" / ".page_token"
    token = ensure_token(path)
    assert len(token) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_token(path) == read_token(path) == token
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert ensure_token(tmp_path / "another") != token


def test_one_that_others_can_read_is_replaced(tmp_path: Path):
    path = tmp_path / "token"
    token = ensure_token(path)
    path.chmod(0o640)
    assert ensure_token(path) != token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 50])
def test_a_damaged_one_is_never_used(tmp_path: Path, content: bytes):
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(HomeError, match="expected the token of the page"):
        read_token(path)
    assert len(ensure_token(path)) >= 43
