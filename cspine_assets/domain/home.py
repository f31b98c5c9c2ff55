"""The home folder: where everything the platform makes has its place.

Add a property when a new kind of thing is kept. What is written there belongs to the modules that write it;
nothing here creates a file before it is asked to, and only ``home_root`` reads an environment variable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.files import require_writable, write_text
from cspine_assets.domain.lake import Lake

SETTINGS_FILE = "settings.json"
HOME_VARIABLE = "CSPINE_HOME"
DEFAULT_HOME = "cspine_home"

_NO_PATH = ("%", "?", "\\")
"""Characters that Dagster's and DuckDB's names of files give another meaning."""


def home_root(given: str | Path | None = None) -> Path:
    """Returns the home's absolute path: the one given, else CSPINE_HOME, else ./cspine_home.

    Raises:
        HomeError: The path holds a character that a database in the home could not be named by.
    """
    root = Path(given or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().resolve()
    refused = sorted({mark for mark in str(root) if mark in _NO_PATH or not mark.isprintable()})
    if refused:
        raise HomeError(
            f"{str(root)!r}: expected a home whose path is made of printable characters other than "
            f"{' '.join(_NO_PATH)}, got {', '.join(map(repr, refused))}. "
            f"Choose another folder by --home or {HOME_VARIABLE}."
        )
    return root


@dataclass(frozen=True)
class HomeSettings:
    """What a home was opened for; one home holds one study of one cohort.

    Attributes:
        profile: ``full`` or ``demo``; every model and number made here carries it.
        source: Absolute path of the MIDRC download, read only.
        provenance: Absolute path of a file that says who drew the masks, or None.
        splits: Absolute path of the user's own split, or None to have one made.
        preset: How a split is made: ``published``, ``all_expert`` or ``all_masks``.

    Paths within the home are written relative to it, so that a home can be moved as it is.
    """

    profile: str
    source: str
    provenance: str | None = None
    splits: str | None = None
    preset: str = "published"


@dataclass(frozen=True)
class Home:
    """A home folder by its root; every other place is derived from it."""

    root: Path

    @property
    def lake(self) -> Lake:
        """The Parquet tables."""
        return Lake(self.root / "lake")

    @property
    def volumes(self) -> Path:
        """Converted volumes, a folder per patient."""
        return self.root / "volumes"

    @property
    def checksums(self) -> Path:
        """Checksums of the download's files, remembered by size and time of change."""
        return self.root / "checksums.parquet"

    @property
    def contents(self) -> Path:
        """Checksums of what an exam's files hold, remembered in the same way; lines that are only ever added."""
        return self.root / "contents.txt"

    @property
    def nnunet_raw(self) -> Path:
        """nnU-Net's raw datasets."""
        return self.root / "nnunet" / "raw"

    @property
    def nnunet_preprocessed(self) -> Path:
        """nnU-Net's preprocessed datasets and plans."""
        return self.root / "nnunet" / "preprocessed"

    @property
    def nnunet_results(self) -> Path:
        """Trained models."""
        return self.root / "nnunet" / "results"

    @property
    def imported_models(self) -> Path:
        """Models from elsewhere, a folder each with the record of its import."""
        return self.root / "nnunet" / "imported"

    @property
    def model_archive(self) -> Path:
        """The study's own models as one zip, with their card beside it."""
        return self.root / "nnunet" / "archive"

    @property
    def predictions(self) -> Path:
        """Predicted masks: ``{cv, cv_as_predicted or exams}/{predictor}/{exam_id}.nii.gz``."""
        return self.root / "predictions"

    @property
    def external_predictions(self) -> Path:
        """Masks from other tools, put there by people: ``{predictor}/{exam_id}.nii.gz``."""
        return self.root / "external_predictions"

    @property
    def database(self) -> Path:
        """The published DuckDB file."""
        return self.root / "published" / "cspine.duckdb"

    @property
    def scratch(self) -> Path:
        """Unpacked and converted series while they are needed; what killed processes left there is removed."""
        return self.root / "scratch"

    @property
    def report(self) -> Path:
        """The study on one page, ``study.html``."""
        return self.root / "report"

    @property
    def logs(self) -> Path:
        """Logs of page, daemon and child processes."""
        return self.root / "logs"

    @property
    def leases(self) -> Path:
        """Lock files of training slots."""
        return self.root / "leases"

    @property
    def dagster(self) -> Path:
        """Dagster's instance: its ``dagster.yaml``, runs and events."""
        return self.root / "dagster"

    def relative(self, path: Path) -> str:
        """Returns a path inside the home as tables hold it: relative, with forward slashes."""
        return path.resolve().relative_to(self.root.resolve()).as_posix()

    def absolute(self, relative: str) -> Path:
        """Returns the place of a path that a table holds."""
        return self.root / relative

    def read_settings(self) -> HomeSettings | None:
        """Returns what the home was opened for, or None where nobody has opened it yet.

        Raises:
            HomeError: The settings file cannot be understood.
        """
        path = self.root / SETTINGS_FILE
        if not path.exists():
            return None
        try:
            return self._each_path(HomeSettings(**json.loads(path.read_text(encoding="utf-8"))), self._as_read)
        except (ValueError, TypeError) as error:
            raise HomeError(
                f"{path}: expected the settings that cspine wrote (profile, source, provenance, splits, preset), "
                f"got something else ({error}). Restore the file, or choose another CSPINE_HOME."
            ) from error

    def open(self, settings: HomeSettings) -> HomeSettings:
        """Creates the home if needed, records what it is for, and returns its settings.

        Args:
            settings: Profile and source asked for.

        Raises:
            HomeError: The folder cannot be written, or it already holds a study of another profile or source. A
                source that has gone from its place was moved: another one may take its place.
        """
        ensure_writable(self.root)
        standing = self.read_settings()
        if standing is not None and (
            standing.profile != settings.profile
            or (standing.source != settings.source and Path(standing.source).exists())
        ):
            elsewhere = (
                f" If that is a copy of the same download, change 'source' in {self.root / SETTINGS_FILE}: what has "
                "the same content is not made anew."
            )
            raise HomeError(
                f"{self.root} holds the '{standing.profile}' study of {standing.source}; "
                f"asked for was '{settings.profile}' of {settings.source}. "
                "One home holds one study: set CSPINE_HOME to another folder."
                + (elsewhere if standing.profile == settings.profile else "")
            )
        keep_out_of_git(self.root)
        if standing != settings:
            written = self._each_path(settings, self._as_written)
            write_text(self.root / SETTINGS_FILE, json.dumps(asdict(written), indent=2, ensure_ascii=False) + "\n")
        return settings

    def _each_path(self, settings: HomeSettings, change: Callable[[str], str]) -> HomeSettings:
        """Returns settings with each of their paths changed."""
        named = {"source": settings.source, "provenance": settings.provenance, "splits": settings.splits}
        return replace(settings, **{name: change(path) for name, path in named.items() if path})

    def _as_read(self, path: str) -> str:
        return str(self.root / path)

    def _as_written(self, path: str) -> str:
        """Returns a path within the home relative to it, every other as it is."""
        return Path(path).relative_to(self.root).as_posix() if Path(path).is_relative_to(self.root) else path


def keep_out_of_git(folder: Path) -> None:
    """Tells git to leave a folder alone, wherever it lies: a home holds patients' images and rows."""
    ignored = folder / ".gitignore"
    if not ignored.exists():
        write_text(ignored, "*\n")


def ensure_writable(folder: Path) -> None:
    """Creates the folder of a home and proves that files can be written into it.

    Raises:
        HomeError: It cannot be created or written to.
    """
    require_writable(folder, remedy="Set CSPINE_HOME to a folder of yours with free space.")
