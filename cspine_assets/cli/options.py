"""Options that several commands share, said once.

Add an option here when a second command takes it. What it means to the study is decided below the command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cspine_assets.domain.volume import Allowance

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Home folder of the study. Default: $CSPINE_HOME, else ./cspine_home.",
        show_default=False,
    ),
]

PortOption = Annotated[int, typer.Option(help="Port on 127.0.0.1.")]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        help="Another name, NAME or NAME:PORT, under which a browser reaches the page: of a proxy or a forwarded port. "
        "Can be given several times.",
        show_default=False,
    ),
]
TokenOption = Annotated[
    bool,
    typer.Option(
        "--token/--no-token",
        help="Ask for the token in the printed address. Without it, every user of this machine can use the page.",
    ),
]

DisableTtaOption = Annotated[
    bool | None,
    typer.Option(
        "--disable-tta/--no-disable-tta",
        help="Do not average over mirrored copies (test-time augmentation): faster, a little worse.",
    ),
]
StepSizeOption = Annotated[
    float | None, typer.Option("--step-size", help="Step of the sliding window, as a share of the patch.")
]
SaveProbabilitiesOption = Annotated[
    bool | None,
    typer.Option(
        "--save-probabilities/--no-save-probabilities",
        help="Also keep probabilities (.npz, .pkl) beside the mask, as nnU-Net does.",
    ),
]

AssumeAxesOption = Annotated[
    str | None,
    typer.Option(
        "--assume-axes",
        help="Where the array axes of a NIfTI without a usable placement point, such as PSR. Without it such a file is "
        "refused. Files that say where they lie are not changed.",
        show_default=False,
    ),
]


def allowance(axes: str | None, label_tolerance: float = 0.0) -> Allowance:
    """Returns what a person allows of files beyond the rules.

    Raises:
        CSpineError: The letters name no axes.
    """
    from cspine_assets.domain.errors import CSpineError
    from cspine_assets.domain.nifti_head import axes_fault
    from cspine_assets.domain.volume import Allowance

    axes = axes.upper() if axes else None
    if axes is not None and (fault := axes_fault(axes)):
        raise CSpineError(f"--assume-axes: {fault}")
    return Allowance(axes, label_tolerance)
