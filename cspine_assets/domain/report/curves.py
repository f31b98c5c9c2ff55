"""Drawings of how a training went.

Add a drawing of numbers over epochs here. Pictures of exams stand in ``overlay`` and ``thumbnail``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from cspine_assets.domain.anatomy import Structure
from cspine_assets.domain.report.style import TITLES, fraction, new_figure, png_bytes


@dataclass(frozen=True)
class TrainingCurve:
    """A training epoch by epoch, all of one length.

    Attributes:
        epochs: Numbers of the epochs.
        train_loss: Loss on the training cases.
        validation_loss: Loss on the validation cases.
        pseudo_dice: nnU-Net's Dice of each structure over validation patches: a trend, not a result.
    """

    epochs: Sequence[int]
    train_loss: Sequence[float]
    validation_loss: Sequence[float]
    pseudo_dice: Mapping[Structure, Sequence[float]]


def curve_png(curve: TrainingCurve, *, title: str = "") -> bytes:
    """Returns a PNG of both losses (left axis) and the pseudo Dice (right axis) over epochs.

    A training that has no epoch yet gives empty axes; one of a single epoch its points.

    Args:
        curve: The training.
        title: A line above, such as configuration and fold.
    """
    figure = new_figure(6.4, 3.4)
    losses = figure.add_axes((0.1, 0.22, 0.8, 0.68))
    dice = losses.twinx()
    marker = "o" if len(curve.epochs) < 2 else ""
    series = [
        (losses, curve.train_loss, "#1c7ed6", "training loss"),
        (losses, curve.validation_loss, "#f08c00", "validation loss"),
        *((dice, values, fraction(one), f"pseudo Dice, {TITLES[one]}") for one, values in curve.pseudo_dice.items()),
    ]
    lines = [
        axes.plot(curve.epochs, values, color=colour, linewidth=1.3, marker=marker, label=name)[0]
        for axes, values, colour, name in series
    ]
    losses.set_xlabel("epoch", fontsize=8)
    losses.set_ylabel("loss", fontsize=8)
    dice.set_ylabel("pseudo Dice", fontsize=8)
    dice.set_ylim(0, 1)
    for axes in (losses, dice):
        axes.tick_params(labelsize=7)
        axes.spines["top"].set_visible(False)
    losses.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.grid(visible=True, color="0.9", linewidth=0.6)
    figure.legend(handles=lines, loc="lower center", ncols=4, fontsize=7, frameon=False, columnspacing=1.2)
    figure.text(0.1, 0.94, title, fontsize=9, ha="left", va="center")
    return png_bytes(figure, dpi=110)
