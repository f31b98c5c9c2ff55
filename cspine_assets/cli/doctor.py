"""`cspine doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cspine_assets.cli.options import HomeOption


class Verdict(StrEnum):
    """How much a finding matters; ``missing`` makes the command end with status 1."""

    GOOD = "good"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What was looked at.
        verdict: How much it matters.
        found: What is there.
        remedy: What to do; empty when nothing.
    """

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""


_COLOURS = {Verdict.GOOD: "green", Verdict.NOTE: "yellow", Verdict.MISSING: "red"}
DEMO_MEMORY_GB, FULL_MEMORY_GB = 4, 32
DEMO_DISK_GB, FULL_DISK_GB = 2, 60


def doctor(
    home: HomeOption = None,
    source: Annotated[Path | None, typer.Option(help="Folder of the MIDRC download. Default: $CSPINE_SOURCE.")] = None,
) -> None:
    """Say what is missing for the demo and for the full study, what in the home is damaged, and what to do."""
    from rich.console import Console
    from rich.table import Table

    from cspine_assets.domain.home import home_root

    root = home_root(home)
    looks: list[Callable[[], Finding]] = [
        look_at_system,
        look_at_python,
        look_at_memory,
        lambda: look_at_disk(root),
        look_at_torch,
        lambda: look_at_gpu(root),
        look_at_dcm2niix,
        lambda: look_at_home(root),
        lambda: look_at_source(source or _source_of(root)),
    ]
    findings = [_looked(look) for look in looks] + look_at_stores(root)
    table = Table(title="This machine", title_justify="left")
    for name in ("what", "verdict", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        table.add_row(finding.subject, f"[{colour}]{finding.verdict}[/]", finding.found, finding.remedy)
    Console().print(table)
    if any(finding.verdict is Verdict.MISSING for finding in findings):
        raise typer.Exit(1)


def look_at_system() -> Finding:
    """Looks at the operating system, its C library and the processor; ``systems`` has the rules."""
    from cspine_assets.cli import systems

    missing = systems.unsupported() or systems.missing_builds()
    note = systems.untried()
    verdict = Verdict.MISSING if missing else Verdict.NOTE if note else Verdict.GOOD
    return Finding("system", verdict, systems.system_name(), missing or note)


def look_at_python() -> Finding:
    """Looks at the interpreter; ``systems`` says which ones will do."""
    from cspine_assets.cli import systems

    missing = systems.unsupported_python()
    found = f"{sys.version.split()[0]}, {sys.executable}"
    return Finding("Python", Verdict.MISSING if missing else Verdict.GOOD, found, missing)


def look_at_memory() -> Finding:
    """Looks at the memory that is free for programs."""
    import psutil

    available = psutil.virtual_memory().available / 1e9
    found = f"{available:.0f} GB available"
    if available < DEMO_MEMORY_GB:
        return Finding("memory", Verdict.MISSING, found, f"The demo wants {DEMO_MEMORY_GB} GB: close other programs.")
    if available < FULL_MEMORY_GB:
        return Finding("memory", Verdict.NOTE, found, f"Enough for the demo; full training wants {FULL_MEMORY_GB} GB.")
    return Finding("memory", Verdict.GOOD, found)


def look_at_disk(root: Path) -> Finding:
    """Looks at the space where the home is or will be."""
    free = shutil.disk_usage(_standing(root)).free / 1e9
    found = f"{free:.0f} GB free for {root}"
    if free < DEMO_DISK_GB:
        return Finding(
            "disk",
            Verdict.MISSING,
            found,
            f"The demo wants {DEMO_DISK_GB} GB: free some, or set CSPINE_HOME.",
        )
    if free < FULL_DISK_GB:
        remedy = f"Enough for the demo; the full study wants {FULL_DISK_GB} GB beside the download."
        return Finding("disk", Verdict.NOTE, found, remedy)
    return Finding("disk", Verdict.GOOD, found)


def look_at_torch() -> Finding:
    """Looks at the installed torch, without loading it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Finding("torch", Verdict.GOOD, version("torch"))
    except PackageNotFoundError:
        return Finding("torch", Verdict.MISSING, "not installed", "Run `make setup`.")


def look_at_gpu(root: Path) -> Finding:
    """Looks at the devices that trainings will run on, as torch itself sees them.

    A GPU that lies idle is a note for the demo, and missing for a home of the full study.
    """
    from cspine_assets.domain.home import Home
    from cspine_assets.nnunet.devices import training_slots
    from cspine_assets.nnunet.gpus import report_gpus

    report = report_gpus()
    slots = training_slots()
    found = f"{len(slots)} x {slots[0].device}"
    settings = Home(root).read_settings()
    if report.is_unused:
        verdict = Verdict.MISSING if settings and settings.profile == "full" else Verdict.NOTE
        return Finding("training slots", verdict, f"{found}: {report.problem}", report.remedy)
    if report.gpus:
        return Finding("training slots", Verdict.GOOD, f"{found}: {report.sentence}")
    remedy = f"{report.remedy} Enough for the demo; full training takes 28-45 GPU hours a fold.".strip()
    return Finding("training slots", Verdict.NOTE, f"{found}: {report.problem}", remedy)


def look_at_dcm2niix() -> Finding:
    """Looks for the converter's binary and asks its version."""
    from cspine_assets.domain.dcm2niix import dcm2niix_version
    from cspine_assets.domain.errors import ConversionError

    try:
        return Finding("dcm2niix", Verdict.GOOD, dcm2niix_version())
    except ConversionError as error:
        return Finding("dcm2niix", Verdict.MISSING, str(error), "Run `make setup`.")


def look_at_home(root: Path) -> Finding:
    """Looks whether the home can be written to, and what it holds; makes nothing."""
    from cspine_assets.domain.home import Home

    standing = _standing(root)
    if not os.access(standing, os.W_OK):
        return Finding(
            "home",
            Verdict.MISSING,
            f"{standing} cannot be written to",
            "Set CSPINE_HOME to a folder of yours.",
        )
    settings = Home(root).read_settings()
    return Finding(
        "home", Verdict.GOOD, f"{root}: " + (f"the {settings.profile} study" if settings else "not used yet")
    )


def look_at_stores(root: Path) -> list[Finding]:
    """Looks whether anything that a home keeps is damaged, and says the way back; writes nothing."""
    from cspine_assets.cli.stores import stores
    from cspine_assets.domain.home import SETTINGS_FILE, Home

    if not (root / SETTINGS_FILE).exists():
        return []
    return [
        Finding(
            store.name,
            Verdict.MISSING if store.damage else Verdict.GOOD,
            f"{len(store.damage)} of {store.count} damaged" if store.damage else f"{store.count} intact",
            store.told,
        )
        for store in stores(Home(root))
    ]


def _looked(look: Callable[[], Finding]) -> Finding:
    """Returns what a look found; one that a damaged file ends is a finding too."""
    from cspine_assets.domain.errors import CSpineError

    try:
        return look()
    except CSpineError as error:
        return Finding("home", Verdict.MISSING, "cannot be read", str(error))


def look_at_source(folder: Path | None) -> Finding:
    """Looks whether the download is there and complete."""
    from cspine_assets.domain.cohort.source import find_source
    from cspine_assets.domain.errors import SourceError

    if folder is None:
        remedy = "Set CSPINE_SOURCE to the MIDRC download (the README says how to get it); the demo needs none."
        return Finding("download", Verdict.NOTE, "none named", remedy)
    try:
        source = find_source(folder)
    except SourceError as error:
        return Finding("download", Verdict.MISSING, str(error), "The README says how to get it.")
    return Finding("download", Verdict.GOOD, f"{folder}: {len(source.table_files)} tables")


def _standing(root: Path) -> Path:
    """Returns a folder, or the nearest above it that is there already."""
    return next(folder for folder in (root, *root.parents) if folder.exists())


def _source_of(root: Path) -> Path | None:
    from cspine_assets.domain.home import Home

    settings = Home(root).read_settings()
    named = settings.source if settings else os.environ.get("CSPINE_SOURCE")
    return Path(named) if named else None
