"""Choices of a person, kept as a file in the home: how they are read, written and refused.

Add here what is true of any kept choice. Which choices there are stands in ``settings`` and ``prediction_settings``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.messages import Frozen

Choices = TypeVar("Choices", bound=Frozen)


def read_kept(path: Path, kind: type[Choices], *, command: str) -> Choices:
    """Returns the choices kept in a file; all as by default where nobody has chosen anything.

    Args:
        path: The file.
        kind: What it holds.
        command: The command that wrote it, for the error's message.

    Raises:
        ModelError: The file cannot be understood.
    """
    if not path.exists():
        return kind()
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        said = findings(error) if isinstance(error, ValidationError) else "no UTF-8 text"
        raise ModelError(
            f"{path}: expected the choices that `{command}` wrote, got something else ({said}). "
            "Mend the file or delete it."
        ) from error


def findings(error: ValidationError) -> str:
    """Returns what is wrong with choices, in one line."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
