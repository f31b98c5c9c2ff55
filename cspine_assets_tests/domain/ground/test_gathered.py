"""A copy of many files never says anything but what the files say, and spares opening those it knows."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cspine_assets.domain import gathered
from cspine_assets.domain.gathered import file_state, read_gathered

SCHEMA = pa.schema([pa.field("exam", pa.string(), nullable=False), pa.field("dice", pa.float64())])


class Shelf:
    """A folder of files, and which of them were opened by the last reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = folder / "copies" / "table.parquet"
        self.opened: list[str] = []

    def write(self, name: str, *values: float) -> Path:
        path = self.folder / f"{name}.parquet"
        aside = path.with_suffix(".aside")
        pq.write_table(pa.table({"exam": [name] * len(values), "dice": list(values)}, schema=SCHEMA), aside)
        aside.replace(path)
        return path

    def read(self, schema: pa.Schema = SCHEMA) -> list[tuple[str, float]]:
        self.opened = []

        def read(paths: Sequence[Path]) -> list[pa.Table]:
            self.opened += [path.stem for path in paths]
            return [pq.read_table(path, schema=schema) for path in paths]

        rows = read_gathered(self.kept, sorted(self.folder.glob("*.parquet")), schema, read)
        assert rows.schema.equals(schema)
        return [(row["exam"], row["dice"]) for row in rows.to_pylist()]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(gathered, "_SETTLED_NS", 0)  # nobody waits for files to grow old
    shelf = Shelf(tmp_path)
    shelf.write("a", 0.1, 0.2)
    shelf.write("b")
    shelf.write("c", 0.3)
    assert shelf.read() == [("a", 0.1), ("a", 0.2), ("c", 0.3)]
    assert shelf.opened == ["a", "b", "c"]
    return shelf


def test_files_that_have_not_changed_are_not_opened_again(shelf: Shelf):
    assert shelf.read() == [("a", 0.1), ("a", 0.2), ("c", 0.3)]
    assert shelf.opened == []


def test_only_what_was_changed_or_added_is_opened_and_what_went_is_gone(shelf: Shelf):
    shelf.write("b", 0.9)
    assert shelf.read() == [("a", 0.1), ("a", 0.2), ("b", 0.9), ("c", 0.3)]
    assert shelf.opened == ["b"]
    shelf.write("aa", 0.5)
    shelf.folder.joinpath("a.parquet").unlink()
    assert shelf.read() == [("aa", 0.5), ("b", 0.9), ("c", 0.3)]
    assert shelf.opened == ["aa"]
    shelf.folder.joinpath("c.parquet").unlink()
    assert shelf.read() == [("aa", 0.5), ("b", 0.9)]
    assert shelf.opened == []
    assert shelf.read() == [("aa", 0.5), ("b", 0.9)]


def test_a_file_of_the_same_size_and_time_is_told_from_the_one_it_replaced(shelf: Shelf):
    path = shelf.folder / "c.parquet"
    before = path.stat()
    shelf.write("c", 0.4)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert shelf.read()[-1] == ("c", 0.4)
    assert shelf.opened == ["c"]


def test_a_file_that_has_only_just_been_written_is_opened_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gathered, "_SETTLED_NS", 3600 * 10**9)
    shelf.write("c", 0.4)
    for _ in range(2):
        assert shelf.read()[-1] == ("c", 0.4)
        assert "c" in shelf.opened


@pytest.mark.parametrize(("age_s", "is_told"), [(1.9, False), (2.1, True)])
def test_a_file_younger_than_the_coarsest_clock_is_not_told_from_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: float, is_told: bool
):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"rows")
    found = path.stat()
    now = max(found.st_mtime_ns, found.st_ctime_ns) + int(age_s * 1e9)
    monkeypatch.setattr(gathered.time, "time_ns", lambda: now)
    assert (file_state(path) is not None) == is_told


def _torn(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:-40])


def _emptied(kept: Path) -> None:
    kept.write_bytes(b"")


def _flipped(kept: Path) -> None:
    # the text of the first row, which without a checksum would be read as another text
    kept.write_bytes(kept.read_bytes().replace(b"\x01\x00\x00\x00a", b"\x01\x00\x00\x00z", 1))


def _not_ours(kept: Path) -> None:
    pq.write_table(pa.table({"exam": ["z"], "dice": [0.0]}, schema=SCHEMA), kept)


def _a_row_short(kept: Path) -> None:
    rows = pq.read_table(kept)
    pq.write_table(rows.slice(1), kept)


def _gone(kept: Path) -> None:
    kept.unlink()


@pytest.mark.parametrize("spoil", [_torn, _emptied, _flipped, _not_ours, _a_row_short, _gone])
def test_a_copy_that_cannot_be_trusted_costs_time_alone(shelf: Shelf, spoil: Callable[[Path], None]):
    spoil(shelf.kept)
    assert shelf.read() == [("a", 0.1), ("a", 0.2), ("c", 0.3)]
    assert shelf.opened == ["a", "b", "c"]
    shelf.read()
    assert shelf.opened == []


def test_a_copy_from_before_the_table_was_described_otherwise_is_not_used(shelf: Shelf):
    wider = SCHEMA.append(pa.field("hd95_mm", pa.float64()))
    assert shelf.read(wider) == [("a", 0.1), ("a", 0.2), ("c", 0.3)]
    assert shelf.opened == ["a", "b", "c"]


def test_a_place_that_cannot_be_written_to_keeps_nobody_from_reading(shelf: Shelf):
    shelf.kept.unlink()
    shelf.kept.parent.rmdir()
    shelf.kept.parent.write_text("a file where the folder should be")
    for _ in range(2):
        assert shelf.read() == [("a", 0.1), ("a", 0.2), ("c", 0.3)]
        assert shelf.opened == ["a", "b", "c"]


def test_a_file_that_cannot_be_read_is_told_and_leaves_the_copy(shelf: Shelf):
    shelf.folder.joinpath("b.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(pa.ArrowInvalid):
        shelf.read()
    shelf.write("b", 0.9)
    assert len(shelf.read()) == 4
    assert shelf.opened == ["b"]
