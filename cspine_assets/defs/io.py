"""How an asset becomes a table: decorators that name, write, fingerprint and skip.

An asset module states its table, what it needs and a function that makes rows; all that is the same for every
asset stands here. What rows mean belongs to the domain, and which of them to make to the driver.
"""

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import dagster as dg
import pandas as pd
from pydantic import Field

from cspine_assets.defs.conditions import condition_of, freshness_of
from cspine_assets.defs.fingerprints import Described, Fingerprints, describe, is_current, standing_stamp
from cspine_assets.defs.partitions import CUT, external_predictors, folds, lake_partition, patients, trainings
from cspine_assets.defs.resources import Study, StudyResource
from cspine_assets.defs.row_files import named_files
from cspine_assets.defs.versions import materialization, recorded_already, standing_metadata, version_tags
from cspine_assets.domain.errors import CSpineError, TableError, unexpected_reason
from cspine_assets.domain.lake import Stamp
from cspine_assets.domain.tables.base import Table, arrow_schema, column_comment

OWNERS = ("team:cspine-assets",)
FORCE_TAG = "cspine/force"
"""A run with this tag makes all of its assets again, also what is up to date; a person sets ``RunConfig.force``."""

# the page hides tags of this prefix: they are the driver's own notes, and would fill the list of runs
EVALUATION_TAG = ".dagster/cspine_evaluation"
"""Names the evaluation that a run is a part of."""

PARTITION_ROWS, WHOLE_ROWS = "dagster/partition_row_count", "dagster/row_count"
"""Dagster's names for the rows of a partition and of the table that it is a part of."""

BEGAN_TAG = ".dagster/cspine_began"
"""When that evaluation began, in seconds since 1970."""


_CUT_NAMES: dict[dg.PartitionsDefinition | None, str] = {
    patients: "patient",
    folds: "fold",
    trainings: "model",
    external_predictors: "external_predictor",
}


class RunConfig(dg.Config):
    """What a person may set for one asset in one run; the launchpad shows each field with its description."""

    force: bool = Field(
        default=False,
        description="Make it again although it is up to date. Without it, what is up to date is recorded as it is.",
    )


@dataclass(frozen=True)
class Made:
    """What an asset's function gives back.

    Attributes:
        frame: The table's rows, or those of the partition.
        metadata: What to show.
        notes: What to keep beside the rows.
        others: Other partitions that have become something else together with this one, by their keys.
    """

    frame: pd.DataFrame
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    others: Mapping[str, "Made"] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """What an asset's function gives back where what stands stays in force.

    Attributes:
        reason: Why, for the log.
        metadata: What to note on the page.
    """

    reason: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MadePatient:
    """The rows of one patient.

    Attributes:
        patient_id: Partition key.
        frame: The patient's rows, also those of exams that failed.
        metadata: What to show on the patient's materialization.
        failure: Why the patient stays missing, or None.
    """

    patient_id: str
    frame: pd.DataFrame
    metadata: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None


Make = Callable[[dg.AssetExecutionContext, Study], Made | Kept]
MakePatients = Callable[[dg.AssetExecutionContext, Study, list[str]], Iterator[MadePatient]]


