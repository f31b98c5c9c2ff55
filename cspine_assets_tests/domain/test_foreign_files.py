"""Every door that takes a NIfTI, with every kind of file of the catalogue: the right value or a refusal that names it.

The fault is a door without the checks that another has. Among the files: ``vox_offset`` of NaN, a scaling of infinity,
two axes that are one, a qform with NaN, lengths of kilometres.
"""

from __future__ import annotations

import gzip
import os
import re
import struct
import unicodedata
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from cspine_assets.domain.anatomy import LABELS
from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.evaluation.external import find_masks, refusal_of_mask
from cspine_assets.domain.evaluation.folder_score import Choice, Metrics, score_cases
from cspine_assets.domain.evaluation.mask_folders import match_folders
from cspine_assets.domain.imaging.conversion import convert_series
from cspine_assets.domain.nifti_head import NiftiHead
from cspine_assets.domain.volume import Allowance, read_geometry, read_mask
from cspine_assets.nnunet.scans import check_scan, readable_by_nnunet, scans_in
from cspine_assets_tests.foreign_files import (
    AFFINE,
    MASK_KINDS,
    NIFTI_KINDS,
    Kind,
    labels,
    plain,
    scaled,
    table,
    with_affine,
    without_form,
)

EVERY = [pytest.param(kind, id=kind.name) for kind in (*NIFTI_KINDS, *MASK_KINDS)]
NIFTI = [pytest.param(kind, id=kind.name) for kind in NIFTI_KINDS]


def judged_by(reason: str | None, kind: Kind, name: str):
    if kind.words is None:
        assert reason is None
    else:
        assert reason is not None and re.search(kind.words, reason), reason
        assert name in reason
        assert reason.rstrip(")?.") != reason, "a remedy ends the sentence"


def put(folder: Path, kind: Kind, *, stem: str = "case") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / (stem + kind.ending)
    path.write_bytes(kind.make(labels()))
    return path


@pytest.mark.parametrize("kind", EVERY)
def test_score_measures_or_refuses_and_the_neighbour_comes_through(tmp_path, kind: Kind):
    bad = put(tmp_path / "pred", kind)
    (tmp_path / "ref").mkdir()
    for place in ("ref/case.nii", "ref/other.nii", "pred/other.nii"):
        (tmp_path / place).write_bytes(plain(labels()))
    cases = match_folders(tmp_path / "ref", tmp_path / "pred").cases
    scores = {s.case_id: s.structures for s in score_cases(cases, Choice(LABELS, Metrics.DICE, False), jobs=1)}
    judged_by(scores["case"][0].reason, kind, bad.name)
    assert scores["case"][0].status == ("ok" if kind.words is None else "failed")
    for row in (*scores["other"], *(scores["case"] if kind.words is None else ())):
        assert row.overlap is not None and row.overlap.dice_volumetric == 1


@pytest.mark.parametrize("kind", EVERY)
def test_a_mask_of_another_tool_is_taken_or_refused(tmp_path, kind: Kind):
    bad = put(tmp_path / "tool", kind)
    reference = tmp_path / "ref.nii"
    reference.write_bytes(plain(labels()))
    found = find_masks(tmp_path / "tool", ["case"])
    judged_by(refusal_of_mask(found.masks["case"], reference), kind, bad.name)


@pytest.mark.parametrize("kind", NIFTI)
def test_predict_takes_or_refuses_a_scan(tmp_path, kind: Kind):
    bad = put(tmp_path / "scans", kind)
    reason = None
    try:
        check_scan(scans_in(tmp_path / "scans")["case"])
        usable = readable_by_nnunet(bad, tmp_path)
        as_nnunet = sitk.ReadImage(str(usable))
        assert np.array_equal(sitk.GetArrayFromImage(as_nnunet).transpose() - kind.added, labels())
        assert as_nnunet.GetSpacing() == pytest.approx((0.5, 0.6, 3.3), abs=1e-4)
    except CSpineError as error:
        reason = str(error)
    judged_by(reason, kind, bad.name)


@pytest.mark.parametrize("kind", NIFTI)
def test_convert_takes_or_refuses_a_scan(tmp_path, kind: Kind):
    bad = put(tmp_path / "in", kind)
    reason, out = None, tmp_path / "out.nii.gz"
    try:
        convert_series(bad, out, scratch=tmp_path)
        assert np.array_equal(np.asanyarray(nib.load(out).dataobj), labels())
    except CSpineError as error:
        reason = str(error)
    if kind.converted:
        assert reason is None
    else:
        judged_by(reason, kind, "case")
    assert out.exists() == (reason is None)


