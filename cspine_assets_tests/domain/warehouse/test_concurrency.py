"""Writers, a publisher and readers at the same time: nobody waits for a lock, nothing is torn, nothing is lost."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.base import column_names
from cspine_assets.domain.tables.imaging import Masks
from cspine_assets.domain.warehouse.publish import publish_database
from cspine_assets.domain.warehouse.read import ask, connect_read_only, query

WRITERS, READERS, PARTITIONS, ROWS = 8, 4, 200, 3
KEYS = [f"patient{n:03d}" for n in range(PARTITIONS)]

CONSISTENT = """
select count(distinct patient_id) as patients, count(*) as rows, any_value(manifest.rows) as promised,
       count(*) filter (seen <> 3 or stamps <> 1) as torn
from (select patient_id, count(*) over same as seen, count(distinct stored_type) over same as stamps
      from imaging.masks window same as (partition by patient_id))
cross join (from warehouse.database where table_name = 'imaging.masks') as manifest
"""
SNAPSHOT = "select md5(string_agg(exam_id || stored_type, ',' order by exam_id)) as content from imaging.masks"


@dataclass(frozen=True)
class Seen:
    """What a reader saw: how many publications it looked at, and which were wrong."""

    looks: int
    contents: frozenset[str]
    wrong: tuple[str, ...] = ()


def partition(key: str, stamp: str) -> pd.DataFrame:
    """The rows of one partition; all carry the same stamp, so that a mixture of two writings shows."""
    rows = {"exam_id": [f"{key}_{n}" for n in range(ROWS)], "patient_id": key, "status": "ok", "stored_type": stamp}
    return pd.DataFrame(rows).reindex(columns=column_names(Masks))


def write(root: Path, worker: int) -> int:
    """Writes a fourth of the partitions, which one other writer writes as well; returns how many."""
    mine = KEYS[worker % 4 :: 4]
    for key in mine if worker < 4 else reversed(mine):
        Home(root).lake.write(Masks, partition(key, f"writer{worker}"), partition=key)
    return len(mine)


def publish(root: Path) -> int:
    """Publishes until the writers are done, and once more; returns how often."""
    home, times, last = Home(root), 0, False
    while not last:
        last = (root / "done").exists()
        publish_database({Masks: home.lake.read(Masks)}, home.database, keep=2)
        times += 1
    return times


def read(root: Path) -> Seen:
    """Asks for as long as the publisher is at work, each time by a new connection."""
    contents, wrong, looks = set(), [], 0
    while not (root / "all_over").exists():
        with connect_read_only(Home(root).database) as connection:
            contents.add(ask(connection, SNAPSHOT)["content"][0].as_py())
            seen = ask(connection, CONSISTENT).to_pylist()[0]
        if seen["torn"] or seen["rows"] != seen["promised"] or seen["rows"] != ROWS * seen["patients"]:
            wrong.append(str(seen))
        looks += 1
        (root / f"looked-{os.getpid()}").touch()
    return Seen(looks, frozenset(contents), tuple(wrong))


def stay(root: Path) -> Seen:
    """Asks over one connection from beginning to end."""
    contents, looks = set(), 0
    with connect_read_only(Home(root).database) as connection:
        while not (root / "all_over").exists():
            contents.add(ask(connection, SNAPSHOT)["content"][0].as_py())
            looks += 1
            (root / f"looked-{os.getpid()}").touch()
            time.sleep(0.1)
    return Seen(looks, frozenset(contents))


@pytest.fixture
def crew() -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(WRITERS + READERS + 2, mp_context=context) as pool:
        yield pool


def test_eight_writers_a_publisher_and_five_readers_do_not_disturb_one_another(crew, tmp_path: Path):
    home = Home(tmp_path)
    for key in KEYS[::10]:
        home.lake.write(Masks, partition(key, "before"), partition=key)
    publish_database({Masks: home.lake.read(Masks)}, home.database, keep=2)

    readers: list[Future[Seen]] = [crew.submit(read, tmp_path) for _ in range(READERS)]
    staying = crew.submit(stay, tmp_path)
    while len(list(tmp_path.glob("looked-*"))) <= READERS:  # everybody is there before the first writer begins
        time.sleep(0.05)
        assert not staying.done(), staying.exception()
    publisher = crew.submit(publish, tmp_path)
    writers = [crew.submit(write, tmp_path, worker) for worker in range(WRITERS)]
    try:
        assert sum(writer.result(300) for writer in writers) == 2 * PARTITIONS
    finally:
        (tmp_path / "done").touch()
    try:
        times = publisher.result(300)
    finally:
        (tmp_path / "all_over").touch()

    looked = [reader.result(300) for reader in readers]
    print(f"{times} publications; looks by reader: {[seen.looks for seen in looked]}")
    assert [seen.wrong for seen in looked] == [()] * READERS
    assert all(seen.looks for seen in looked)
    assert len(frozenset().union(*(seen.contents for seen in looked))) > 1
    stayed = staying.result(300)
    assert stayed.looks
    assert len(stayed.contents) == 1

    final = query(
        home.database,
        "select patient_id, count(*) as n, any_value(stored_type) as stamp from imaging.masks group by all",
    )
    assert sorted(final["patient_id"]) == KEYS
    assert set(final["n"]) == {ROWS}
    assert "before" not in set(final["stamp"])
    assert not [path.name for path in home.lake.folder(Masks).iterdir() if path.name.startswith(".")]