def table_asset(
    table: type[Table],
    *,
    deps: Iterable[type[Table]] = (),
    version: str,
    kinds: Iterable[str] = ("parquet",),
    source: Callable[[Study, str | None], str] | None = None,
    pool: str | None = None,
    appended: bool = False,
    config: type[RunConfig] = RunConfig,
) -> Callable[[Make], dg.AssetsDefinition]:
    """Makes an asset whose key, table and folder in the lake are one name.

    Args:
        table: What the function makes.
        deps: Tables that it reads.
        version: Version of the code; raise it when the same inputs would give other rows in the same columns.
        kinds: What the asset is made with, for the page.
        source: Fingerprint of inputs that are no tables, such as files of the download, for a partition.
        pool: Concurrency pool that a run takes a slot of.
        appended: Whether the function makes rows to add, and what stands is never rewritten.
        config: What a single run may choose for itself.
    """
    described = describe(table, deps=deps, version=version, source=source, appended=appended)

    def decorate(make: Make) -> dg.AssetsDefinition:
        # without an annotation: Dagster takes no union of the two results, and data versions of an output are beta
        def asset(context: dg.AssetExecutionContext, study: StudyResource):  # type: ignore[no-untyped-def]  # noqa: ANN202
            config_of_run = context.op_execution_context.op_config
            opened = study.open({k: v for k, v in config_of_run.items() if k not in RunConfig.model_fields})
            key = context.partition_key if context.has_partition_key else None
            recorded = _make_whole(context, opened, described, key, make)
            if recorded is None:
                return recorded_already()
            stamp, metadata = recorded
            return dg.MaterializeResult(
                metadata={**metadata, **row_counts(described, stamp, opened.home.lake.count(described.table))},
                data_version=dg.DataVersion(stamp.fingerprint),
            )

        definition: dg.AssetsDefinition = dg.asset(
            **_named(described, make, kinds, config),
            partitions_def=described.partitions_def,
            backfill_policy=dg.BackfillPolicy.multi_run() if described.partitions_def else None,
            pool=pool,
        )(asset)
        return definition

    return decorate


def patient_asset(
    table: type[Table],
    *,
    deps: Iterable[type[Table]],
    version: str,
    backfill_policy: dg.BackfillPolicy,
    kinds: Iterable[str] = ("parquet",),
    source: Callable[[Study, str | None], str] | None = None,
    pool: str | None = None,
) -> Callable[[MakePatients], dg.AssetsDefinition]:
    """Makes an asset cut by patient, in which patients fail alone.

    The function yields patients as they are done; each is written at once, so that a killed run loses only those in
    flight. A patient who fails stays missing: the good ones are recorded, and the run then fails with the list.

    Args:
        table: What the function makes.
        deps: Tables that it reads.
        version: Version of the code; raise it when the same inputs would give other rows in the same columns.
        backfill_policy: Must differ from that of the neighbours in a chain of patient assets: with the same policy
            Dagster puts both into one run, and when a patient fails in the first the second never runs for anybody.
        kinds: What the asset is made with, for the page.
        source: Fingerprint of inputs that are no tables, such as files of the download, for a patient.
        pool: Concurrency pool that a run takes a slot of.
    """
    described = describe(table, deps=deps, version=version, source=source)

    def decorate(make: MakePatients) -> dg.AssetsDefinition:
        def asset(context: dg.AssetExecutionContext, study: StudyResource) -> dg.Output[None]:
            return _make_patients(context, study.open(), described, make)

        definition: dg.AssetsDefinition = dg.asset(
            **_named(described, make, kinds, RunConfig),
            partitions_def=patients,
            backfill_policy=backfill_policy,
            output_required=False,
            pool=pool,
        )(asset)
        return definition

    return decorate


def _named(
    described: Described, make: Callable[..., Any], kinds: Iterable[str], config: type[RunConfig]
) -> dict[str, Any]:
    """Returns what names and explains an asset on the page, all from its table's description and its configuration."""
    table = described.table
    schema, name = table.full_name().split(".")
    return {
        "name": name,
        "key_prefix": schema,
        "group_name": schema,
        "description": f"{table.comment()}\n\n{inspect.getdoc(make) or ''}".strip(),
        "deps": [_dependency(parent, described) for parent in described.deps],
        "owners": list(OWNERS),
        "kinds": set(kinds),
        "config_schema": config.to_config_schema(),
        "dagster_type": dg.Nothing,
        "code_version": described.version,
        "automation_condition": condition_of(table, described.partitions_def),
        "freshness_policy": freshness_of(table),
        "tags": {"partitioned_by": _CUT_NAMES.get(described.partitions_def, "nothing")},
        "metadata": {
            "dagster/table_name": table.full_name(),
            "dagster/column_schema": column_schema(table),
            "dagster/code_references": _source_of(make),
        },
    }


def _source_of(make: Callable[..., Any]) -> dg.CodeReferencesMetadataValue:
    """Returns where an asset's own function stands, as the page links to it."""
    place = dg.LocalFileCodeReference(
        file_path=make.__code__.co_filename, line_number=make.__code__.co_firstlineno, label=make.__name__
    )
    return dg.CodeReferencesMetadataValue(code_references=[place])


