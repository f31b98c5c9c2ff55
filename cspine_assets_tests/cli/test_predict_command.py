"""`cspine predict` as a person calls it: what is said of a mask beside its path. Networks stand in ``nnunet``."""

import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from cspine_assets.cli import predict as command
from cspine_assets.cli.app import main
from cspine_assets.nnunet import scans
from cspine_assets.nnunet.devices import Slot


@pytest.mark.parametrize(("drawn", "is_told"), [(0, True), (1, False), (2, False)])
def test_an_empty_mask_is_told_with_the_likely_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, drawn: int, is_told: bool
):
    def draw(_applied: object, image: Path, output: Path, **_how: object) -> None:
        mask = np.zeros((3, 8, 8), np.uint8)
        mask[1, 2:4, 2:4] = drawn
        nib.save(nib.Nifti1Image(mask, nib.load(image).affine), output)

    # the networks alone are stood in for
    monkeypatch.setattr(scans, "predict_scan", draw)
    monkeypatch.setattr(command, "_own", lambda _study, _anew: SimpleNamespace(is_demo=False))
    monkeypatch.setattr(command, "_leased", lambda _study: nullcontext(Slot(number=0, device="cpu", env={})))
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(192, dtype=np.int16).reshape(3, 8, 8), np.eye(4)), scan)
    monkeypatch.setattr(sys, "argv", ["cspine", "predict", str(scan), "--out", str(out), "--home", str(tmp_path / "h")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = " ".join(capsys.readouterr().out.split())
    assert ("The mask is empty. Is it a sagittal T2 scan of the cervical spine?" in said) is is_told
    assert out.exists()
