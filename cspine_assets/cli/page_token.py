"""The secret of a home's page: made once, kept in a file that its owner alone can read.

Add here what becomes of the file. Who has to send the token, and how, is decided in ``guard``.
"""

from __future__ import annotations

import secrets
import stat
from pathlib import Path

from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.files import written_aside

TOKEN_BYTES = 32
"""256 bits, as Python's ``secrets`` recommends; 43 characters in the address."""


def ensure_token(path: Path) -> str:
    """Returns the token of a file, which is written where there is none.

    A file that others can read, such as a restored copy, is replaced: they may have read it.
    """
    try:
        if not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return read_token(path)
    except (FileNotFoundError, HomeError):
        pass
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with written_aside(path, private=True) as aside:
        aside.write_text(token + "\n", encoding="ascii")
    return token


def read_token(path: Path) -> str:
    """Returns the token of a file.

    Raises:
        HomeError: The file is gone, or holds no token.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HomeError(f"{path}: expected the token of the page, got '{error}'. Start the page again.") from error
    if len(token) < TOKEN_BYTES:
        raise HomeError(f"{path}: expected the token of the page, got a file that holds none. Start the page again.")
    return token
