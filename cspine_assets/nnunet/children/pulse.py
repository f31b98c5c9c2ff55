"""The sign of life of a child at long work: where it is, told at every stage and again while the stage lasts.

Change this file when children say otherwise where they are.
What a silence means is decided by the parent, in ``process``.
"""

from __future__ import annotations

import time

from cspine_assets.nnunet.children.entry import Emit
from cspine_assets.nnunet.messages import CaseStage

BEAT_S = 5.0
"""Between two signs of one stage: few beside the seconds that a stage takes, many beside the limit of silence."""


class Pulse:
    """Tells a parent which stage of which case a child is at."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._last: CaseStage | None = None
        self._told = 0.0

    def stage(self, case_id: str, stage: str) -> None:
        """A stage begins."""
        self._last = CaseStage(case_id=case_id, stage=stage)
        self._tell()

    def beat(self) -> None:
        """The stage goes on; told every few seconds at most, so it may be called as often as one likes."""
        if time.monotonic() - self._told > BEAT_S:
            self._tell()

    def _tell(self) -> None:
        if self._last is not None:
            self._emit(self._last)
            self._told = time.monotonic()
