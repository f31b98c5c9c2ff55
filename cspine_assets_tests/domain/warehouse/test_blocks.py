"""Every byte of a published database is under a checksum; what is damaged is told with the way back."""

import random
from pathlib import Path

import duckdb
import pytest

from cspine_assets.domain.errors import HomeError
from cspine_assets.domain.warehouse.blocks import require_intact


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("database") / "some.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE numbers (n BIGINT PRIMARY KEY, said VARCHAR)")
        connection.execute("INSERT INTO numbers SELECT n, md5(n::VARCHAR) FROM range(50000) t(n)")
    return path.read_bytes()


def test_what_duckdb_wrote_is_intact(intact: bytes, tmp_path: Path):
    path = tmp_path / "copy.duckdb"
    path.write_bytes(intact)
    require_intact(path)


@pytest.mark.parametrize("seed", range(12))
def test_a_changed_byte_is_found_wherever_it_is(intact: bytes, tmp_path: Path, seed: int):
    content = bytearray(intact)
    content[random.Random(seed).randrange(12, len(content))] ^= 0x10
    path = tmp_path / "copy.duckdb"
    path.write_bytes(content)
    with pytest.raises(HomeError, match=r"copy\.duckdb: .* not the one that was written.*--only warehouse --force"):
        require_intact(path)


@pytest.mark.parametrize("content", [b"", b"no database" * 2000])
def test_another_file_is_no_database(tmp_path: Path, content: bytes):
    path = tmp_path / "copy.duckdb"
    path.write_bytes(content)
    with pytest.raises(HomeError, match="it is no DuckDB database"):
        require_intact(path)


def test_a_database_that_is_cut_short_or_gone_is_told(intact: bytes, tmp_path: Path):
    path = tmp_path / "copy.duckdb"
    with pytest.raises(HomeError, match="it cannot be read"):
        require_intact(path)
    path.write_bytes(intact[:-5000])
    with pytest.raises(HomeError, match="its end is missing"):
        require_intact(path)
