"""Whatever is done to a home, and in whatever order, `cspine materialize` leads to what a fresh home would hold.

Two sequences run with the suite; set ``CSPINE_SEQUENCES`` to try more of them, each with the seed of its number.
"""

import os
import random
import shutil
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest

from cspine_assets.defs.driver import RANGE_END, RANGE_START, StageFailedError, materialize
from cspine_assets.defs.execution import run_once
from cspine_assets.defs.instance import open_instance
from cspine_assets.defs.io import asset_key
from cspine_assets.defs.partitions import patients
from cspine_assets.defs.stages import in_order
from cspine_assets.domain.home import Home, HomeSettings
from cspine_assets.domain.phantom.cohort import PROVENANCE_FILE
from cspine_assets.domain.tables.base import Table
from cspine_assets_tests.defs.test_agreement import stale
from cspine_assets_tests.processes import within

MADE = ("midrc", "cohort", "imaging")
SEQUENCES = int(os.environ.get("CSPINE_SEQUENCES") or 2)
MOVES_EACH = 6
TIMES = {"changed_ns"}
"""Columns that say when a file was written; all others are compared to the last bit."""

Move = Callable[[Home, random.Random], object]


def tables() -> list[type[Table]]:
    return [item.table for item in in_order() if item.table.schema_name() in MADE]


def settings(home: Home, *, preset: str = "published") -> None:
    inside = home.root / "download"
    home.open(HomeSettings("demo", str(inside), str(inside / PROVENANCE_FILE), preset=preset))


def make(home: Home, **how: object) -> None:
    with open_instance(home) as instance:
        materialize(home, instance=instance, **{"schemas": MADE, **how})


def make_by_force(root: str) -> None:
    make(Home(Path(root)), force=True)


def force_a_schema(home: Home, random_: random.Random) -> None:
    make(home, schemas=[random_.choice(MADE)], force=True)


def start_on_the_page(home: Home, random_: random.Random) -> None:
    """Starts one asset as the page does: whatever of what it is made from is stale or gone, and forced or not."""
    table = random_.choice(tables())
    with open_instance(home) as instance:
        known = sorted(instance.get_dynamic_partitions(patients.name or ""))
        cut = next(item for item in in_order() if item.table is table).partitions_def is patients
        ends = sorted(random_.choices(known, k=2)) if cut else []
        tags = dict(zip((RANGE_START, RANGE_END), ends, strict=False))
        run_once(home, instance, [asset_key(table)], tags, force=random_.random() < 0.5)


def kill(home: Home, random_: random.Random) -> None:
    """Makes everything again by force, and kills that after some files, or lets it end where it was faster."""
    before = {path: path.stat().st_mtime_ns for path in home.lake.root.rglob("*.parquet")}
    asked = random_.randrange(len(before) + 1)
    process = get_context("forkserver").Process(target=make_by_force, args=(str(home.root),))
    process.start()

    def written() -> int:
        return sum(path.exists() and path.stat().st_mtime_ns != then for path, then in before.items())

    within(120, lambda: not process.is_alive() or written() >= asked)
    if process.is_alive():
        os.kill(process.pid or 0, signal.SIGKILL)
    process.join()


def delete(home: Home, random_: random.Random) -> None:
    files = sorted([*home.lake.root.rglob("[!.]*.parquet"), *home.volumes.rglob("[!.]*.nii.gz")])
    random_.choice(files).unlink()


def change(home: Home, random_: random.Random) -> None:
    """Lets a volume or a mask hold something else, or touches it."""
    file = random_.choice(sorted(home.volumes.rglob("[!.]*.nii.gz")) or [home.lake.path(tables()[0])])
    if random_.random() < 0.5 and file.suffix == ".gz":
        file.write_bytes(file.read_bytes()[:-20])
    else:
        os.utime(file)


def choose_otherwise(home: Home, random_: random.Random) -> None:
    settings(home, preset="all_masks")
    if random_.random() < 0.5:
        make(home)


MOVES: tuple[Move, ...] = (
    lambda home, _: make(home),
    force_a_schema,
    start_on_the_page,
    kill,
    delete,
    change,
    choose_otherwise,
    lambda home, _: settings(home),
)


def state(home: Home) -> dict[str, pd.DataFrame]:
    frames = {}
    for table in tables():
        frame = home.lake.read(table)
        frame = frame.drop(columns=TIMES & set(frame.columns))
        frames[table.full_name()] = frame.sort_values(list(frame.columns), ignore_index=True)
    return frames


@pytest.fixture(scope="module")
def fresh(download: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home that nothing was done to but to make it."""
    home = Home(tmp_path_factory.mktemp("fresh") / "home")
    shutil.copytree(download, home.root / "download")
    settings(home)
    make(home)
    return home


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_any_sequence_ends_where_a_fresh_home_begins(fresh: Home, tmp_path: Path, seed: int):
    random_ = random.Random(seed)
    home = Home(shutil.copytree(fresh.root, tmp_path / "home", symlinks=True))
    for number in range(MOVES_EACH):
        move = random_.choice(MOVES)
        print(number, getattr(move, "__name__", "make"), flush=True)
        try:
            move(home, random_)
        except StageFailedError as failed:
            print("  ", failed, flush=True)
    settings(home)
    make(home)
    with open_instance(home) as instance:
        assert materialize(home, instance=instance, schemas=MADE) == []
        assert stale(instance) == []
    expected = state(fresh)
    for name, frame in state(home).items():
        pd.testing.assert_frame_equal(frame, expected[name], obj=name)
    volumes = {path.relative_to(fresh.root): path.read_bytes() for path in fresh.volumes.rglob("*.nii.gz")}
    assert {path.relative_to(home.root): path.read_bytes() for path in home.volumes.rglob("*.nii.gz")} == volumes
