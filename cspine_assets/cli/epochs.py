"""Bars for the trainings that are going on, read from what they tell by their locks.

Add here what a terminal shows of a training's epochs. The stages' own bars stand in ``progress``.
"""

from __future__ import annotations

import threading

from rich.progress import Progress, TaskID

from cspine_assets.nnunet.environment import NnunetFolders
from cspine_assets.nnunet.pace import duration
from cspine_assets.nnunet.training import running_trainings

LOOK_SECONDS = 1.0


class EpochBars:
    """One bar for every training of a home, from its first sign of life to its end; in a thread of its own."""

    def __init__(self, progress: Progress, folders: NnunetFolders) -> None:
        self._progress, self._folders = progress, folders
        self._bars: dict[str, TaskID] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="epoch-bars")
        self._thread.start()

    def stop(self) -> None:
        """Takes the bars away."""
        self._end.set()
        self._thread.join()
        for bar in self._bars.values():
            self._progress.remove_task(bar)
        self._bars.clear()

    def look(self) -> None:
        """Brings the bars up to date."""
        trainings = {one.what: one for one in running_trainings(self._folders)}
        for what in self._bars.keys() - trainings.keys():
            self._progress.remove_task(self._bars.pop(what))
        for what, one in sorted(trainings.items()):
            if what not in self._bars:
                self._bars[what] = self._progress.add_task(what, total=None)
            left = f", {duration(one.seconds_left)} left" if one.seconds_left else ""
            where = one.device or "waits for a device"
            self._progress.update(
                self._bars[what],
                description=f"  {what} ({where}{left})",
                total=one.epochs,
                completed=one.epoch or 0,
            )

    def _run(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            self.look()
