"""`cspine demo`: the whole study on a synthetic cohort, by one command on a laptop's CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cspine_assets.cli.options import HomeOption

if TYPE_CHECKING:
    from rich.console import Console

    from cspine_assets.cli.progress import StageDisplay
    from cspine_assets.domain.home import Home, HomeSettings

PATIENTS = 18
TO_C7_EVERY = 8
MATRIX = 96
SEED = 20251021
"""The day the data descriptor appeared; any other number makes another cohort."""

DICE = """
select predictor, structure, n as exams,
       round(max(mean) filter (where metric = 'dice_volumetric'), 3) as dice_volumetric,
       round(max(mean) filter (where metric = 'dice_slice_mean'), 3) as dice_slice_mean
from evaluation.test_summary
group by all order by predictor, structure desc
"""

QUESTIONS = {
    "How well does each model do, exam by exam and in all?": (
        "select set, predictor, structure, avg(dice_volumetric) as dice, avg(dice_slice_mean) as by_slice, "
        "count(*) as exams "
        "from evaluation.exam_metrics group by all order by all"
    ),
    "Does the Dice differ between manufacturers?": (
        "select manufacturer, structure, count(*) as exams, median(dice_volumetric) as median_dice "
        "from evaluation.exam_metrics join cohort.exams using (exam_id) "
        "where predictor = 'ensemble' and set = 'cv' group by all order by all"
    ),
    "Which level is the hardest?": (
        "select structure, level, count(dice) as scored, count(*) - count(dice) as not_scored, "
        "median(dice) as median_dice from evaluation.level_metrics "
        "where predictor = 'ensemble' and set = 'cv' and view = 'mid_sagittal' and protocol = 'anatomical' "
        "group by all order by structure desc, level"
    ),
    "In how many exams are names of levels in doubt, and why?": (
        "select set, flags as why, count(*) as exams, sum(level_count) as levels "
        "from level_doubts group by all order by set, exams desc"
    ),
}

TABLES = "select table_name, kind, rows from warehouse.database order by table_name"


def demo(
    home: HomeOption = None,
    patients: Annotated[int, typer.Option(min=12, help="Synthetic patients.")] = PATIENTS,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic cohort.")] = SEED,
) -> None:
    """Make a synthetic cohort and the whole study of it through Dagster; call it again to go on where it stopped."""
    from rich.console import Console

    from cspine_assets.cli.study import make_study, show_lights, study_display
    from cspine_assets.defs.writer import sole_writer
    from cspine_assets.domain.home import Home, home_root

    console = Console()
    study_home = Home(home_root(home))
    with sole_writer(study_home), study_display(study_home, console) as display:
        study_home.open(_settings(study_home))
        _write_cohort(study_home, display, patients=patients, seed=seed)
        make_study(study_home, display)
    if any(report.failures for report in display.reports):
        raise typer.Exit(1)
    if not display.reports:
        show_lights(study_home, console)
    _show_results(study_home, console)


def _settings(home: Home) -> HomeSettings:
    from cspine_assets.domain.home import HomeSettings

    source = home.root / "demo_download"
    return HomeSettings(profile="demo", source=str(source), provenance=str(source / "annotation_provenance.json"))


def _write_cohort(home: Home, display: StageDisplay, *, patients: int, seed: int) -> None:
    """Writes the synthetic download where there is none; it is written whole or not at all."""
    import json
    import time
    from pathlib import Path

    from cspine_assets.domain.errors import HomeError
    from cspine_assets.domain.files import write_text
    from cspine_assets.domain.phantom.cohort import write_cohort
    from cspine_assets.domain.phantom.settings import CohortSettings

    source, record = Path(_settings(home).source), home.root / "demo_cohort.json"
    asked = {"patients": patients, "seed": seed}
    if source.exists():
        standing = json.loads(record.read_text(encoding="utf-8")) if record.exists() else asked
        if standing != asked:
            raise HomeError(
                f"{home.root} holds a cohort of --patients {standing['patients']} --seed {standing['seed']}; asked for "
                f"was --patients {patients} --seed {seed}. Say the same again to go on, or another --home."
            )
        return
    start = time.perf_counter()
    write_text(record, json.dumps(asked) + "\n")
    # some masks leave the names of their levels open, so that the demo shows what becomes of them
    settings = CohortSettings(patients=patients, seed=seed, matrix=MATRIX, expert_fraction=0.8, to_c7_every=TO_C7_EVERY)
    write_cohort(source, settings)
    display.note_cost(f"synthetic cohort of {patients} patients", time.perf_counter() - start)


def _show_results(home: Home, console: Console) -> None:
    """Prints the Dice of the test exams, some questions with their answers, and what to do next."""
    from shlex import quote

    from cspine_assets.cli.answers import print_answer
    from cspine_assets.cli.itself import callable_name
    from cspine_assets.domain.warehouse.read import query

    warning = "[bold yellow]Demo profile on a synthetic cohort: these numbers say nothing about patients.[/]"
    cspine, option = callable_name(), f" --home {quote(str(home.root))}"
    console.rule("Test exams: mean Dice by model and structure")
    console.print(warning)
    print_answer(console, query(home.database, DICE))
    for question, statement in QUESTIONS.items():
        console.rule(question)
        _print_command(console, f'{cspine} sql{option} "{statement}"')
        print_answer(console, query(home.database, statement))
    console.rule("What next")
    console.print(warning)
    for command, what in (
        (f"{cspine} dev{option}", "the Dagster page: every table with its columns, its checks and its history"),
        (str(home.report / "study.html"), "the report: the study on one page, in any browser"),
        (f'{cspine} sql{option} "{TABLES}"', "the tables"),
        (
            f"{cspine} predict SCAN{option} --out MASK.nii.gz",
            "the ensemble on a scan of yours (NIfTI or DICOM)",
        ),
        ("docs/notebooks/study.ipynb", "the published study's questions, asked of this home in a notebook"),
        (f"{cspine} materialize --home OTHER_HOME --source DOWNLOAD", "the same study on the real download"),
    ):
        _print_command(console, f"  {command}")
        console.print(f"      {what}", highlight=False)


def _print_command(console: Console, command: str) -> None:
    """Prints a command so that it can be copied as it stands."""
    console.print(command, style="cyan", soft_wrap=True, markup=False, highlight=False)
