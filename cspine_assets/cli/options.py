"""Options that several commands share, said once.

Add an option here when a second command takes it. What it means to the study is decided below the command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Home folder of the study. Default: $CSPINE_HOME, else ./cspine_home.",
        show_default=False,
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
