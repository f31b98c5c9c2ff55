"""What a child process says to its parent while it works: one frozen type per kind of message.

Add a type here when a child learns to report something new, and to ``ChildMessage`` with it.
How messages travel (``process``, ``children.entry``) and what a caller does with them do not belong here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cspine_assets.domain.anatomy import Structure


class Frozen(BaseModel):
    """Base of everything that crosses the border between two processes; NaN survives the journey."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Note(Frozen):
    """A sentence for the reader of a log: which stage began, or what was unusual."""

    kind: Literal["note"] = "note"
    text: str


class EpochFinished(Frozen):
    """One epoch of one training is over; ``epoch`` counts from 1 to ``epochs``.

    ``pseudo_dice`` is nnU-Net's own: over the patches of this epoch's validation, not over whole volumes;
    NaN where no patch held the structure. After a resume, epochs since the last checkpoint come again.
    """

    kind: Literal["epoch_finished"] = "epoch_finished"
    configuration: str
    fold: int
    epoch: int
    epochs: int
    train_loss: float
    val_loss: float
    pseudo_dice: dict[Structure, float]
    ema_pseudo_dice: float
    learning_rate: float
    seconds: float


class CasePredicted(Frozen):
    """All requested masks of one case are on the disk."""

    kind: Literal["case_predicted"] = "case_predicted"
    case_id: str
    seconds: float


class CaseFailed(Frozen):
    """One case could not be predicted, for this reason; the other cases go on."""

    kind: Literal["case_failed"] = "case_failed"
    case_id: str
    reason: str


ChildMessage = Annotated[Note | EpochFinished | CasePredicted | CaseFailed, Field(discriminator="kind")]


class Finished(Frozen):
    """The last line of a child that succeeded: its result as JSON, read by the caller's result type."""

    kind: Literal["finished"] = "finished"
    result_json: str


class Failed(Frozen):
    """The last line of a child that failed; the traceback is in the log."""

    kind: Literal["failed"] = "failed"
    error: str


ChannelLine = Annotated[
    Note | EpochFinished | CasePredicted | CaseFailed | Finished | Failed, Field(discriminator="kind")
]
