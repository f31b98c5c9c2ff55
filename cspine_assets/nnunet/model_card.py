"""The model card: what a model was made from, how good it is, and what it may be used for.

Add a field when whoever gets a model must know something more. A card travels, so nothing of a patient is in it:
numbers over exams, hashes and versions alone. Where it lies is the archive's business.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated, Final, Literal

from pydantic import Field

from cspine_assets.domain.anatomy import LABELS
from cspine_assets.nnunet.messages import Frozen
from cspine_assets.nnunet.postprocessing import Postprocessing
from cspine_assets.nnunet.prediction import Predictor

CARD_FILE: Final = "model_card.json"
READABLE_CARD_FILE: Final = "MODEL_CARD.md"
NO_LICENCE: Final = "not stated: ask whoever trained the model; the data's own agreement binds as well"
DEMO_WARNING: Final = (
    "DEMO MODEL: small networks, trained for minutes to show that the way works. Its numbers and masks are no results."
)
_SOURCE = "CSpineSeg, Scientific Data 12:1695 (2025), from MIDRC under its data use agreement"

Words = Annotated[str, Field(max_length=2_000)]


class CardMetric(Frozen):
    """One number over exams, as in ``evaluation.fold_summary`` or ``evaluation.test_summary``.

    Attributes:
        set_name: ``cv`` or ``test``, with the provenance of the references where experts did not draw them.
        n: Exams with a value.
    """

    set_name: Words
    predictor: Words
    structure: Words
    metric: Words
    n: int
    mean: float | None
    sd_sample: float | None
    median: float | None


class ModelCard(Frozen):
    """What a model says of itself.

    Attributes:
        profile: ``full`` or ``demo``.
        configurations: nnU-Net's, with the folds of each.
        data_fingerprint: SHA-256 over the contents of the training cases.
        split_sha256: Of the split that folds and test set come from.
        annotation_provenance: Training cases by who drew their masks.
        metrics: By cross-validation and on the test set.
        postprocessing: Chosen for each predictor.
        licence: In the words of whoever exported the model.
        versions: Of what it was made with.
        checkpoints: SHA-256 of each checkpoint by its path in the archive.
    """

    format: Literal["cspine-model-card-1"] = "cspine-model-card-1"
    dataset: Words
    profile: Words
    warning: Words | None
    configurations: dict[str, tuple[int, ...]]
    training_cases: int
    training_patients: int
    data_fingerprint: Words
    split_sha256: Words
    annotation_provenance: dict[str, int]
    labels: dict[str, int]
    disable_tta: bool
    step_size: float
    postprocessing: dict[Predictor, Postprocessing]
    metrics: tuple[CardMetric, ...]
    source: Words = _SOURCE
    licence: Words = NO_LICENCE
    intended_use: Words = "Research. Not a medical device: not meant for diagnosis or treatment."
    versions: dict[str, Words]
    checkpoints: dict[str, Words]


def study_labels() -> dict[str, int]:
    """The label of each structure."""
    return {structure.value: label for structure, label in LABELS.items()}


def current_versions() -> dict[str, str]:
    """Versions of what makes a model what it is."""
    packages = ("cspine-assets", "nnunetv2", "torch", "numpy")
    return {"python": sys.version.split()[0], **{name: version(name) for name in packages}}


def readable(card: ModelCard) -> str:
    """The card as Markdown."""
    lines = [f"# {card.dataset}", ""]
    if card.warning:
        lines += [f"> **{card.warning}**", ""]
    folds = "; ".join(f"{name}, folds {', '.join(map(str, numbers))}" for name, numbers in card.configurations.items())
    trained = ", ".join(f"{count} drawn by {who}" for who, count in card.annotation_provenance.items())
    lines += [
        f"- Profile: {card.profile}",
        f"- Models: {folds}",
        f"- Trained on: {card.training_cases} exams of {card.training_patients} patients; masks: {trained}",
        f"- Data: {card.source}",
        f"- Data fingerprint: `{card.data_fingerprint}`",
        f"- Split: `{card.split_sha256}`",
        f"- Labels: {', '.join(f'{label} {name}' for name, label in card.labels.items())}",
        f"- Prediction: disable_tta {card.disable_tta}, step_size {card.step_size:g}",
        f"- Postprocessing: {', '.join(f'{name}: {option}' for name, option in card.postprocessing.items())}",
        f"- Licence: {card.licence}",
        f"- Use: {card.intended_use}",
        f"- Versions: {', '.join(f'{name} {number}' for name, number in card.versions.items())}",
        "",
        "| set | predictor | structure | metric | exams | mean | SD (n - 1) | median |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in card.metrics:
        numbers = " | ".join("" if value is None else f"{value:.4f}" for value in (one.mean, one.sd_sample, one.median))
        lines.append(f"| {one.set_name} | {one.predictor} | {one.structure} | {one.metric} | {one.n} | {numbers} |")
    lines += ["", "Postprocessing was chosen on the exams of set cv: what it gains there is a little too good."]
    return "\n".join(lines) + "\n"
