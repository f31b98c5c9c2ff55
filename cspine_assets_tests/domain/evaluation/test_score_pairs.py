"""Two files of scores: what is paired with what, what is tested, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cspine_assets.domain.errors import CSpineError
from cspine_assets.domain.evaluation.multiplicity import holm
from cspine_assets.domain.evaluation.score_pairs import compare_files
from cspine_assets.domain.evaluation.score_reading import read_scores

BODY, DISC = "vertebral_body", "intervertebral_disc"


def scores(seed, n=20, start=0, **columns):
    rng = np.random.default_rng(seed)
    rows = [
        {"case_id": f"{number:03d}", "structure": structure, "dice_volumetric": round(float(rng.beta(9, 1)), 3)}
        for number in range(start, start + n)
        for structure in (BODY, DISC)
    ]
    return pd.DataFrame(rows).assign(**columns)


def write(path, frame):
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        # infinity as `cspine score` writes it, for which JSON has no word
        text = json.dumps(frame.astype(object).where(frame.notna(), None).to_dict(orient="records"))
        path.write_text(text.replace("Infinity", "1e999"))
    return path


@pytest.fixture
def files(tmp_path):
    """Returns a function that writes two frames and compares them."""

    def make(a, b, *, endings=(".csv", ".csv"), metric="dice_volumetric", key="case_id"):
        paths = [
            write(tmp_path / f"{name}{end}", frame) for name, frame, end in zip("ab", (a, b), endings, strict=True)
        ]
        return compare_files(*paths, metric=metric, key=key)

    return make


@pytest.mark.parametrize("endings", [(".csv", ".json"), (".parquet", ".csv"), (".json", ".parquet")])
def test_structures_are_compared_case_by_case_as_scipy_does(files, endings):
    a, b = scores(1), scores(2)
    found = files(a, b.sample(frac=1, random_state=0), endings=endings)
    assert [one.structure for one in found.structures] == [DISC, BODY]
    for one in found.structures:
        first, second = (frame[frame["structure"] == one.structure]["dice_volumetric"].to_numpy() for frame in (a, b))
        wilcoxon, mann_whitney = stats.wilcoxon(first - second), stats.mannwhitneyu(first, second)
        assert (one.paired.comparison.statistic, one.paired.comparison.p_value) == (wilcoxon.statistic, wilcoxon.pvalue)
        assert one.paper.comparison.p_value == mann_whitney.pvalue
        assert (one.n, one.median_a, one.median_b) == (20, np.median(first), np.median(second))
        assert (one.higher_in_a, one.higher_in_b) == ((first > second).sum(), (first < second).sum())
        assert one.higher_in_a + one.higher_in_b + one.equal == one.n
    corrected = holm([one.paired.comparison.p_value for one in found.structures])
    assert [one.paired.p_value_holm for one in found.structures] == corrected


def test_cases_of_one_file_alone_are_named_and_not_compared(files):
    found = files(scores(1, n=5), scores(2, n=5, start=2))
    for one in found.structures:
        assert (one.only_in_a, one.only_in_b, one.n) == (["000", "001"], ["005", "006"], 3)


def test_a_structure_that_one_file_lacks_is_named_with_its_cases(files):
    b = scores(2, n=4)
    found = files(scores(1, n=4), b[b["structure"] == BODY])
    disc = found.structures[0]
    assert (disc.structure, disc.n, len(disc.only_in_a)) == (DISC, 0, 4)
    assert disc.paired.comparison.p_value is None


def test_a_case_without_a_value_is_named_and_a_missed_one_counts(files):
    a, b = scores(1, n=6), scores(2, n=6)
    a.loc[a["case_id"] == "002", "dice_volumetric"] = np.nan
    b.loc[b["case_id"] == "003", "dice_volumetric"] = 0.0
    for one in files(a, b).structures:
        assert (one.without_value, one.n) == (["002"], 5)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".json"])
def test_an_infinite_distance_counts_with_the_diagonal_where_it_is_known(files, ending):
    a, b = (scores(seed, hd95_mm=np.linspace(1, 3, 40), diagonal_mm=300.0) for seed in (1, 2))
    a.loc[a["case_id"] == "001", "hd95_mm"] = np.inf
    known = files(a, b, endings=(ending, ending), metric="hd95_mm").structures[0]
    assert known.mean_a == pytest.approx(known.mean_b + (300 - b["hd95_mm"].iloc[3]) / 20)
    unknown = files(
        a.drop(columns="diagonal_mm"), b.drop(columns="diagonal_mm"), endings=(ending, ending), metric="hd95_mm"
    )
    assert unknown.structures[0].mean_a is None
    assert unknown.structures[0].paired.comparison.p_value == known.paired.comparison.p_value
    json.loads(unknown.as_json())


def test_files_of_other_tools_have_other_columns_and_no_structures(files):
    a, b = (
        scores(seed)
        .query(f"structure == '{BODY}'")
        .drop(columns="structure")
        .rename(columns={"case_id": "Subject", "dice_volumetric": "DSC"})
        for seed in (1, 2)
    )
    found = files(a, b, metric="DSC", key="Subject")
    assert [(one.structure, one.n) for one in found.structures] == [("all", 20)]


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_a_case_may_be_called_like_a_missing_value(tmp_path, ending):
    frame = pd.DataFrame({"case_id": ["NA", "nan", "null"], "dice_volumetric": [0.9, 0.8, None]})
    found = read_scores(write(tmp_path / f"a{ending}", frame), metric="dice_volumetric", key="case_id")
    assert list(found.of("all").index) == ["NA", "nan", "null"]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".json"])
def test_names_that_look_like_numbers_stay_names(tmp_path, ending):
    path = write(tmp_path / f"a{ending}", scores(1, n=8))
    found = read_scores(path, metric="dice_volumetric", key="case_id")
    assert found.of(BODY).index.tolist() == [f"{number:03d}" for number in range(8)]


def test_the_record_holds_both_tests_of_every_structure(files):
    record = json.loads(files(scores(1), scores(2)).as_json())
    assert record["metric"] == "dice_volumetric"
    for one in record["structures"]:
        assert [test["protocol"] for test in one["tests"]] == ["paired", "paper"]
        assert {"p_value", "p_value_holm", "effect_size", "ci_low", "ci_high"} <= set(one["tests"][0])


def test_one_case_leaves_nothing_to_test(files):
    one = files(scores(1, n=1), scores(2, n=1)).structures[0]
    assert (one.n, one.paired.comparison.p_value, one.paper.comparison.p_value) == (1, None, None)
    assert one.median_a is not None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frame: frame.rename(columns={"dice_volumetric": "dice"}), "expected the columns case_id and dice_vol"),
        (lambda frame: pd.concat([frame, frame.iloc[[2]]]), "several for 001 of vertebral_body"),
        (lambda frame: frame.assign(dice_volumetric="good"), "expected numbers in dice_volumetric, got 'good' for 000"),
        (lambda frame: frame.assign(case_id=[None, *frame["case_id"][1:]]), "expected a case_id in every row, row 1"),
        (lambda frame: frame.drop(columns="structure").drop_duplicates("case_id"), "both or neither"),
        (lambda frame: frame.assign(case_id="x" + frame["case_id"]), "got none. They are paired by case_id"),
        (lambda frame: frame.iloc[:0], "got none"),
    ],
)
def test_files_that_cannot_be_compared_are_refused_with_what_to_do(files, spoil, message):
    with pytest.raises(CSpineError, match=message) as caught:
        files(scores(1), spoil(scores(2)))
    assert "b.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"", "expected a file ending in .csv, .parquet, .json"),
        ("a.csv", b"", "expected a readable file"),
        ("a.parquet", b"no parquet", "expected a readable file"),
        ("a.json", b"{", "expected a readable file"),
        ("a.json", b'{"case_id": 1}', "expected a list of objects"),
    ],
)
def test_a_file_that_is_none_of_scores_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CSpineError, match=message):
        read_scores(tmp_path / name, metric="dice_volumetric", key="case_id")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CSpineError, match=r"no\.csv: expected a readable file"):
        read_scores(tmp_path / "no.csv", metric="dice_volumetric", key="case_id")


def test_cases_in_natural_order_are_drawn_in_it_and_the_order_is_recorded(files):
    """The bootstrap draws positions; text would put case_10 before case_2."""

    def frame(seed, order):
        values = np.random.default_rng(seed).beta(9, 1, 12).round(3)
        return pd.DataFrame({"case_id": [f"case_{n}" for n in order], "dice_volumetric": values[np.array(order)]})

    natural = files(frame(0, range(12)), frame(1, range(12))).structures[0]
    mixed = [3, 1, 2, *range(4, 12), 0]
    text = files(frame(0, mixed), frame(1, range(12))).structures[0]
    assert (natural.case_order, text.case_order) == ("natural", "text")
    padded = [frame(seed, range(12)) for seed in (0, 1)]
    for one in padded:  # the same cases called so that text keeps their order
        one["case_id"] = [f"case_{n:02d}" for n in range(12)]
    assert natural.paper == files(*padded).structures[0].paper
    assert natural.paired.comparison.p_value == pytest.approx(text.paired.comparison.p_value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "case_id,dice_volumetric,dice_volumetric\na,1,0\n"),
        ("a.json", '[{"case_id": "a", "dice_volumetric": 1, "dice_volumetric": 0}]'),
        ("a.csv", "case_id,case_id,dice_volumetric\na,b,1\n"),
    ],
)
def test_two_columns_of_one_name_are_refused(tmp_path, name, content):
    """The kind: one of two values taken without a word; also found: members of a JSON object."""
    (tmp_path / name).write_text(content)
    with pytest.raises(CSpineError, match=rf"{name}: .*(several times|one name)"):
        read_scores(tmp_path / name, metric="dice_volumetric", key="case_id")
