"""Places that a command writes to: refused before the work begins, not after it.

Add here what a place has to be for more than one command. How a file is written is the domain's.
"""

from __future__ import annotations

from pathlib import Path


def check_file_place(path: Path, *, option: str) -> None:
    """Checks that a file can be written at a place; the folder that it belongs into is made.

    Args:
        path: File to be written; one that is there will be replaced.
        option: What the person called it.

    Raises:
        CSpineError: It is a folder, or its folder cannot be made or written to.
    """
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.files import require_writable

    if path.is_dir():
        raise CSpineError(f"{option} {path}: expected a file to write, this is a folder. Name a file in it.")
    require_writable(path.parent, remedy=f"Choose another {option}.")
