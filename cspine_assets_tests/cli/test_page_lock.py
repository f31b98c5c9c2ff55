"""A page has its home and its port for itself: another one is refused, and told what to do."""

import socket
from pathlib import Path

import pytest

from cspine_assets.cli.page_lock import hold, require_free_port
from cspine_assets.domain.errors import HomeError


def test_a_taken_port_is_refused_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(HomeError, match=rf"port {port}: expected a free port .* Say --port"):
            require_free_port(port)
    require_free_port(port)


def test_a_home_whose_page_is_running_is_refused(tmp_path: Path):
    lock = hold(tmp_path / "lock")
    with pytest.raises(HomeError, match="a page of this home is running already"):
        hold(tmp_path / "lock")
    lock.release()
    hold(tmp_path / "lock").release()
