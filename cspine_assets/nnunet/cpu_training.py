"""A published training on a CPU: how long it would take here, and that it begins only with the user's consent.

Change this file when the limit between a training that begins and one that asks first changes.
The measuring child is ``children.trial``; the setting that gives consent stands in ``settings``.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.files import fingerprint_text
from cspine_assets.nnunet.environment import NnunetFolders, child_environment
from cspine_assets.nnunet.gpus import report_gpus
from cspine_assets.nnunet.messages import Frozen, Note
from cspine_assets.nnunet.pace import long_duration
from cspine_assets.nnunet.process import Supervision, run_child
from cspine_assets.nnunet.remembered import machine_name, recall, remember

if TYPE_CHECKING:
    from cspine_assets.nnunet.training import TrainRequest

CONSENT: Final = "cspine training allow_cpu=true"


class TrainingCost(Frozen):
    """What one training costs on this machine's CPU.

    Attributes:
        iteration_s: CPU time of one training iteration, its batch included.
        validation_iteration_s: CPU time of one iteration of the pseudo Dice, its batch included.
        iterations: Training iterations in all epochs.
        validation_iterations: Iterations of the pseudo Dice in all epochs.
    """

    iteration_s: float
    validation_iteration_s: float
    iterations: int
    validation_iterations: int

    @property
    def seconds(self) -> float:
        """Of the whole training on one core, without the validation of whole volumes at its end."""
        return self.iteration_s * self.iterations + self.validation_iteration_s * self.validation_iterations


class NoConsentError(ModelError):
    """A published training would run on a CPU, and nobody has allowed it."""


def require_consent(request: TrainRequest, folders: NnunetFolders, *, data: str, supervision: Supervision) -> None:
    """Refuse a published training on a CPU that has not been allowed; one of the demo's profile is never refused.

    Args:
        request: The training; its device is the one that was leased for it.
        folders: nnU-Net's folders, with preprocessed data.
        data: Fingerprint of plans and data; a time that was measured for them on this machine is not measured again.
        supervision: Of the training; its listener hears that a measurement begins.

    Raises:
        NoConsentError: It would run on a CPU without consent; says how long it would take and how to allow it.
        ModelError: The time cannot be measured.
    """
    profile = request.profile
    if request.device != "cpu" or profile.name != "full" or profile.allow_cpu:
        return
    cost = measured_cost(request, folders, data=data, supervision=supervision)
    name = f"{request.configuration} fold {request.fold}"
    report = report_gpus()
    why = report.sentence if report.problem else "The setting `devices` names the CPU."
    raise NoConsentError(
        f"{name}: expected a GPU for a training of the published profile, got the CPU. {why} "
        f"On this machine it would take about {long_duration(cost.seconds)} on one core "
        f"({cost.iteration_s:.1f} s for each of {cost.iterations} iterations). "
        f"To train on the CPU all the same, run `{CONSENT}`; fewer epochs: `cspine training num_epochs=N`."
    )


def measured_cost(
    request: TrainRequest, folders: NnunetFolders, *, data: str, supervision: Supervision
) -> TrainingCost:
    """Return what a training costs here, by a few iterations of its own network on its own data.

    Measured once for each kind of training, data and machine; folds cost the same.
    """
    configuration = request.configuration
    recipe = request.profile.training_part(configuration)
    key = fingerprint_text(machine_name(), version("torch"), data, configuration, recipe)
    known = recall("cpu-training", key, TrainingCost)
    if known is not None:
        return known
    supervision.on_message(Note(text=f"measuring how long {configuration} would train on this CPU"))
    cost = _measured(request, folders, supervision)
    if math.isfinite(cost.seconds):
        remember("cpu-training", key, cost)
    return cost


def _measured(request: TrainRequest, folders: NnunetFolders, supervision: Supervision) -> TrainingCost:
    log = supervision.log_path.with_name(f"measure-{request.configuration}-{request.fold}.log")
    with tempfile.TemporaryDirectory(prefix="cspine-measure-") as results:  # nothing of it belongs to the fold
        environment = child_environment(
            replace(folders, results=Path(results)), workers=1, augmentation_workers=0, compile_network=False
        )
        return run_child(
            "cspine_assets.nnunet.children.trial",
            request,
            result_type=TrainingCost,
            env=environment,
            supervision=replace(supervision, log_path=log),
        )
