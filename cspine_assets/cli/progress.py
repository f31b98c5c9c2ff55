"""What a person sees while the study is made, and what it cost.

Add here what the screen shows of stages. What a stage does is the driver's.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import TracebackType

import psutil
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from cspine_assets.cli.epochs import EpochBars
from cspine_assets.defs.driver import StageReport, Watcher
from cspine_assets.defs.stages import Stage
from cspine_assets.domain.tables.nnunet import TrainedFolds
from cspine_assets.nnunet.environment import NnunetFolders

SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Cost:
    """What one stage cost.

    Attributes:
        name: The stage.
        seconds: Wall time.
        peak_memory_mb: Most memory of this process and all its children together, sampled twice a second.
    """

    name: str
    seconds: float
    peak_memory_mb: float


class MemoryMeter:
    """Samples the memory of this process and its children in a thread."""

    def __init__(self) -> None:
        self._peak = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="memory-meter")

    def __enter__(self) -> MemoryMeter:
        """Starts sampling."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends sampling."""
        self._end.set()
        self._thread.join()

    def take_peak_mb(self) -> float:
        """Returns the peak since the last call, and begins anew."""
        peak, self._peak = max(self._peak, _tree_memory_mb()), 0.0
        return peak

    def _run(self) -> None:
        while not self._end.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, _tree_memory_mb())


def _tree_memory_mb() -> float:
    """Returns the memory of this process and its children; pages that several share count once, where Linux tells."""
    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss if psutil.LINUX else process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 1e6


@dataclass
class StageDisplay:
    """Shows stages as they come, with the epochs of trainings in a home, and remembers how they went."""

    console: Console
    meter: MemoryMeter
    folders: NnunetFolders | None = None
    costs: list[Cost] = field(default_factory=list)
    reports: list[StageReport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._epochs: EpochBars | None = None

    def __enter__(self) -> StageDisplay:
        """Starts the display."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the display."""
        self._end_epochs()
        self._progress.stop()

    def watcher(self) -> Watcher:
        """Returns the listener to hand to the driver."""
        return Watcher(began=self._began, advanced=self._advanced, ended=self._ended)

    def note_cost(self, name: str, seconds: float) -> None:
        """Remembers what a stage outside the driver cost."""
        self.costs.append(Cost(name, seconds, self.meter.take_peak_mb()))

    def _began(self, stage: Stage) -> None:
        self.meter.take_peak_mb()
        self._task = self._progress.add_task(stage.name, total=len(stage.keys) or len(stage.tables))
        if self.folders is not None and self.console.is_terminal and stage.tables[0].table is TrainedFolds:
            self._epochs = EpochBars(self._progress, self.folders)

    def _advanced(self, done: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done)

    def _end_epochs(self) -> None:
        if self._epochs is not None:
            self._epochs.stop()
            self._epochs = None

    def _ended(self, report: StageReport) -> None:
        self._end_epochs()
        if self._task is not None:
            total = len(report.stage.keys) or len(report.stage.tables)
            if report.failures:
                self._progress.update(
                    self._task, description=f"[red]{report.stage.name}: {len(report.failures)} failed"
                )
                self._progress.stop_task(self._task)
            else:
                self._progress.update(self._task, completed=total)
        if not self.console.is_terminal:  # a log file gets a line per stage, as it happens
            self.console.print(f"{report.stage.name}: {report.seconds:.1f} s", highlight=False)
        self.reports.append(report)
        self.note_cost(report.stage.name, report.seconds)


def cost_table(costs: list[Cost]) -> Table:
    """Returns what every stage cost, with the sum and the peak."""
    table = Table(title="What it cost", title_justify="left")
    table.add_column("stage")
    table.add_column("wall, s", justify="right")
    table.add_column("peak memory, MB", justify="right")
    for cost in costs:
        table.add_row(cost.name, f"{cost.seconds:.1f}", f"{cost.peak_memory_mb:.0f}")
    table.add_section()
    table.add_row(
        "all",
        f"{sum(cost.seconds for cost in costs):.1f}",
        f"{max((cost.peak_memory_mb for cost in costs), default=0):.0f}",
    )
    return table
