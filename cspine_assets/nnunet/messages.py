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


class Beat(Frozen):
    """The child is still at it: the sign of life between messages that say more."""

    kind: Literal["beat"] = "beat"
    at: str


class CaseStage(Frozen):
    """A stage of one case began, or still goes on: repeated while it does, as the sign of life of a long one."""

    kind: Literal["case_stage"] = "case_stage"
    case_id: str
    stage: str


class CasePredicted(Frozen):
    """All requested masks of one case are on the disk.

    ``reused``: they lay there already, made from the same inputs, and nothing was predicted.
    """

    kind: Literal["case_predicted"] = "case_predicted"
    case_id: str
    seconds: float
    reused: bool = False


class CaseFailed(Frozen):
    """One case could not be predicted, for this reason; the other cases go on."""

    kind: Literal["case_failed"] = "case_failed"
    case_id: str
    reason: str


ChildMessage = Annotated[
    Note | EpochFinished | Beat | CaseStage | CasePredicted | CaseFailed, Field(discriminator="kind")
]


class Finished(Frozen):
    """The last line of a child that succeeded: its result as JSON, read by the caller's result type."""

    kind: Literal["finished"] = "finished"
    result_json: str


class Failed(Frozen):
    """The last line of a child that failed; the traceback is in the log.

    ``foreseen``: the error is one of ours and says all that there is to say.
    """

    kind: Literal["failed"] = "failed"
    error: str
    foreseen: bool = False


ChannelLine = Annotated[
    Note | EpochFinished | Beat | CaseStage | CasePredicted | CaseFailed | Finished | Failed,
    Field(discriminator="kind"),
]


def seconds_left(message: EpochFinished) -> float:
    """How long the epochs that remain will take, at the pace of this one."""
    return (message.epochs - message.epoch) * message.seconds


def described_message(message: ChildMessage) -> str:
    """What a message tells of where the child is, in a few words: for the error about one that fell silent."""
    match message:
        case Note():
            return message.text
        case Beat():
            return message.at
        case EpochFinished():
            return f"{message.configuration} fold {message.fold}, epoch {message.epoch} of {message.epochs} finished"
        case CaseStage():
            return f"case {message.case_id}, {message.stage}"
        case CasePredicted() | CaseFailed():
            return f"case {message.case_id} finished"
