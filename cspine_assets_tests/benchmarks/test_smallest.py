"""Every benchmark at its smallest size: it runs to its end and returns its rows. Nothing here looks at a time."""

import pytest

from benchmarks.catalog import BENCHMARKS, Size
from benchmarks.results import Results

ROWS = {
    "conversion": 6,
    "ingest": 7,
    "orchestration": 8,
    "scoring": 7,
    "levels": 4,
    "level_names": 7,
    "statistics": 7,
    "warehouse": 12,
    "prediction": 6,
    "gpu_training": 2,
}
"""At least so many: each benchmark raises where both of its ways disagree, so rows show that they agree."""


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_smallest_size_returns_every_row(benchmark, tmp_path):
    results = benchmark.load()(Size.SMALLEST, tmp_path)

    assert isinstance(results, Results)
    assert sum(len(table.rows) for table in results.tables) >= ROWS[benchmark.name]
    for table in results.tables:
        assert all(len(row.values) == len(table.columns) for row in table.rows)
