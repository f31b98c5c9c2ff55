"""A study opened for a notebook: tables as pandas frames, volumes and masks by exam, without Dagster.

Add here what somebody at a notebook asks of a home. Nothing here writes.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.home import Home
from cspine_assets.domain.volume import Volume, read_mask, read_volume
from cspine_assets.domain.warehouse.read import DEFAULT_LIMITS, Limits, ask, connect_read_only, to_frame
from cspine_assets.domain.warehouse.statements import quoted_path, text


class OpenHome:
    """A home opened for reading: one publication from beginning to end, whatever is published meanwhile.

    Attributes:
        home: Where everything lies.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self.home = Home(root)
        self._limits = limits
        self._connection = connect_read_only(self.home.database, limits)

    def sql(self, statement: str) -> pd.DataFrame:
        """Returns the answer to one statement that reads.

        Raises:
            StatementRefusedError: The statement is not valid, does more than read, or took more than it may.
        """
        return to_frame(ask(self._connection, statement, self._limits))

    def tables(self) -> list[str]:
        """Returns the names of all tables and views, sorted."""
        return sorted([*self.sql("select table_name from warehouse.database")["table_name"], "warehouse.database"])

    def table(self, name: str) -> pd.DataFrame:
        """Returns all rows of a table (``schema.table``) or view.

        Raises:
            CSpineError: There is no such table.
        """
        if name not in self.tables():
            raise CSpineError(f"{name}: expected a table or view, there are {', '.join(self.tables())}.")
        return self.sql(f"from {quoted_path(name)}")

    def volume(self, exam_id: str) -> Volume:
        """Returns the volume of an exam.

        Raises:
            CSpineError: The exam is not known or has no volume; says why.
        """
        return read_volume(self._file("imaging.volumes", exam_id))

    def reference(self, exam_id: str) -> Volume:
        """Returns the reference mask of an exam, labels as in ``cspine_assets.domain.anatomy.LABELS``.

        Raises:
            CSpineError: The exam is not known or has no usable mask; says why.
        """
        return read_mask(self._file("imaging.masks", exam_id))

    def prediction(self, exam_id: str, predictor: str = "ensemble") -> Volume:
        """Returns the mask that a predictor drew: of a development exam, by the fold that did not see its patient.

        Raises:
            CSpineError: There is no such prediction.
        """
        for table in ("prediction.exam_predictions", "prediction.fold_ensembles"):
            rows = self._rows(table, exam_id, f" and predictor = {text(predictor)}")
            if len(rows):
                return read_mask(self._path(table, exam_id, rows))
        raise CSpineError(f"{exam_id}: expected a prediction by '{predictor}', there is none in this publication.")

    def close(self) -> None:
        """Ends the session."""
        self._connection.close()

    def __enter__(self) -> OpenHome:
        """Returns itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Ends the session."""
        self.close()

    def _rows(self, table: str, exam_id: str, further: str = "") -> pd.DataFrame:
        return self.sql(f"select status, reason, path from {table} where exam_id = {text(exam_id)}{further}")  # noqa: S608

    def _file(self, table: str, exam_id: str) -> Path:
        return self._path(table, exam_id, self._rows(table, exam_id))

    def _path(self, table: str, exam_id: str, rows: pd.DataFrame) -> Path:
        if rows.empty:
            raise CSpineError(f"{exam_id}: expected an exam of {table}, there is none of that name.")
        row = rows.iloc[0]
        if row["status"] != "ok" or pd.isna(row["path"]):
            raise CSpineError(f"{exam_id}: {table} has no file of it ({row['status']}: {row['reason']}).")
        return self.home.absolute(str(row["path"]))


def open_home(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> OpenHome:
    """Opens the published study of a home for reading.

    Args:
        path: The home folder.
        limits: What one statement may take.

    Raises:
        HomeError: Nothing has been published there yet.
    """
    return OpenHome(Path(path).expanduser().resolve(), limits)
