"""What is done to a predicted mask afterwards: keep the largest piece of foreground, or nothing.

Change this file when there is another option. Children of nnU-Net load it, so it stays light: no pandas.
Which option a study takes is found out in ``choosing``.
"""

from __future__ import annotations

import os
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from cspine_assets.domain.anatomy import BACKGROUND
from cspine_assets.domain.files import written_aside


class Postprocessing(StrEnum):
    """What is done to a mask; the value is its name in every table.

    Never a structure by itself: bodies and discs are many pieces each, and the largest disc alone is no spine. The
    two together are one column.
    """

    NONE = "none"
    KEEP_LARGEST = "keep_largest"


def keep_largest(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a mask without all that does not hang together with its largest piece of foreground.

    Neighbours are the 26 around a voxel, and pieces of equal size that share the first place all stay, as in
    nnU-Net's ``remove_all_but_largest_component_from_segmentation`` over all foreground labels. An empty mask stays
    empty.

    Args:
        mask: Labels, three axes.
    """
    pieces = cc3d.connected_components(mask != BACKGROUND, connectivity=26)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = np.isin(pieces, np.flatnonzero((sizes == sizes.max()) & (sizes > 0)))
    return np.where(kept, mask, np.asarray(BACKGROUND, mask.dtype))


def write_postprocessed(option: Postprocessing, source: Path, destination: Path, reader_writer: Any = None) -> None:  # noqa: ANN401
    """Writes what an option makes of a mask file; with nothing to do, the file itself stands there once more.

    The bytes are those of nnU-Net's ``nnUNetv2_apply_postprocessing``, for nnU-Net's own reader and writer are used.

    Args:
        option: What to do.
        source: A mask that nnU-Net's writer wrote.
        destination: Where to.
        reader_writer: nnU-Net's reader of the dataset; None: the study's.
    """
    if option is Postprocessing.NONE:
        _stand_in(source, destination)
        return
    if reader_writer is None:
        from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

        reader_writer = NibabelIOWithReorient()
    mask, properties = reader_writer.read_seg(str(source))
    with written_aside(destination) as aside:
        reader_writer.write_seg(keep_largest(mask[0].astype(np.uint8)), str(aside), properties)


def _stand_in(source: Path, destination: Path) -> None:
    """Lets the same bytes stand at a second place: a hard link, or a copy where the file system has none."""
    with written_aside(destination) as aside:
        try:
            os.link(source, aside)
        except OSError:
            shutil.copyfile(source, aside)
