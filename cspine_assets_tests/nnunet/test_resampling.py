import numpy as np
import pytest
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

from cspine_assets.nnunet.children import resampling
from cspine_assets.nnunet.children.resampling import FrugalConfiguration, SliceMemo, resample

THICK, THIN = (3.6, 0.5, 0.5), (3.3, 0.54, 0.54)


def axis_last(*arrays):
    return [(*array[:1], *array[2:], array[1]) if len(array) == 4 else (*array[1:], array[0]) for array in arrays]


def equal_to_nnunet(data, new_shape, current, new, **how):
    ours = resample(data, new_shape, current, new, **how)
    how.pop("memo", None)
    theirs = resample_data_or_seg_to_shape(data, new_shape, current, new, **how)
    assert ours.dtype == theirs.dtype
    return ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("depths", [(9, 9), (9, 10), (9, 23), (23, 9), (9, 4), (2, 5), (1, 3)])
@pytest.mark.parametrize(("dtype", "order"), [(np.float32, 3), (np.float16, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_thick_slices_are_resampled_bit_by_bit_as_nnunet_does(depths, dtype, order, seed):
    rng = np.random.default_rng(seed)
    plane, new_plane = rng.integers(8, 40, (2, 2))
    data = rng.normal(size=(3, depths[0], *plane)).astype(dtype)
    how = {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None}
    assert equal_to_nnunet(data, (depths[1], *new_plane), THICK, THIN, **how)
    last = np.ascontiguousarray(np.moveaxis(data, 1, 3))
    assert equal_to_nnunet(last, (*new_plane, depths[1]), *axis_last(THICK, THIN), **how)


def test_every_other_way_is_nnunets_own():
    rng = np.random.default_rng(4)
    data = rng.normal(size=(2, 6, 12, 14)).astype(np.float32)
    masks = (data > 0).astype(np.int8)
    how = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    isotropic = (1.0, 1.0, 1.0)
    assert equal_to_nnunet(data, (7, 13, 15), isotropic, (0.9, 0.9, 0.9), **how)
    assert equal_to_nnunet(data, (7, 13, 15), THICK, THIN, **how | {"order_z": 1})
    assert equal_to_nnunet(data, (7, 13, 15), THICK, THIN, **how | {"force_separate_z": False})
    assert equal_to_nnunet(data, (7, 13, 15), THICK, THIN, **how, separate_z_anisotropy_threshold=8)
    assert equal_to_nnunet(masks, (7, 13, 15), THICK, THIN, **how | {"is_seg": True, "order": 1})
    assert resample(data, (6, 12, 14), THICK, THIN, **how) is data


def test_slices_of_the_same_volume_are_resized_once_for_both_configurations(monkeypatch):
    rng = np.random.default_rng(5)
    resized, memo = [], SliceMemo()
    real = resampling.resize
    monkeypatch.setattr(resampling, "resize", lambda *args, **kwargs: resized.append(1) or real(*args, **kwargs))
    how = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None, "memo": memo}
    data = rng.normal(size=(1, 6, 12, 14)).astype(np.float32)
    assert equal_to_nnunet(data, (6, 10, 11), THICK, THIN, **how)
    assert equal_to_nnunet(data.copy(), (9, 10, 11), THICK, THIN, **how)
    assert len(resized) == 6
    other = data.copy()
    other[0, 3, 2, 1] += 1
    assert equal_to_nnunet(other, (9, 10, 11), THICK, THIN, **how)
    assert equal_to_nnunet(other, (9, 10, 12), THICK, THIN, **how)
    assert equal_to_nnunet(other, (9, 10, 12), THICK, THIN, **how | {"order": 1})
    assert len(resized) == 6 * 4


def test_plans_with_another_resampling_keep_it():
    names = {f"resampling_fn_{what}": "resample_torch_fornnunet" for what in ("data", "probabilities")}
    keywords = {f"resampling_fn_{what}_kwargs": {"is_seg": False} for what in ("data", "probabilities")}
    configuration = FrugalConfiguration({"architecture": {}, **names, **keywords}, SliceMemo())
    for function in (configuration.resampling_fn_data, configuration.resampling_fn_probabilities):
        assert function.func.__name__ == "resample_torch_fornnunet"
