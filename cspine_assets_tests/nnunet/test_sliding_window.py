from types import SimpleNamespace

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import nn

from cspine_assets.nnunet.children.pulse import Pulse
from cspine_assets.nnunet.children.sliding_window import BeatingPredictor

HEADS = 3


def predictor_of(kind, network, patch_size, *, mirroring=False):
    predictor = kind(device=torch.device("cpu"), use_mirroring=mirroring, allow_tqdm=False)
    predictor.network, predictor.allowed_mirroring_axes = network, tuple(range(len(patch_size)))
    predictor.configuration_manager = SimpleNamespace(patch_size=list(patch_size))
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=HEADS)
    predictor.pulse = Pulse(lambda _: None)
    return predictor


@pytest.fixture(autouse=True)
def _fresh_gaussians():
    """A gaussian of one predictor must not come from the other."""
    compute_gaussian.cache_clear()


@pytest.mark.parametrize("mirroring", [False, True])
@pytest.mark.parametrize("patch_size", [(16, 12), (20, 21), (4, 12, 10), (7, 30, 30)])
@pytest.mark.parametrize("scale", [1.0, 3000.0])
def test_logits_equal_nnunets_bit_by_bit(patch_size, mirroring, scale):
    torch.manual_seed(1)
    network = (nn.Conv2d if len(patch_size) == 2 else nn.Conv3d)(1, HEADS, 3, padding=1)
    volume = scale * torch.randn(1, 7, 20, 21)
    theirs, ours = (
        predictor_of(kind, network, patch_size, mirroring=mirroring).predict_sliding_window_return_logits(volume)
        for kind in (nnUNetPredictor, BeatingPredictor)
    )
    assert ours.dtype == theirs.dtype == torch.half
    assert ours.shape == theirs.shape == (HEADS, *volume.shape[1:])
    assert torch.equal(ours.contiguous().view(torch.int16), theirs.contiguous().view(torch.int16))
    assert ours.std() > 0


@pytest.mark.parametrize("kind", [nnUNetPredictor, BeatingPredictor])
@pytest.mark.parametrize("sign", [1, -1])
def test_logits_beyond_half_precision_are_refused(kind, sign):
    network = nn.Conv2d(1, HEADS, 1)
    nn.init.constant_(network.weight, sign * 1e6)
    with pytest.raises(RuntimeError, match=r"precision|inf"):
        predictor_of(kind, network, (16, 12)).predict_sliding_window_return_logits(torch.ones(1, 2, 20, 21))


@pytest.mark.parametrize("kind", [nnUNetPredictor, BeatingPredictor])
def test_logits_that_are_no_numbers_are_no_infinities(kind):
    network = nn.Conv2d(1, HEADS, 1)
    nn.init.constant_(network.bias, float("nan"))
    logits = predictor_of(kind, network, (16, 12)).predict_sliding_window_return_logits(torch.ones(1, 2, 20, 21))
    assert logits.isnan().all()
