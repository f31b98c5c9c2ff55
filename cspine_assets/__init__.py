"""cspine-assets: the CSpineSeg cervical-spine MRI study as a Dagster asset platform.

In a notebook, ``cspine_assets.open_home(path)`` opens a study without Dagster. It is looked up when it is asked for:
importing this package, as every part of it does, loads nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cspine_assets.domain.warehouse.opened import open_home as open_home


def __getattr__(name: str) -> Any:  # noqa: ANN401 - an attribute of a module may be anything
    """Returns ``open_home``, loaded now."""
    if name == "open_home":
        from cspine_assets.domain.warehouse.opened import open_home  # noqa: PLC0415 - the point of this function

        return open_home
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
