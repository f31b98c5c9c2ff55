"""The study's models as one archive: what the card says is taken from the study's tables.

Change it when the card is to say more of the study. The archive itself is written by ``nnunet.archive``; the asset
and the command line both come here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cspine_assets.defs.in_force import models_in_force, rows_in_force
from cspine_assets.defs.resources import Study
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import write_text
from cspine_assets.domain.tables.base import rows_of
from cspine_assets.domain.tables.cohort import AnnotationProvenance
from cspine_assets.domain.tables.evaluation import FoldSummary, SummaryOnTest
from cspine_assets.domain.tables.nnunet import FOLDS, PostprocessingChoice, RawDataset
from cspine_assets.nnunet import dataset
from cspine_assets.nnunet.archive import Archive, write_archive
from cspine_assets.nnunet.choosing import chosen_options
from cspine_assets.nnunet.fold_folder import read_stamp
from cspine_assets.nnunet.model_card import (
    DEMO_WARNING,
    CardMetric,
    ModelCard,
    current_versions,
    readable,
    study_labels,
)
from cspine_assets.nnunet.profiles import Configuration


@dataclass(frozen=True)
class ArchivedModels:
    """A written archive with its card, also as text beside it."""

    archive: Archive
    card: ModelCard
    readable: str
    readable_path: Path


def archive_models(study: Study, destination: Path, *, licence: str) -> ArchivedModels:
    """Writes the models of a study as one zip, and the readable card beside it.

    Args:
        study: The study.
        destination: The zip.
        licence: Of the models, in the words of who exports them.

    Raises:
        ModelError: A fold is not trained, or not what its row says.
    """
    models = models_in_force(study)
    cards: list[ModelCard] = []

    def card_of(checkpoints: dict[str, str]) -> ModelCard:
        cards.append(_card(study, checkpoints, licence))
        return cards[-1]

    archive = write_archive(models, destination, card_of)
    text = readable(cards[-1])
    beside = destination.with_suffix(".md")
    write_text(beside, text)
    return ArchivedModels(archive, cards[-1], text, beside)


def _card(study: Study, checkpoints: dict[str, str], licence: str) -> ModelCard:
    """Returns the card of the study's models."""
    trained = study.read(RawDataset).query("part == 'imagesTr'")
    if trained.empty:
        raise ModelError("expected training cases in nnunet.raw_dataset, there are none. Materialize it first.")
    drawn = trained.merge(study.read(AnnotationProvenance)[["exam_id", "provenance"]], on="exam_id")["provenance"]
    settings, profile = study.prediction_settings, study.profile
    return ModelCard(
        dataset=str(dataset.ANNOTATED),
        profile=profile.name,
        warning=DEMO_WARNING if profile.name == "demo" else None,
        configurations=dict.fromkeys(Configuration, FOLDS),
        training_cases=len(trained),
        training_patients=trained["patient_id"].nunique(),
        data_fingerprint=_data_fingerprint(study),
        split_sha256=rows_in_force(study)["split_sha256"].iloc[0],
        annotation_provenance={str(who): int(count) for who, count in drawn.value_counts().sort_index().items()},
        labels=study_labels(),
        disable_tta=settings.disable_tta,
        step_size=settings.step_size,
        postprocessing=chosen_options(study.read(PostprocessingChoice)),
        metrics=(
            *_metrics(study.read(FoldSummary).query("fold == 'all'")),
            *_metrics(study.read(SummaryOnTest).query("predictor in @models", local_dict={"models": _PREDICTORS})),
        ),
        licence=licence,
        versions=current_versions(),
        checkpoints=checkpoints,
    )


def _data_fingerprint(study: Study) -> str:
    """Returns the fingerprint of the training cases as the models in force have it, which the dataset's may outgrow."""
    stamps = [read_stamp(study.home.absolute(path)) for path in rows_in_force(study)["path"]]
    known = {stamp.training_fingerprint for stamp in stamps if stamp is not None}
    if len(known) == 1:
        return known.pop()
    return dataset.read_training_fingerprint(study.home.nnunet_raw / str(dataset.ANNOTATED))


_PREDICTORS = [*Configuration, "ensemble"]


def _metrics(summary: pd.DataFrame) -> list[CardMetric]:
    return [
        CardMetric(
            set_name=row.set_name,
            predictor=row.predictor,
            structure=row.structure,
            metric=row.metric,
            n=int(row.n_used),
            mean=_number(row.mean),
            sd_sample=_number(row.sd_sample),
            median=_number(row.median),
        )
        for row in rows_of(summary)
    ]


def _number(value: Any) -> float | None:  # noqa: ANN401 - whatever pandas has in a column of numbers
    """Returns a number of a table, or None where it is missing."""
    return None if pd.isna(value) else float(value)