@pytest.mark.parametrize("make", [without_form, with_affine(np.zeros((4, 4)))])
def test_a_person_may_say_where_the_axes_of_an_unplaced_file_point(tmp_path, make):
    """The same voxels with and without their placement give the same numbers once the axes are said."""
    allowed = Allowance(axes="PSR")
    path = tmp_path / "case.nii"
    path.write_bytes(make(labels()))
    read = read_mask(path, allowed=allowed)
    assert read.geometry.axis_codes == "PSR"
    assert read.geometry.spacing_mm == pytest.approx((0.5, 0.6, 3.3))
    check_scan(path, allowed=allowed)
    copy = nib.load(readable_by_nnunet(path, tmp_path, allowed=allowed))
    assert nib.aff2axcodes(copy.affine) == ("P", "S", "R")
    assert convert_series(path, tmp_path / "out.nii.gz", allowed=allowed).geometry.axis_codes == "PSR"
    placed = tmp_path / "placed.nii"
    placed.write_bytes(plain(labels()))
    assert np.array_equal(read_mask(placed, allowed=Allowance(axes="RAS")).geometry.affine, nib.load(placed).affine)


def test_labels_saved_with_a_scaling_are_taken_within_a_stated_tolerance(tmp_path):
    path = tmp_path / "mask.nii"
    path.write_bytes(scaled(labels()))
    assert np.array_equal(read_mask(path, allowed=Allowance(label_tolerance=0.005)).array, labels())
    half = tmp_path / "half.nii"
    half.write_bytes(plain(labels() * np.float32(0.9)))
    with pytest.raises(CSpineError, match="whole numbers"):
        read_mask(half, allowed=Allowance(label_tolerance=1e-3))


def test_names_are_one_in_either_form_of_unicode(tmp_path):
    """macOS writes an umlaut as two characters: the same case, at every door that goes by names."""
    for folder, form in (("ref", "NFC"), ("pred", "NFD")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / unicodedata.normalize(form, "Müller_01.nii")).write_bytes(plain(labels()))
    (case,) = match_folders(tmp_path / "ref", tmp_path / "pred").cases
    assert case.prediction is not None
    assert find_masks(tmp_path / "pred", [case.case_id]).masks
    assert list(scans_in(tmp_path / "pred")) == [case.case_id]


def test_a_pipe_or_a_folder_called_nii_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "folder.nii.gz").mkdir()
    for path in tmp_path.iterdir():
        for read in (check_scan, read_mask, read_geometry):
            with pytest.raises(CSpineError, match="found a folder, pipe or device"):
                read(path)


@pytest.mark.parametrize("kind", NIFTI)
def test_the_short_judgement_of_a_placement_is_the_long_one(kind: Kind):
    content = kind.make(labels())
    head = NiftiHead.of(gzip.decompress(content) if content[:2] == b"\x1f\x8b" and kind.words is None else content)
    if head is not None:
        whole = head.has_sform and head.placement_fault() is None and head.shear_fault() is None
        assert head.has_plain_placement == whole


def test_a_qform_with_qfac_0_is_taken_as_one_with_1(tmp_path):
    """As nifti1.h has it; nibabel refuses it, and 7 as well."""
    turned = AFFINE @ np.diag([1.0, 1, -1, 1])
    made = nib.Nifti1Image(labels(), None)
    made.header.set_qform(turned, 1)
    for qfac in (0, 1, 7):
        content = bytearray(made.to_bytes())
        struct.pack_into("<f", content, 76, qfac)
        (tmp_path / "a.nii").write_bytes(content)
        assert read_geometry(tmp_path / "a.nii").affine == pytest.approx(turned, abs=1e-5)


def test_a_link_to_nothing_fails_alone(tmp_path):
    for folder in ("ref", "pred"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ok.nii").write_bytes(plain(labels()))
    (tmp_path / "ref" / "a.nii").write_bytes(plain(labels()))
    (tmp_path / "pred" / "a.nii").symlink_to(tmp_path / "gone.nii")
    cases = match_folders(tmp_path / "ref", tmp_path / "pred").cases
    scores = score_cases(cases, Choice(LABELS, Metrics.DICE, False), jobs=1)
    assert [score.structures[0].status for score in scores] == ["failed", "ok"]
    assert "gone" in str(scores[0].structures[0].reason)


def test_the_matrix_of_the_docs_is_that_of_the_catalogue():
    docs = Path(__file__).parents[2] / "docs" / "foreign_files.md"
    assert table() in docs.read_text(encoding="utf-8")
