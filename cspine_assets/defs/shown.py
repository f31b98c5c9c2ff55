"""Frames as assets join and show them: what several asset modules do with rows, and no domain has a word for.

Add a helper when two asset modules show or join rows alike. What rows mean is the domain's.
"""

import json

import dagster as dg
import pandas as pd


def inline_table(frame: pd.DataFrame) -> dg.TableMetadataValue:
    """Returns a small table as the page shows it without a click; one without rows keeps its columns."""
    columns = [dg.TableColumn(str(name), type=str(kind)) for name, kind in frame.dtypes.items()]
    records = [dg.TableRecord(row) for row in json.loads(frame.to_json(orient="records"))]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Returns the rows of several tables; an empty one has no say in the columns' types."""
    return pd.concat([frame for frame in frames if not frame.empty] or frames[:1], ignore_index=True)
