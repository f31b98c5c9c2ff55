"""Drawings of the study's tables: Dice over exams, the profile of the levels, the balance of the split.

Add a drawing here when a table is seen faster than read. Pictures of exams stand in ``overlay`` and ``thumbnail``,
drawings of a training in ``curves``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cspine_assets.domain.anatomy import DISC_LEVELS, Structure
from cspine_assets.domain.report.style import TITLES, fraction, new_figure, png_bytes

_MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")
_BALANCED: Final = 0.1
DPI: Final = 130


def dice_png(scores: pd.DataFrame) -> bytes:
    """Returns boxes of the Dice over exams with every exam as a point, a panel per structure.

    Args:
        scores: ``predictor``, ``structure``, ``dice_volumetric``; a missing Dice is left out of the picture.
    """
    figure = new_figure(8.6, 3.2)
    for place, structure in enumerate(Structure, start=1):
        axes = figure.add_subplot(1, 2, place)
        rows = scores[(scores["structure"] == structure) & scores["dice_volumetric"].notna()]
        names = sorted(rows["predictor"].unique())
        values = [rows.loc[rows["predictor"] == name, "dice_volumetric"].to_numpy(np.float64) for name in names]
        if names:
            axes.boxplot(values, tick_labels=names, widths=0.5, showfliers=False, medianprops={"color": "0.1"})
        for at, own in enumerate(values, start=1):
            # spread by rank and not by chance: the same exams give the same picture
            spread = (np.arange(len(own)) * 0.618 % 1 - 0.5) * 0.3
            axes.scatter(at + spread, own, s=18, color=fraction(structure), alpha=0.8, linewidths=0, zorder=3)
        axes.set_title(TITLES[structure], fontsize=9)
        axes.set_ylabel("Dice over the volume", fontsize=8)
        _plain(axes)
    figure.tight_layout()
    return png_bytes(figure, dpi=DPI)


def level_png(levels: pd.DataFrame) -> bytes:
    """Returns median and quartiles of the Dice from C2/C3 to C7/T1, a line per view.

    Args:
        levels: ``view``, ``level``, ``median_dice``, ``q1``, ``q3``; a level without a score has a gap.
    """
    figure = new_figure(6.4, 3.0)
    axes = figure.add_subplot()
    names = {"3d": "whole disc", "mid_sagittal": "middle slice"}
    for place, (view, rows) in enumerate(levels.groupby("view", sort=True)):
        by_level = rows.set_index("level").reindex(list(DISC_LEVELS))[["median_dice", "q1", "q3"]].astype("float64")
        at = np.arange(len(DISC_LEVELS)) + (place - 0.5) * 0.14
        error = np.abs(np.vstack([by_level["median_dice"] - by_level["q1"], by_level["q3"] - by_level["median_dice"]]))
        axes.errorbar(
            at, by_level["median_dice"], error, marker=_MARKS[place], markersize=4, capsize=2, linewidth=1.2,
            label=names.get(str(view), str(view)),
        )  # fmt: skip
    axes.set_xticks(range(len(DISC_LEVELS)), DISC_LEVELS)
    axes.set_ylabel("Dice, median and quartiles", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    _plain(axes)
    figure.tight_layout()
    return png_bytes(figure, dpi=DPI)


def groups_png(groups: pd.DataFrame) -> bytes:
    """Returns median and interval of every group of the best-known set, a panel per structure.

    The test set is shown where it has groups of ten exams or more, else the cross-validation, which has more exams.

    Args:
        groups: ``set_name``, ``grouping``, ``group_value``, ``structure``, ``median``, ``ci_low``, ``ci_high`` and
            ``small``; a group without a median is not drawn.
    """
    known = groups.dropna(subset=["median"])
    large = known.loc[~known["small"].astype(bool), "set_name"]
    sets = (large if len(large) else known["set_name"]).unique()
    shown = known[known["set_name"] == ("test" if "test" in sets else next(iter(sorted(sets)), ""))]
    names = shown[["grouping", "group_value"]].drop_duplicates().reset_index(drop=True)
    figure = new_figure(9.2, 1.2 + 0.24 * max(len(names), 1))
    for place, structure in enumerate(Structure, start=1):
        axes = figure.add_subplot(1, 2, place)
        own = shown[shown["structure"] == structure].merge(names.reset_index(), on=["grouping", "group_value"])
        numbers = own[["median", "ci_low", "ci_high", "index"]].astype("float64")
        axes.hlines(numbers["index"], numbers["ci_low"], numbers["ci_high"], color="0.6", linewidth=1.2)
        filled = [(1.0, 1.0, 1.0) if small else fraction(structure) for small in own["small"]]
        axes.scatter(numbers["median"], numbers["index"], s=26, c=filled, edgecolors=[fraction(structure)], zorder=3)
        labels = (names["grouping"].str.replace("_", " ") + ": " + names["group_value"]).tolist()
        axes.set_yticks(range(len(names)), labels if place == 1 else [""] * len(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("Dice over the volume", fontsize=8)
        axes.set_title(f"{TITLES[structure]}, {next(iter(shown['set_name']), 'no set')}", fontsize=9)
        _plain(axes)
    figure.tight_layout()
    return png_bytes(figure, dpi=DPI)


def balance_png(balance: pd.DataFrame) -> bytes:
    """Returns the standardized difference of every stratum, a mark per part, and the band within which parts are alike.

    Args:
        balance: ``variable``, ``value``, ``part``, ``standardized_difference``; a missing one is not drawn.
    """
    rows = balance.dropna(subset=["standardized_difference"])
    strata = rows[["variable", "value"]].drop_duplicates().reset_index(drop=True)
    figure = new_figure(7.6, 1.0 + 0.22 * max(len(strata), 1))
    axes = figure.add_subplot()
    axes.axvspan(-_BALANCED, _BALANCED, color="0.93", zorder=0)
    axes.axvline(0, color="0.6", linewidth=0.8)
    for mark, (part, own) in enumerate(rows.groupby("part", sort=True)):
        at = own.merge(strata.reset_index(), on=["variable", "value"])
        is_fold = str(part).startswith("fold")
        axes.scatter(
            at["standardized_difference"].astype("float64"), at["index"], s=16 if is_fold else 34,
            marker="." if is_fold else _MARKS[mark % len(_MARKS)], label=str(part).replace("_", " "), zorder=3,
        )  # fmt: skip
    axes.set_yticks(range(len(strata)), (strata["variable"] + ": " + strata["value"]).tolist())
    axes.invert_yaxis()
    axes.set_xlabel("standardized difference", fontsize=8)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _plain(axes)
    figure.tight_layout()
    return png_bytes(figure, dpi=DPI)


def _plain(axes: Axes) -> None:
    """Takes away what is no data."""
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
