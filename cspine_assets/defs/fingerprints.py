"""What every table is made from, and whether what stands was made from just that.

A table asset is described here when its module is loaded; its inputs are then one SHA-256 over code version, profile,
parent tables and files. A patient depends on the patient's own rows only, so that one new patient makes nothing else
stale. How an asset is run is no concern of this module.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from cspine_assets.defs.partitions import CUT, external_predictors, folds, lake_partition, patients, trainings
from cspine_assets.defs.row_files import changed_files
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.domain.lake import Stamp, described_columns, fingerprint_groups
from cspine_assets.domain.tables.base import Table, column_names

if TYPE_CHECKING:
    from cspine_assets.defs.resources import Study


@dataclass(frozen=True)
class Described:
    """A table asset as its module stated it; see ``io.table_asset``."""

    table: type[Table]
    deps: tuple[type[Table], ...]
    version: str
    source: Callable[["Study", str | None], str] | None
    appended: bool = False

    @property
    def partitions_def(self) -> dg.PartitionsDefinition | None:
        """How the table is cut, if it is."""
        return CUT.get(self.table)


_described: dict[type[Table], Described] = {}


def describe(
    table: type[Table],
    *,
    deps: Iterable[type[Table]],
    version: str,
    source: Callable[["Study", str | None], str] | None,
    appended: bool = False,
) -> Described:
    """Records what a table is made from."""
    _described[table] = Described(table, tuple(deps), version, source, appended)
    return _described[table]


def described_tables() -> dict[type[Table], Described]:
    """Returns every table asset whose module has been loaded."""
    return dict(_described)


class Fingerprints:
    """Fingerprints as of one moment: parent tables are read once and remembered."""

    def __init__(self, study: "Study") -> None:
        self._study = study
        self._rows: dict[type[Table], dict[str, str]] = {}
        self._wholes: dict[type[Table], str | None] = {}

    def inputs(self, described: Described, key: str | None) -> str | None:
        """Returns the fingerprint of all that a table or partition is made from, or None where a parent is missing."""
        parts = [described.version, self._study.settings.profile, key or ""]
        for parent in described.deps:
            part = self._parent(_described[parent], described, key)
            if part is None:
                return None
            parts.append(f"{parent.full_name()}={part}")
        if described.source is not None:
            parts.append(described.source(self._study, key))
        return fingerprint_text(*parts)

    def whole(self, table: type[Table]) -> str | None:
        """Returns the fingerprint of a table with all its parts, or None where it is not there or lacks one."""
        return self._whole(_described[table])

    def missing(self, described: Described, key: str | None) -> list[str]:
        """Returns the names of parents that are not there yet."""
        return [
            parent.full_name() for parent in described.deps if self._parent(_described[parent], described, key) is None
        ]

    def _parent(self, parent: Described, child: Described, key: str | None) -> str | None:
        """Returns the fingerprint of the part of a parent that one partition of a child is made from."""
        if parent.partitions_def is not None and parent.partitions_def is child.partitions_def and key is not None:
            return self._partition(parent.table, lake_partition(key))
        if child.partitions_def is patients and key is not None and "patient_id" in column_names(parent.table):
            whole = self._whole(parent)
            return None if whole is None else self._of_patient(parent.table, key)
        if child.partitions_def is folds and parent.partitions_def is trainings and key is not None:
            of_fold = [name for name in trainings.get_partition_keys() if name.split("|")[1] == key]
            return self._joined([self._partition(parent.table, lake_partition(name)) for name in of_fold])
        return self._whole(parent)

    def _whole(self, parent: Described) -> str | None:
        """Returns the fingerprint of a whole parent.

        A parent cut by patient counts with the patients who stand, and there must be one; one cut by external predictor
        with those who stand, which may be nobody; one cut otherwise must be there in all its parts. A table that is
        added to counts with all its parts.
        """
        if parent.table not in self._wholes:
            self._wholes[parent.table] = self._read_whole(parent)
        return self._wholes[parent.table]

    def _read_whole(self, parent: Described) -> str | None:
        lake = self._study.home.lake
        if parent.appended or parent.partitions_def is external_predictors:
            standing_parts = lake.partitions(parent.table)
            if parent.appended and not standing_parts:
                return None
            return fingerprint_text(*(f"{key}:{self._partition(parent.table, key)}" for key in standing_parts))
        if parent.partitions_def is None:
            return self._partition(parent.table, None)
        if parent.partitions_def is patients:
            standing = set(self._study.home.lake.partitions(parent.table)) & self._study.patient_ids
            parts = {key: self._partition(parent.table, key) for key in sorted(standing)}
            complete = [f"{key}:{part}" for key, part in parts.items() if part is not None]
            return fingerprint_text(*complete) if complete else None
        keys = [lake_partition(key) for key in parent.partitions_def.get_partition_keys()]
        return self._joined([self._partition(parent.table, key) for key in keys])

    def _partition(self, table: type[Table], partition: str | None) -> str | None:
        stamp = self._study.home.lake.stamp(table, partition)
        return stamp.fingerprint if stamp is not None and stamp.complete else None

    def _of_patient(self, table: type[Table], patient_id: str) -> str:
        """Returns the fingerprint of one patient's rows in a table that is not cut by patient."""
        if table not in self._rows:
            frame = self._study.home.lake.read(table).sort_values([*table.key_columns()], ignore_index=True)
            self._rows[table] = fingerprint_groups(frame, "patient_id")
        return self._rows[table].get(patient_id, "no rows")

    @staticmethod
    def _joined(parts: list[str | None]) -> str | None:
        present = [part for part in parts if part is not None]
        return fingerprint_text(*present) if len(present) == len(parts) else None


def standing_stamp(study: "Study", described: Described, key: str | None) -> Stamp | None:
    """Returns what stands of a table or partition: of a table that is added to, its newest part."""
    if described.appended:
        parts = study.home.lake.partitions(described.table)
        key = parts[-1] if parts else None
    return study.home.lake.stamp(described.table, lake_partition(key) if key else None)


def is_of(stamp: Stamp, described: Described, inputs: str | None) -> bool:
    """Whether something stored was made from these inputs, and as the table is described now.

    The columns are those of the stored file and no part of the inputs: another set of them makes a table stale without
    a raised version, and what was stored by an earlier release with the same columns stays current.
    """
    return stamp.inputs == inputs and stamp.columns == described_columns(described.table)


def is_current(study: "Study", described: Described, key: str | None, inputs: str) -> bool:
    """Whether what stands is complete, was made from these inputs, has the described columns and unchanged files."""
    partition = lake_partition(key) if key else None
    stamp = standing_stamp(study, described, key)
    if stamp is None or not stamp.complete or not is_of(stamp, described, inputs):
        return False
    if stamp.files is not None:
        return next(changed_files(study.home, stamp), None) is None
    if "path" not in column_names(described.table):
        return True
    # written by an earlier release
    paths = study.home.lake.read_column(described.table, "path", partition).dropna()
    return all(study.home.absolute(path).exists() for path in paths)
