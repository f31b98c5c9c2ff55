"""nnU-Net's sliding window with a sign of life at every tile, and on a CPU with less work around the networks.

Change this file when nnU-Net changes how it lays tiles over a volume; equality with its commands is tested.
What the networks are asked, tile by tile, is nnU-Net's own code on every device.
"""

from __future__ import annotations

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian

from cspine_assets.nnunet.children.pulse import Pulse

Slicer = tuple[slice | int, ...]

_INFINITY = 0x7C00
_MINUS_INFINITY = 0xFC00
"""In half precision. Among the bits of numbers with one sign, only what is not a number has larger ones."""


class BeatingPredictor(nnUNetPredictor):  # type: ignore[misc]  # nnU-Net has no types
    """nnU-Net's predictor: the same logits, bit by bit, and never silent for long."""

    pulse: Pulse

    @torch.inference_mode()
    def _internal_maybe_mirror_and_predict(self, x: torch.Tensor) -> torch.Tensor:
        self.pulse.beat()
        tile: torch.Tensor = super()._internal_maybe_mirror_and_predict(x)
        return tile

    @torch.inference_mode()
    def _internal_predict_sliding_window_return_logits(
        self, data: torch.Tensor, slicers: list[Slicer], do_on_device: bool = True
    ) -> torch.Tensor:
        if self.device.type != "cpu" or not self.use_gaussian:
            logits: torch.Tensor = super()._internal_predict_sliding_window_return_logits(data, slicers, do_on_device)
            return logits
        return self._on_cpu(data, slicers)

    def _on_cpu(self, data: torch.Tensor, slicers: list[Slicer]) -> torch.Tensor:
        """What nnU-Net computes, in its precisions and its order.

        The products of a tile are float32 in nnU-Net too, whose gaussian is converted to it for every tile.
        """
        shape = data.shape[1:]
        gaussian = compute_gaussian(
            tuple(self.configuration_manager.patch_size),
            sigma_scale=1.0 / 8,
            value_scaling_factor=10,
            device=self.device,
        ).float()
        logits = torch.zeros((self.label_manager.num_segmentation_heads, *shape), dtype=torch.half)
        weights = torch.zeros(shape, dtype=torch.half)
        for slicer in slicers:
            tile = torch.clone(data[slicer][None], memory_format=torch.contiguous_format)
            prediction = self._internal_maybe_mirror_and_predict(tile)[0]
            prediction *= gaussian
            logits[slicer] += prediction
            weights[slicer[1:]] += gaussian
        torch.div(logits, weights, out=logits)
        if _has_infinity(logits):
            raise RuntimeError("the networks' logits are too large for half precision, as nnU-Net keeps them")
        return logits


def _has_infinity(halves: torch.Tensor) -> bool:
    """Whether any number is infinite; torch looks at half precision slowly on a CPU, so first at the largest bits."""
    bits = halves.numpy()
    if bits.view(np.int16).max() < _INFINITY and bits.view(np.uint16).max() < _MINUS_INFINITY:
        return False
    return bool(torch.isinf(halves).any())