def _dependency(parent: type[Table], child: Described) -> dg.AssetDep:
    """Returns how a child hangs on a parent, in Dagster's words; `fingerprints` says the same in ours.

    Patients hang on themselves, a fold on its two trainings, as Dagster sees by itself. A child cut otherwise than its
    parent needs all of it.
    """
    cut = CUT.get(parent)
    same = cut is child.partitions_def or (cut is trainings and child.partitions_def is folds)
    if cut is None or child.partitions_def is None or same:
        return dg.AssetDep(asset_key(parent))
    return dg.AssetDep(asset_key(parent), partition_mapping=dg.AllPartitionMapping())


def asset_key(table: type[Table]) -> dg.AssetKey:
    """Returns the asset key of a table: its own name."""
    return dg.AssetKey(table.full_name().split("."))


def column_schema(table: type[Table]) -> dg.TableSchema:
    """Returns a table's columns with their descriptions and units, as the page shows them."""
    columns = []
    for column in arrow_schema(table):
        columns.append(
            dg.TableColumn(
                name=column.name,
                type=str(column.type),
                description=column_comment(column),
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable, unique=table.key_columns() == [column.name]
                ),
            )
        )
    return dg.TableSchema(columns=columns)


def _make_whole(
    context: dg.AssetExecutionContext, study: Study, described: Described, key: str | None, make: Make
) -> tuple[Stamp, Mapping[str, Any]] | None:
    """Makes a table or one fold of it, unless what stands was made from the same inputs.

    Returns:
        What is to be recorded, or None where what stands stays as it was recorded.
    """
    partition = lake_partition(key) if key else None
    inputs = Fingerprints(study).inputs(described, key)
    if inputs is None:
        raise _nothing_to_work_on(described, study, key)
    standing = standing_stamp(study, described, key)
    if not is_forced(context) and standing is not None and is_current(study, described, key, inputs):
        context.log.info(f"{described.table.full_name()} is up to date and recorded as it is; `force` makes it again.")
        return standing, standing_metadata(context.instance, context.asset_key, key, standing.fingerprint)
    try:
        made = make(context, study)
        if isinstance(made, Kept):
            _keep(context, key, standing, made)
            return None
        if described.appended:
            stamp = study.home.lake.append(described.table, made.frame, inputs=inputs)
        else:
            stamp = study.home.lake.write(
                described.table,
                made.frame,
                partition=partition,
                inputs=inputs,
                notes=made.notes,
                files=named_files(study, described.table, made.frame),
            )
    except CSpineError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    for other, of_other in made.others.items():
        _write_other(context, study, described, other, of_other)
    return stamp, made.metadata


def _keep(context: dg.AssetExecutionContext, key: str | None, standing: Stamp | None, kept: Kept) -> None:
    """Notes on the page why what stands stays in force, and leaves its record as it is.

    Raises:
        Failure: Nothing stands: there is nothing that could be in force.
    """
    context.log.info(kept.reason)
    if standing is None:
        raise dg.Failure(f"{kept.reason} No model is recorded yet.", allow_retries=False)
    context.log_event(dg.AssetObservation(context.asset_key, partition=key, metadata=kept.metadata))


def _write_other(context: dg.AssetExecutionContext, study: Study, described: Described, key: str, made: Made) -> None:
    """Writes and records a partition that has become something else together with the one that was asked for."""
    inputs = Fingerprints(study).inputs(described, key)
    if inputs is None or is_current(study, described, key, inputs):
        return
    lake = study.home.lake
    stamp = lake.write(
        described.table,
        made.frame,
        partition=lake_partition(key),
        inputs=inputs,
        notes=made.notes,
        files=named_files(study, described.table, made.frame),
    )
    shown = {**made.metadata, **row_counts(described, stamp, lake.count(described.table))}
    context.log_event(materialization(context.asset_key, key, stamp.fingerprint, shown, version_tags(context)))


def row_counts(described: Described, stamp: Stamp, rows: int) -> dict[str, int]:
    """Returns the numbers of rows that a record shows: those of the whole table, and those of a part of it."""
    part = {} if described.partitions_def is None and not described.appended else {PARTITION_ROWS: stamp.rows}
    return {**part, WHOLE_ROWS: rows}


