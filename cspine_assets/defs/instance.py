"""Dagster's instance of a home: where its runs are kept, pools, run queue, telemetry off.

Add an instance setting here. Nothing here runs an asset.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy.exc import DatabaseError

from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.files import write_text
from cspine_assets.domain.home import Home
from cspine_assets.domain.housekeeping import LOG_DAYS
from cspine_assets.nnunet.settings import read_settings

GPU_POOL = "gpu"
"""Trainings and predictions take a slot of it; it has as many as there are places to lease on devices."""

CRASH_RETRIES = 3
"""How often a run whose process was killed is started again by itself; one that kills its process anew is given up."""

SETTINGS_FILE = "dagster.yaml"

INDEX_SHARD = "index"
"""Dagster's name for the database of events of all runs; each run has one of its own besides."""

TICK_DAYS = {"skipped": 7, "success": LOG_DAYS, "failure": LOG_DAYS, "started": LOG_DAYS}
"""Days that ticks are kept, by how they ended; a sensor skips a thousand times a day."""


def instance_settings(slots: int) -> dict[str, object]:
    """Returns what goes into ``dagster.yaml``, for that many trainings at once."""
    return {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},  # no dialog that asks for an address at the first visit
        "concurrency": {
            "runs": {"max_concurrent_runs": max(2, slots)},
            "pools": {"granularity": "op", "default_limit": 1},
        },
        # the slots of a run that was killed alone: Dagster keeps them for it for ever otherwise
        "run_monitoring": {"enabled": True, "start_timeout_seconds": 300, "free_slots_after_run_end_seconds": 60},
        # what was killed is started again; what failed by its own doing waits until something changes
        "run_retries": {"enabled": True, "max_retries": CRASH_RETRIES, "retry_on_asset_or_op_failure": False},
        # ticks only: open-source Dagster keeps what steps print for ever (``housekeeping`` prunes it), and events must
        # stay, since the data versions that tell stale from fresh are among them
        "retention": {name: {"purge_after_days": TICK_DAYS} for name in ("sensor", "schedule", "auto_materialize")},
    }


def open_instance(home: Home) -> dg.DagsterInstance:
    """Opens the instance of a home, with its settings written first where there are none.

    A settings file that stands is the user's and stays as it is. The pool always has as many slots as there are
    places on devices: with fewer a device would stand idle, with more a run would wait for one while it seems to work.

    Raises:
        HomeError: Its settings or its databases are damaged.
    """
    slots = len(read_settings(home.root).slots())
    settings = home.dagster / SETTINGS_FILE
    if not settings.exists():
        write_text(settings, yaml.safe_dump(instance_settings(slots), sort_keys=False))
    try:
        read_instance_settings(home)
        instance = dg.DagsterInstance.from_config(str(home.dagster))
        _ensure_pool(instance, slots)
    except dg.DagsterInvalidConfigError as error:
        raise _no_settings(settings, error) from error
    except DatabaseError as error:
        raise damaged_instance(home.dagster, error) from error
    return instance


def read_instance_settings(home: Home) -> Mapping[str, object]:
    """Returns what ``dagster.yaml`` of a home says; nothing where there is none.

    Raises:
        HomeError: It is no YAML, or no settings.
    """
    path = home.dagster / SETTINGS_FILE
    if not path.exists():
        return {}
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _no_settings(path, error) from error
    if not isinstance(read, Mapping):
        raise _no_settings(path, TypeError())
    return read


def _no_settings(path: Path, error: Exception) -> HomeError:
    return HomeError(
        f"{path}: expected Dagster's settings, got something else ({type(error).__name__}). "
        "Correct the file, or delete it to have it written again."
    )


def damaged_instance(folder: Path, error: Exception) -> HomeError:
    """Returns what to tell where Dagster's databases cannot be read, and what to do."""
    return HomeError(
        f"{folder}: expected Dagster's databases, they cannot be used ({str(error).splitlines()[0]}). Tables, volumes "
        "and models are not in them. Move the folder aside and call `cspine materialize`: what is up to date is "
        "recorded again and not made again; the history of runs and the pictures on the page are lost."
    )


def _ensure_pool(instance: dg.DagsterInstance, slots: int) -> None:
    storage = instance.event_log_storage
    if GPU_POOL not in storage.get_concurrency_keys() or storage.get_concurrency_info(GPU_POOL).slot_count != slots:
        storage.set_concurrency_slots(GPU_POOL, slots)


@contextmanager
def index_kept_open(instance: dg.DagsterInstance) -> Iterator[None]:
    """Keeps the index of all events open meanwhile; nothing happens where it is no SQLite file.

    Dagster opens and closes it several times for each event, and SQLite brings a database to the disk and removes its
    log whenever the last who has it open leaves it. A run's own events are left alone: the page sees new ones by the
    change of their file.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        yield
        return
    with closing(sqlite3.connect(storage.path_for_shard(INDEX_SHARD), check_same_thread=False)) as connection:
        connection.execute("select count(*) from sqlite_master").fetchall()  # it is opened by the first look only
        yield
