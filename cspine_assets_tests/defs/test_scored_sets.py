"""Scores name who drew their reference masks: only those held against experts' masks stand in the plain sets."""

from types import SimpleNamespace

import pandas as pd

from cspine_assets.defs.evaluation import _pair, _Pairs
from cspine_assets.domain.evaluation.stated_tops import StatedTops
from cspine_assets.domain.home import Home
from cspine_assets.domain.tables.nnunet import RawDataset
from cspine_assets_tests.domain.warehouse.rows import EXAMS, TESTED, frames


def test_a_score_against_the_mask_of_a_model_is_never_called_a_test_score(home: Home):
    given = frames()
    given[RawDataset] = pd.DataFrame({"exam_id": EXAMS, "split_sha256": "s"})
    study = SimpleNamespace(read=given.__getitem__, home=home, stated_tops=StatedTops())
    cases = [_pair(study, row).case for row in _Pairs.of(study).rows.itertuples()]
    sets = {case.exam_id: case.set for case in cases}
    assert sets == {exam: "test" if exam in TESTED else "cv" for exam in EXAMS} | {EXAMS[-1]: "test_model"}
