"""How a person wants masks to be drawn, in nnU-Net's own names; kept in the home.

Add a choice here when a person needs one. What a choice does stands in ``prediction``, the profiles' own numbers in
``profiles``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import write_text
from cspine_assets.nnunet.choices import findings, read_kept
from cspine_assets.nnunet.messages import Frozen
from cspine_assets.nnunet.prediction import HEARTBEAT_TIMEOUT_S, PredictionSettings
from cspine_assets.nnunet.profiles import Profile

SETTINGS_FILE: Final = "prediction.json"


class PredictionChoices(Frozen):
    """Choices that stand in for those of the profile; one that is None is the profile's.

    Attributes:
        disable_tta: Do not average over mirrored copies. Changes masks.
        step_size: Of the sliding window, as a share of the patch. Changes masks.
        save_probabilities: Also keep probabilities, as nnU-Net does.
        heartbeat_timeout_s: A prediction that is silent for longer is taken for hung.
    """

    disable_tta: bool | None = None
    step_size: Annotated[float, Field(gt=0, le=1)] | None = None
    save_probabilities: bool | None = None
    heartbeat_timeout_s: Annotated[float, Field(gt=0)] | None = None

    def settings(self, profile: Profile) -> PredictionSettings:
        """What masks are drawn with in a study of this profile."""
        return PredictionSettings(
            disable_tta=profile.disable_tta if self.disable_tta is None else self.disable_tta,
            step_size=profile.step_size if self.step_size is None else self.step_size,
            save_probabilities=bool(self.save_probabilities),
        )

    @property
    def silence_s(self) -> float:
        """How long a prediction may be silent."""
        return HEARTBEAT_TIMEOUT_S if self.heartbeat_timeout_s is None else self.heartbeat_timeout_s


def read_choices(home: Path) -> PredictionChoices:
    """The choices kept in a home; none where nobody has chosen anything.

    Raises:
        ModelError: The file cannot be understood.
    """
    return read_kept(home / SETTINGS_FILE, PredictionChoices, command="cspine prediction")


def write_choices(home: Path, choices: PredictionChoices) -> None:
    """Keep choices in a home."""
    write_text(home / SETTINGS_FILE, choices.model_dump_json(indent=2, exclude_none=True) + "\n")


def changed(choices: PredictionChoices, anew: Mapping[str, object]) -> PredictionChoices:
    """Choices with some made anew; one that is None stays as it was.

    Raises:
        ModelError: A value is out of its range.
    """
    try:
        return PredictionChoices.model_validate(
            {**dict(choices), **{name: value for name, value in anew.items() if value is not None}}
        )
    except ValidationError as error:
        raise ModelError(f"predictions cannot be made like this: {findings(error)}") from error