def _make_patients(
    context: dg.AssetExecutionContext, study: Study, described: Described, make: MakePatients
) -> dg.Output[None]:
    """Makes the patients that are not up to date, writing each as it comes, and records all that stand."""
    keys = list(context.partition_keys)
    if not keys:
        raise dg.Failure(
            "expected patients, this range holds none. Give the earlier patient first.", allow_retries=False
        )
    fingerprints = Fingerprints(study)
    inputs = {key: fingerprints.inputs(described, key) for key in keys}
    failures = {key: "something that it is made from is missing" for key in keys if inputs[key] is None}
    current = [
        key
        for key in keys
        if inputs[key] and not is_forced(context) and is_current(study, described, key, str(inputs[key]))
    ]
    stamps = {key: study.home.lake.stamp(described.table, key) for key in current}
    metadata: dict[str, Mapping[str, Any]] = {
        key: standing_metadata(context.instance, context.asset_key, key, stamp.fingerprint)
        for key, stamp in stamps.items()
        if stamp is not None
    }
    todo = [key for key in keys if key not in failures and key not in stamps]
    try:
        for made in make(context, study, todo) if todo else ():
            try:
                stamps[made.patient_id] = study.home.lake.write(
                    described.table,
                    made.frame,
                    partition=made.patient_id,
                    inputs=str(inputs[made.patient_id]),
                    complete=made.failure is None,
                    files=named_files(study, described.table, made.frame),
                )
            except TableError as error:  # rows that do not fit their description are this patient's alone
                failures[made.patient_id] = str(error)
                continue
            metadata[made.patient_id] = made.metadata
            if made.failure is not None:
                failures[made.patient_id] = made.failure
    except Exception as error:  # noqa: BLE001 - the patients who are done stay done, whatever ended the others
        # where, and not what: the message of an error that nobody foresaw may quote a header
        context.log.error("".join(traceback.format_tb(error.__traceback__)))
        why = str(error) if isinstance(error, CSpineError) else unexpected_reason(described.table.full_name(), error)
        failures |= {key: f"the run ended before: {why}" for key in todo if key not in stamps}
    failures |= {key: "nothing was made and no reason was given" for key in keys if key not in {*stamps, *failures}}
    rows = study.home.lake.count(described.table)
    good = {key: stamp for key, stamp in stamps.items() if stamp is not None and key not in failures}
    tags = version_tags(context)
    for key, stamp in sorted(good.items()):
        shown = {**metadata[key], **row_counts(described, stamp, rows)}
        context.log_event(materialization(context.asset_key, key, stamp.fingerprint, shown, tags))
    if failures:
        _fail(context, failures, len(keys))
    return recorded_already()


def _fail(context: dg.AssetExecutionContext, failures: Mapping[str, str], asked: int) -> NoReturn:
    """Ends a run red with the list of the patients that failed; the others are recorded.

    What the page showed of such a patient before stays in its history, below a note of the failure.
    """
    for key, reason in sorted(failures.items()):
        context.log.error(f"{key}: {reason}")
        failed = {"status": "failed", "reason": reason}
        context.log_event(dg.AssetObservation(context.asset_key, partition=key, metadata=failed))
    lines = [f"{key}: {reason}" for key, reason in sorted(failures.items())]
    raise dg.Failure(
        description=f"{len(failures)} of {asked} patients stay missing: " + "; ".join(lines[:20]),
        metadata={"failed_patients": dg.MetadataValue.json(dict(sorted(failures.items())))},
        allow_retries=False,
    )


def _nothing_to_work_on(described: Described, study: Study, key: str | None) -> dg.Failure:
    missing = ", ".join(Fingerprints(study).missing(described, key))
    return dg.Failure(
        f"{described.table.full_name()} is made from tables that are not there yet: {missing}. "
        "Materialize them first, or run `cspine materialize`, which keeps the order.",
        allow_retries=False,
    )


def is_forced(context: dg.AssetExecutionContext) -> bool:
    """Whether what is up to date is to be made again, as the run's configuration or the driver says."""
    return bool(context.op_execution_context.op_config["force"]) or context.run.tags.get(FORCE_TAG) == "true"
