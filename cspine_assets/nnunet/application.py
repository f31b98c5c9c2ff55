"""Models together with the way they are applied: an imported one follows its card, and where it has none, nnU-Net.

Change this file when a card says something more of prediction. What is imported and trusted stands in ``imported``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cspine_assets.nnunet.imported import ImportRecord, read_record, trusted_models
from cspine_assets.nnunet.postprocessing import Postprocessing
from cspine_assets.nnunet.prediction import Model, PredictionSettings, Predictor
from cspine_assets.nnunet.prediction_settings import PredictionChoices, changed
from cspine_assets.nnunet.profiles import FULL


@dataclass(frozen=True)
class Application:
    """Models, and how they are applied.

    Attributes:
        models: One or two configurations.
        settings: How masks are drawn.
        postprocessing: Of each predictor.
        is_demo: Whether the masks are no results.
    """

    models: Sequence[Model]
    settings: PredictionSettings
    postprocessing: Mapping[Predictor, Postprocessing]
    is_demo: bool


def imported_application(imported: Path, name: str, anew: Mapping[str, object]) -> Application:
    """Returns an imported model that is trusted, applied as its card says.

    Args:
        imported: Folder of imported models.
        name: The model.
        anew: Choices of ``PredictionChoices`` that stand before the card's; None leaves one as it is.

    Raises:
        ModelError: There is no such model, it is not trusted, or it has changed.
    """
    models = trusted_models(imported, name)
    card = read_record(imported, name).card
    said = {"disable_tta": card.disable_tta, "step_size": card.step_size} if card else {}
    choices = changed(changed(PredictionChoices(), said), anew)
    return Application(
        models, choices.settings(FULL), card.postprocessing if card else {}, is_demo=bool(card and card.warning)
    )


def provenance_of(record: ImportRecord) -> str:
    """Returns what is known of where an imported model comes from, in two sentences."""
    origin = f"Imported from {record.archive} (SHA-256 {record.archive_sha256})."
    if record.card is None:
        return f"{origin} It has no card: what it learned from is not known."
    card = record.card
    return (
        f"{origin} By its card, {card.training_cases} exams of {card.training_patients} patients of split "
        f"{card.split_sha256}, licence: {card.licence}."
    )
