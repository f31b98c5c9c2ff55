"""Predicting cases with trained folds: 2d, 3d_fullres and their ensemble, in one child process.

Change this file when what is predicted, how predictions are named, or what becomes of a child that dies over a case
changes. The arithmetic of the ensemble stands in ``children.ensemble``; measuring the masks is evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.devices import Device, Slot
from cspine_assets.nnunet.environment import KEPT_MEMORY, NnunetFolders, child_environment
from cspine_assets.nnunet.finished_cases import drop_case
from cspine_assets.nnunet.fold_folder import FINAL_CHECKPOINT, model_folder
from cspine_assets.nnunet.messages import CaseFailed, CasePredicted, CaseStage, ChildMessage, Frozen
from cspine_assets.nnunet.postprocessing import Postprocessing
from cspine_assets.nnunet.process import ChildLostError, Supervision, run_child
from cspine_assets.nnunet.profiles import Configuration, Profile

HEARTBEAT_TIMEOUT_S = 600.0
"""A predicting child gives a sign of life at every stage of a case, and within a network's every few seconds; the
longest silence is the loading of ten models from a slow disk, or one tile of a large network on a busy CPU."""

LOST_IN_A_ROW = 3
"""Children that may die or hang one after the other without a single case done: then it is the machine, no case."""


class Predictor(StrEnum):
    """Who made a mask: a configuration, or the mean of both."""

    FLAT = "2d"
    FULL_RESOLUTION = "3d_fullres"
    ENSEMBLE = "ensemble"


class Model(Frozen):
    """Trained folds of one configuration, averaged as logits.

    Attributes:
        configuration: Of the folds.
        model_folder: ``.../nnUNetTrainer__nnUNetPlans__2d``.
        folds: All for cases that no fold has seen; the one that held them out for cross-validation.
    """

    configuration: Configuration
    model_folder: Path
    folds: tuple[int, ...]


class PredictionSettings(Frozen):
    """How masks are drawn, with nnU-Net's own names.

    Attributes:
        disable_tta: Do not average over mirrored copies.
        step_size: Of the sliding window, as a share of the patch.
        save_probabilities: Also keep ``.npz`` and ``.pkl`` beside each mask, as nnU-Net writes them: 32 MB for a
            volume of 448 x 448 x 15 and each predictor.
    """

    disable_tta: bool
    step_size: float
    save_probabilities: bool = False


class PredictionCase(Frozen):
    """One volume to predict.

    Attributes:
        case_id: The exam's id.
        image: The volume.
        inputs: SHA-256 over all that its masks come from, or None: then they are never taken for up to date.
    """

    case_id: str
    image: Path
    inputs: str | None = None


class PredictRequest(Frozen):
    """What the predicting child is asked for."""

    models: tuple[Model, ...]
    cases: tuple[PredictionCase, ...]
    out_folder: Path
    device: Device
    settings: PredictionSettings
    postprocessing: dict[Predictor, Postprocessing]


class Prediction(Frozen):
    """What came of a prediction: every case is in one of the two.

    Attributes:
        predicted: Cases whose masks are on the disk.
        failed: The others, each with its reason.
    """

    predicted: tuple[str, ...]
    failed: tuple[CaseFailed, ...]


def model_of(
    folders: NnunetFolders, dataset: str, configuration: Configuration, folds: Sequence[int], *, profile: Profile
) -> Model:
    """The trained folds of one configuration; the profile names trainer and plans.

    Raises:
        ModelError: A fold has no final checkpoint.
    """
    folder = model_folder(folders, dataset, configuration, profile)
    missing = [fold for fold in folds if not (folder / f"fold_{fold}" / FINAL_CHECKPOINT).is_file()]
    if missing or not folds:
        raise ModelError(f"{folder}: expected trained folds {list(folds)}, missing are {missing}; train them first")
    return Model(configuration=configuration, model_folder=folder, folds=tuple(folds))


def predictors_of(models: Sequence[Model]) -> tuple[Predictor, ...]:
    """Who draws a mask where these models predict: each, and the ensemble of two."""
    single = tuple(Predictor(model.configuration) for model in models)
    return (*single, Predictor.ENSEMBLE) if len(models) > 1 else single


def mask_path(out_folder: Path, predictor: Predictor, case_id: str) -> Path:
    """Where the mask of a case lies: ``{out_folder}/{predictor}/{case_id}.nii.gz``."""
    return out_folder / predictor / f"{case_id}.nii.gz"


def predict_cases(
    models: Sequence[Model],
    cases: Sequence[PredictionCase],
    out_folder: Path,
    *,
    settings: PredictionSettings,
    postprocessing: Mapping[Predictor, Postprocessing],
    slot: Slot,
    supervision: Supervision,
) -> Prediction:
    """Predict all cases; models are loaded once, probabilities touch the disk only if asked for.

    Writes a mask per model's configuration and, where there are two models, the ensemble's: the mean of their
    softmax on the original grid. The files equal those of nnU-Net's own commands byte for byte, those of
    ``nnUNetv2_apply_postprocessing`` included where a predictor has postprocessing.

    A case over which the child hangs or dies fails alone: a fresh child goes on with the others. A case that fails has
    no mask afterwards, not even one that it had before: that is of other inputs.

    Args:
        models: One or two, of different configurations.
        cases: Volumes oriented like the training volumes.
        out_folder: Receives a folder per predictor.
        settings: How masks are drawn.
        postprocessing: What is done to the masks of each predictor; nothing to one that is not named.
        slot: The device to predict on, leased by the caller.
        supervision: Of the child. Its listener hears of every stage and every case.

    Raises:
        ModelError: The models cannot be used, or no child lives long enough to finish a case. A case that fails is
            in the result instead.
    """
    if len({model.configuration for model in models}) != len(models) or not models:
        raise ModelError(f"expected models of different configurations, got {[m.configuration for m in models]}")
    request = PredictRequest(
        models=tuple(models),
        cases=(),
        out_folder=out_folder,
        device=slot.device,
        settings=settings,
        postprocessing={name: postprocessing.get(name, Postprocessing.NONE) for name in predictors_of(models)},
    )
    environment = child_environment(NnunetFolders.under(out_folder / "unused"), workers=1, augmentation_workers=1)
    heard = _Heard(supervision, out_folder)
    lost_in_a_row = 0
    while left := [case for case in cases if case.case_id not in heard.outcomes]:
        done = len(heard.outcomes)
        try:
            run_child(
                "cspine_assets.nnunet.children.predict",
                request.model_copy(update={"cases": tuple(left)}),
                result_type=Prediction,
                env=environment | KEPT_MEMORY | slot.env,
                supervision=replace(supervision, on_message=heard.listen),
            )
        except ChildLostError as error:
            lost_in_a_row = 1 if len(heard.outcomes) > done else lost_in_a_row + 1
            if heard.at is None or lost_in_a_row == LOST_IN_A_ROW:
                raise
            heard.give_up(error)
    return heard.prediction(cases)


@dataclass
class _Heard:
    """What the children have told so far, across those that were lost."""

    supervision: Supervision
    out_folder: Path
    outcomes: dict[str, CasePredicted | CaseFailed] = field(default_factory=dict)
    at: CaseStage | None = None

    def listen(self, message: ChildMessage) -> None:
        """Remembers where the child is, and hands the message on."""
        if isinstance(message, CaseStage):
            self.at = message
        if isinstance(message, CasePredicted | CaseFailed):
            self.outcomes[message.case_id] = message
            self.at = None
        if isinstance(message, CaseFailed):
            drop_case(self.out_folder, message.case_id)
        self.supervision.on_message(message)

    def give_up(self, error: ChildLostError) -> None:
        """Lets the case fail over which the child was lost."""
        if self.at is None:
            raise error
        what = str(error).split("; its last lines:")[0]
        self.listen(CaseFailed(case_id=self.at.case_id, reason=f"at stage '{self.at.stage}': {what}"))

    def prediction(self, cases: Sequence[PredictionCase]) -> Prediction:
        """What came of the cases, in their order."""
        outcomes = [self.outcomes[case.case_id] for case in cases]
        return Prediction(
            predicted=tuple(outcome.case_id for outcome in outcomes if isinstance(outcome, CasePredicted)),
            failed=tuple(outcome for outcome in outcomes if isinstance(outcome, CaseFailed)),
        )
