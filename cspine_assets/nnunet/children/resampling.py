"""nnU-Net's resampling of thick slices, bit by bit, without the work of which nothing is seen.

Change this file when nnU-Net changes how it resamples by default; equality with it is tested.
Where resampling belongs in a prediction is decided in ``ensemble``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import (
    determine_do_sep_z_and_axis,
    resample_data_or_seg_to_shape,
)
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from skimage.transform import resize

DEFAULT_RESAMPLING = "resample_data_or_seg_to_shape"
"""As plans name the one function that is followed here; any other one is nnU-Net's to run."""


class SliceMemo:
    """The slices that were resized last, for the other configuration of the same case.

    Plans of 2d and 3d_fullres want the same spacing within slices as a rule, and then the same resized slices.
    """

    def __init__(self) -> None:
        self._source: NDArray[Any] | None = None
        self._how: tuple[int, ...] = ()
        self._resized: dict[tuple[int, int], NDArray[Any]] = {}

    def slices_of(self, source: NDArray[Any], *how: int) -> dict[tuple[int, int], NDArray[Any]]:
        """What is known of an array's resized slices, by channel and slice; what is added to it is kept."""
        known = self._source is not None and self._how == how and np.array_equal(self._source, source)
        if not known:
            self._source, self._how, self._resized = source, how, {}
        return self._resized


def resample(
    data: NDArray[Any],
    new_shape: Sequence[int],
    current_spacing: Sequence[float],
    new_spacing: Sequence[float],
    *,
    memo: SliceMemo | None = None,
    **how: Any,  # noqa: ANN401 - whatever plans hand to nnU-Net's own function
) -> NDArray[Any]:
    """The array that nnU-Net's ``resample_data_or_seg_to_shape`` returns, bit by bit.

    Where slices are resized one by one and then picked by the nearest neighbour, those that are never picked are not
    resized, and picking is indexing. Anything else is left to nnU-Net.

    Args:
        data: Channels first, three dimensions in space.
        new_shape: Of the three.
        current_spacing: Of ``data``.
        new_spacing: Of the result.
        memo: Keeps slices from one call to the next.
        **how: nnU-Net's ``is_seg``, ``order``, ``order_z``, ``force_separate_z`` and threshold of anisotropy.
    """
    limits = {name: how[name] for name in how if name == "separate_z_anisotropy_threshold"}
    one_by_one, axis = determine_do_sep_z_and_axis(
        how.get("force_separate_z", False), current_spacing, new_spacing, **limits
    )
    shape = tuple(int(size) for size in new_shape)
    if how.get("is_seg", False) or how.get("order_z", 0) != 0 or not one_by_one or data.shape[1:] == shape:
        left_to_it: NDArray[Any] = resample_data_or_seg_to_shape(data, new_shape, current_spacing, new_spacing, **how)
        return left_to_it
    resampled = np.zeros((data.shape[0], *shape), dtype=data.dtype)
    target = np.moveaxis(resampled, axis + 1, 1)
    _fill(target, np.moveaxis(data, axis + 1, 1), how.get("order", 3), memo or SliceMemo())
    return resampled


def _fill(target: NDArray[Any], source: NDArray[Any], order: int, memo: SliceMemo) -> None:
    """Resizes the slices of ``source`` that are picked, each once; both have shape (channels, slices, ...)."""
    shape = target.shape[2:]
    resized = memo.slices_of(source, order, *shape)
    for channel in range(len(source)):
        for place, number in enumerate(_nearest(source.shape[1], target.shape[1])):
            at = channel, number
            if at not in resized:
                one: NDArray[np.float64] = resize(  # type: ignore[no-untyped-call]
                    source[at].astype(float), shape, order, mode="edge", anti_aliasing=False
                )
                resized[at] = one.astype(target.dtype)
            target[channel, place] = resized[at]


def _nearest(old: int, new: int) -> list[int]:
    """Which of ``old`` slices each of ``new`` ones is, by the coordinates and the rounding that nnU-Net uses."""
    if old == new:
        return list(range(old))
    coordinates = float(old) / new * (np.arange(new) + 0.5) - 0.5
    picked = map_coordinates(np.arange(old, dtype=float), coordinates[None], order=0, mode="nearest")
    return [int(number) for number in picked]


class FrugalConfiguration(ConfigurationManager):  # type: ignore[misc]  # nnU-Net has no types
    """A configuration whose resampling costs less and gives the same.

    There is no reference mask to be resampled: nnU-Net resamples a mask of the background in its place, which
    nobody looks at.
    """

    def __init__(self, configuration: dict[str, Any], memo: SliceMemo) -> None:
        super().__init__(configuration)
        self._memo = memo

    @property
    def resampling_fn_data(self) -> Any:  # noqa: ANN401 - a function of nnU-Net's, which has no types
        """Resamples volumes; the other configuration may have resized the same slices."""
        return self._followed("resampling_fn_data", self._memo) or super().resampling_fn_data

    @property
    def resampling_fn_probabilities(self) -> Any:  # noqa: ANN401 - a function of nnU-Net's, which has no types
        """Resamples logits."""
        return self._followed("resampling_fn_probabilities", None) or super().resampling_fn_probabilities

    @property
    def resampling_fn_seg(self) -> Any:  # noqa: ANN401 - a function of nnU-Net's, which has no types
        """Leaves the mask of the background as it is."""
        return lambda seg, *_: seg

    def _followed(self, name: str, memo: SliceMemo | None) -> Any:  # noqa: ANN401
        if self.configuration[name] != DEFAULT_RESAMPLING:
            return None
        return partial(resample, memo=memo, **self.configuration[f"{name}_kwargs"])
