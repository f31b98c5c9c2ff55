"""Makes the pictures of the README anew: the example exam from the phantom, and the asset graph.

Run by ``make docs``. Pictures for people only; nothing else is made here.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import networkx
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from cspine_assets.definitions import defs
from cspine_assets.domain.phantom.cohort import ANNOTATION, SEGMENTATION, write_cohort
from cspine_assets.domain.phantom.settings import CohortSettings
from cspine_assets.domain.report.overlay import write_overlay_figure
from cspine_assets.domain.volume import read_mask, read_volume

IMAGES = Path(__file__).parent / "images"
GROUP_COLOURS = {
    "midrc": "#e8eef7",
    "cohort": "#dcebdd",
    "imaging": "#fdf0d5",
    "nnunet": "#f6dede",
    "prediction": "#eadff2",
    "evaluation": "#d9f0ef",
    "warehouse": "#e6e6e6",
}

DATABASE = "warehouse/database"
ROW_HEIGHT = 0.85


def draw_example(destination: Path) -> None:
    """Draws an exam of the phantom: the scan, the mask over it, a zoomed view."""
    with tempfile.TemporaryDirectory() as folder:
        download = Path(folder) / "download"
        write_cohort(download, CohortSettings(patients=1, seed=7, matrix=384, expert_fraction=1))
        scan = next((download / ANNOTATION).iterdir())
        mask = next((download / SEGMENTATION).iterdir())
        write_overlay_figure(destination, read_volume(scan), read_mask(mask), footnote="synthetic phantom")


def draw_asset_graph(destination: Path) -> None:
    """Draws the assets from the download down to the database, a row per step, coloured by group.

    An arrow that only repeats what others say (from a table to one that is reached through another) is left out, and
    so are the long ones into the database, which takes every table.
    """
    graph = defs().resolve_asset_graph()
    edges = networkx.DiGraph()
    for key in graph.get_all_asset_keys():
        edges.add_edges_from((parent.to_user_string(), key.to_user_string()) for parent in graph.get(key).parent_keys)
    reduced = networkx.transitive_reduction(edges)
    rows = [sorted(names, key=_group_first) for names in networkx.topological_generations(reduced)]
    widest = max(len(names) for names in rows)
    centres = {
        name: (2.0 * (place + (widest - len(names)) / 2), -ROW_HEIGHT * row)
        for row, names in enumerate(rows)
        for place, name in enumerate(names)
    }
    figure = Figure(figsize=(1.45 * widest, 0.72 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for parent, child in reduced.edges:
        (x0, y0), (x1, y1) = centres[parent], centres[child]
        if child == DATABASE and y0 - y1 > ROW_HEIGHT * 1.5:
            continue
        arrow = {"arrowstyle": "-|>", "color": "#9aa5b1", "lw": 0.8, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x1, y1 + 0.23), (x0, y0 - 0.23), arrowprops=arrow)
    for name, (x, y) in centres.items():
        group, table = name.split("/")
        box = FancyBboxPatch(
            (x - 0.88, y - 0.2), 1.76, 0.4, "round,pad=0.02", fc=GROUP_COLOURS[group], ec="#52606d", lw=0.8, zorder=3
        )
        axes.add_patch(box)
        axes.text(x, y + 0.07, table, ha="center", va="center", fontsize=7.5, zorder=4)
        axes.text(x, y - 0.1, group, ha="center", va="center", fontsize=6, color="#52606d", zorder=4)
    axes.set_xlim(min(x for x, _ in centres.values()) - 1, max(x for x, _ in centres.values()) + 1)
    axes.set_ylim(min(y for _, y in centres.values()) - 0.3, 0.3)
    axes.axis("off")
    figure.savefig(destination, dpi=150)


def _group_first(name: str) -> tuple[int, str]:
    return list(GROUP_COLOURS).index(name.split("/", maxsplit=1)[0]), name


def main() -> int:
    """Makes all pictures."""
    IMAGES.mkdir(exist_ok=True)
    draw_example(IMAGES / "example.png")
    draw_asset_graph(IMAGES / "asset_graph.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
