"""Frames as assets join and show them, and what lights say: what asset modules share and no domain has a word for.

Add a helper when two asset modules show or join alike. What rows mean is the domain's.
"""

import base64
import json

import dagster as dg
import pandas as pd


def inline_table(frame: pd.DataFrame) -> dg.TableMetadataValue:
    """Returns a small table as the page shows it without a click; one without rows keeps its columns."""
    columns = [dg.TableColumn(str(name), type=str(kind)) for name, kind in frame.dtypes.items()]
    records = [dg.TableRecord(row) for row in json.loads(frame.to_json(orient="records"))]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def markdown_table(frame: pd.DataFrame, floatfmt: str = "g") -> dg.MarkdownMetadataValue:
    """Returns a table as the page shows it at a click.

    Args:
        frame: The rows; what is missing is left empty.
        floatfmt: How numbers are written, such as ``.3f``.
    """
    return dg.MetadataValue.md(frame.to_markdown(index=False, floatfmt=floatfmt))


def inline_picture(png: bytes, said: str) -> str:
    """Returns a picture within the text of a page; ``said`` stands in its place where pictures are not shown."""
    return f"![{said}](data:image/png;base64,{base64.b64encode(png).decode()})"


def told(wrong: int, checked: int, what: str, then: str) -> str:
    """Returns the sentence that a light says of what it looked at: how much is wrong of how much, and what to do."""
    return f"{wrong:,} of {checked:,} {what}. {then}" if wrong else f"Nothing found among {checked:,} {what}."


def joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Returns the rows of several tables; an empty one has no say in the columns' types."""
    return pd.concat([frame for frame in frames if not frame.empty] or frames[:1], ignore_index=True)
