"""What `cspine doctor` looks at in a home: its settings, tables, database and Dagster's own databases.

Add a look here when a home keeps something new. What may be missing on the machine is the matter of ``doctor``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cspine_assets.domain.errors import CSpineError, HomeError
from cspine_assets.domain.home import Home

_MOST_NAMED = 3


@dataclass(frozen=True)
class Store:
    """A kind of file in a home that was looked at.

    Attributes:
        name: What to call it.
        count: How many files there are.
        damage: What is wrong, with the way back; one sentence a file.
    """

    name: str
    count: int
    damage: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """What is wrong, as much of it as a person reads."""
        more = len(self.damage) - _MOST_NAMED
        return "\n".join(self.damage[:_MOST_NAMED]) + (f"\nand {more} more" if more > 0 else "")


def stores(home: Home) -> Iterator[Store]:
    """Yields every store of a home with what is damaged in it; nothing is written.

    One that nobody has written yet has no files.
    """
    yield _settings(home)
    yield _tables(home)
    yield _database(home)
    yield _instance(home)


def _settings(home: Home) -> Store:
    from cspine_assets.defs.automation import SETTINGS_FILE as AUTOMATION_FILE
    from cspine_assets.defs.automation import read_automation
    from cspine_assets.defs.instance import SETTINGS_FILE as INSTANCE_FILE
    from cspine_assets.defs.instance import read_instance_settings
    from cspine_assets.domain.home import SETTINGS_FILE as HOME_FILE
    from cspine_assets.nnunet import prediction_settings, settings

    readers: dict[Path, Callable[[], object]] = {
        home.root / HOME_FILE: home.read_settings,
        home.root / settings.SETTINGS_FILE: lambda: settings.read_settings(home.root),
        home.root / prediction_settings.SETTINGS_FILE: lambda: prediction_settings.read_choices(home.root),
        home.root / AUTOMATION_FILE: lambda: read_automation(home),
        home.dagster / INSTANCE_FILE: lambda: read_instance_settings(home),
    }
    damage = []
    for read in readers.values():
        try:
            read()
        except CSpineError as error:
            damage.append(str(error))
    return Store("settings", sum(path.exists() for path in readers), tuple(damage))


def _tables(home: Home) -> Store:
    from cspine_assets.domain.lake_damage import damaged_files
    from cspine_assets.domain.tables.catalog import all_tables

    count, damage = 0, []
    for table in all_tables():
        count += len(home.lake.partitions(table)) + home.lake.path(table).exists()
        damage += [
            f"{path}: {what}. Delete the file and call `cspine materialize`, which makes it again."
            for path, what in damaged_files(home.lake, table)
        ]
    return Store("tables", count, tuple(damage))


def _database(home: Home) -> Store:
    from cspine_assets.domain.warehouse.blocks import require_intact

    files = sorted(home.database.parent.rglob("*.duckdb"))
    damage = []
    for file in files:
        try:
            require_intact(file)
        except HomeError as error:
            damage.append(str(error))
    return Store("published database", len(files), tuple(damage))


def _instance(home: Home) -> Store:
    from cspine_assets.defs.instance import damaged_instance

    files = sorted(home.dagster.rglob("*.db"))
    wrong = [file for file in files if not _is_intact(file)]
    named = ", ".join(file.relative_to(home.dagster).as_posix() for file in wrong[:_MOST_NAMED])
    return Store(
        "Dagster's databases", len(files), (str(damaged_instance(home.dagster, Exception(named))),) if wrong else ()
    )


def _is_intact(file: Path) -> bool:
    """Returns what SQLite's own check says of a database."""
    # without a log beside it nobody has it open, and nothing at all is written beside it
    is_open = file.with_name(f"{file.name}-wal").exists()
    address = f"file:{quote(str(file))}?mode=ro" + ("" if is_open else "&immutable=1")
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        return "locked" in str(error)
