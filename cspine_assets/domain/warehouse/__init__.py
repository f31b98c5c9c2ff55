"""Publishing the lake as one DuckDB file, and reading it."""
