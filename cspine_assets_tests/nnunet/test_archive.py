"""Models that travel: as nnU-Net's own zip, and back in without trusting what comes."""

import json
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet import model_terms, untrusted_archive
from cspine_assets.nnunet.application import Application
from cspine_assets.nnunet.archive import write_archive
from cspine_assets.nnunet.dataset import ANNOTATED
from cspine_assets.nnunet.environment import NnunetFolders, child_environment
from cspine_assets.nnunet.imported import (
    RECORD_FILE,
    import_archive,
    read_record,
    read_records,
    trust_model,
    trusted_models,
)
from cspine_assets.nnunet.model_card import CardMetric, ModelCard, readable, study_labels
from cspine_assets.nnunet.postprocessing import Postprocessing
from cspine_assets.nnunet.prediction import Model, PredictionSettings, Predictor, model_of
from cspine_assets.nnunet.profiles import Configuration
from cspine_assets.nnunet.scans import predict_scan
from cspine_assets_tests.nnunet.stock_command import run_stock
from cspine_assets_tests.nnunet.tiny import CPU, TINY

FLAT = "Dataset108_CSpineSeg/nnUNetTrainer__nnUNetPlans__2d"
DESCRIPTION = {
    "channel_names": {"0": "T2"},
    "labels": {"background": 0, "vertebrae": 1, "disc": 2},
    "file_ending": ".nii.gz",
}


def card(checkpoints: dict[str, str]) -> ModelCard:
    return ModelCard(
        dataset=str(ANNOTATED),
        profile="demo",
        warning="DEMO MODEL",
        configurations={"2d": (0,)},
        training_cases=4,
        training_patients=4,
        data_fingerprint="d" * 64,
        split_sha256="s" * 64,
        annotation_provenance={"expert": 4},
        labels=study_labels(),
        disable_tta=True,
        step_size=0.5,
        postprocessing={Predictor.FLAT: Postprocessing.KEEP_LARGEST},
        metrics=(
            CardMetric(
                set_name="cv",
                predictor="2d",
                structure="macro",
                metric="dice_volumetric",
                n=2,
                mean=0.5,
                sd_sample=None,
                median=0.5,
            ),
        ),
        licence="CC BY-NC 4.0",
        versions={"nnunetv2": "2.8.1"},
        checkpoints=checkpoints,
    )


@pytest.fixture
def model(tmp_path) -> Model:
    """What looks like a trained fold; its checkpoint is no pickle, so that whoever loads it fails."""
    folder = tmp_path / "results" / FLAT
    (folder / "fold_0" / "validation").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps({"configurations": {"2d": {"patch_size": [64, 64]}}}))
    (folder / "dataset.json").write_text(json.dumps(DESCRIPTION))
    (folder / "dataset_fingerprint.json").write_text("{}")
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"weights" * 1000)
    (folder / "fold_0" / "progress.png").write_bytes(b"picture")
    (folder / "fold_0" / "debug.json").write_text('{"hostname": "a machine"}')
    summary = {"mean": {"1": {"Dice": 0.9}}, "metric_per_case": [{"prediction_file": "593973-000001.nii.gz"}]}
    (folder / "fold_0" / "validation" / "summary.json").write_text(json.dumps(summary))
    return Model(configuration=Configuration.FLAT, model_folder=folder, folds=(0,))


@pytest.fixture
def archive(model, tmp_path) -> Path:
    return write_archive([model], tmp_path / "model.zip", card).path


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "home" / "imported"


def spoilt(archive: Path, name: str, content: bytes = b"x", **info) -> Path:
    """The archive with one entry more."""
    entry = zipfile.ZipInfo(name)
    for key, value in info.items():
        setattr(entry, key, value)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(entry, content)
    return archive


def rewritten(archive: Path, name: str, content: bytes, compress_type: int = zipfile.ZIP_DEFLATED) -> Path:
    """The archive with another content of one entry."""
    with zipfile.ZipFile(archive) as opened:
        contents = {one: opened.read(one) for one in opened.namelist()}
    with zipfile.ZipFile(archive, "w", compress_type) as opened:
        for one, old in contents.items():
            opened.writestr(one, content if one == name else old)
    return archive


def test_the_archive_holds_the_model_its_card_and_nothing_of_a_patient(archive):
    with zipfile.ZipFile(archive) as opened:
        names, everything = opened.namelist(), b"".join(opened.read(name) for name in opened.namelist())
        summary = json.loads(opened.read(f"{FLAT}/fold_0/validation/summary.json"))
    assert f"{FLAT}/fold_0/checkpoint_final.pth" in names
    assert {"Dataset108_CSpineSeg/model_card.json", "Dataset108_CSpineSeg/MODEL_CARD.md"} <= set(names)
    assert summary == {"mean": {"1": {"Dice": 0.9}}, "metric_per_case": []}
    assert b"593973" not in everything
    assert b"a machine" not in everything


def test_the_same_models_give_the_same_bytes(model, archive, tmp_path):
    again = write_archive([model], tmp_path / "again.zip", card)
    assert again.path.read_bytes() == archive.read_bytes()
    assert again.size_bytes == archive.stat().st_size


def test_the_readable_card_says_what_a_reader_has_to_know():
    text = readable(card({}))
    for part in (
        "DEMO MODEL",
        "CC BY-NC 4.0",
        "4 drawn by expert",
        "2d: keep_largest",
        "d" * 64,
        "| cv | 2d | macro |",
    ):
        assert part in text


def test_a_model_without_a_file_is_not_archived(model, tmp_path):
    (model.model_folder / "fold_0" / "progress.png").unlink()
    with pytest.raises(ModelError, match=r"progress\.png"):
        write_archive([model], tmp_path / "out" / "model.zip", card)
    assert not (tmp_path / "out").exists()


def test_an_imported_model_stands_in_its_folder_with_its_card_and_without_trust(archive, place):
    record = import_archive(archive, place, name="theirs", trust=False)
    assert read_records(place) == [record]
    assert record.configurations == {Configuration.FLAT: (0,)}
    assert record.card == card(record.card.checkpoints)
    assert set(record.left_out) >= {f"{FLAT}/fold_0/progress.png", "Dataset108_CSpineSeg/MODEL_CARD.md"}
    assert (place / "theirs" / FLAT / "fold_0" / "checkpoint_final.pth").read_bytes() == b"weights" * 1000
    with pytest.raises(ModelError, match="code"):
        trusted_models(place, "theirs")


def test_it_predicts_once_it_is_trusted_and_is_still_what_was_imported(archive, place):
    import_archive(archive, place, name=None, trust=False)
    assert trust_model(place, "model").trusted
    (one,) = trusted_models(place, "model")
    assert (one.configuration, one.folds) == (Configuration.FLAT, (0,))
    (place / "model" / FLAT / "fold_0" / "checkpoint_final.pth").write_bytes(b"other weights")
    with pytest.raises(ModelError, match="not as it was imported"):
        trusted_models(place, "model")


def test_an_unknown_model_is_named_with_those_that_are_there(archive, place):
    import_archive(archive, place, name="theirs", trust=True)
    with pytest.raises(ModelError, match=r"none called 'others'; there are: theirs"):
        read_record(place, "others")


def test_a_model_of_the_same_name_is_replaced_on_request_only(archive, place):
    import_archive(archive, place, name="theirs", trust=True)
    with pytest.raises(ModelError, match="--replace"):
        import_archive(archive, place, name="theirs", trust=False)
    assert not import_archive(archive, place, name="theirs", trust=False, replace=True).trusted


def test_an_archive_without_a_card_and_with_pickles_is_taken_without_them(archive, place):
    with zipfile.ZipFile(archive) as opened:
        contents = {one: opened.read(one) for one in opened.namelist() if "card" not in one.lower()}
    contents["Dataset108_CSpineSeg/ensembles/a/postprocessing.pkl"] = b"code"
    with zipfile.ZipFile(archive, "w") as opened:
        for one, content in contents.items():
            opened.writestr(one, content)
    record = import_archive(archive, place, name="stock", trust=False)
    assert record.card is None
    assert not list(place.rglob("*.pkl"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: spoilt(path, "../outside.txt"), "points outside"),
        (lambda path: spoilt(path, f"{FLAT}/../../../plans.json"), "points outside"),
        (lambda path: spoilt(path, "/etc/outside"), "points outside"),
        (lambda path: spoilt(path, "C:\\outside"), "points outside"),
        (lambda path: spoilt(path, "..\\outside"), "points outside"),
        (lambda path: spoilt(path, FLAT.replace("/", "\\") + "\\plans.json"), "some Windows programs"),
        (
            lambda path: spoilt(
                path, f"{FLAT}/fold_1/checkpoint_final.pth", external_attr=(stat.S_IFLNK | 0o777) << 16
            ),
            "link",
        ),
        (lambda path: spoilt(path, f"{FLAT}/PLANS.json"), "comes twice"),
        (lambda path: spoilt(path, "Dataset109_Other/T__P__3d_fullres/plans.json"), "one dataset"),
        (lambda path: spoilt(path, "Dataset108_CSpineSeg/Other__P__2d/plans.json"), "one dataset"),
        (lambda path: spoilt(path, "Dataset108_CSpineSeg/T__P__3d_fullres/plans.json"), r"no dataset\.json"),
        (lambda path: rewritten(path, f"{FLAT}/fold_0/checkpoint_final.pth", bytes(10**7)), "no weights do that"),
        (
            lambda path: rewritten(path, f"{FLAT}/dataset.json", b'{"labels": {"background": 0, "a": 1}}'),
            "expected labels",
        ),
        (lambda path: rewritten(path, f"{FLAT}/dataset.json", b"[" * 10**5), "no JSON"),
        (lambda path: rewritten(path, "Dataset108_CSpineSeg/model_card.json", b"{}"), "card cannot be understood"),
        (lambda path: path.write_bytes(b"no zip"), "expected a whole zip"),
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "expected a whole zip"),
        (lambda path: path.unlink(), "there is none"),
    ],
)
def test_an_archive_that_cannot_be_trusted_to_unpack_leaves_nothing_behind(archive, place, tmp_path, spoil, said):
    spoil(archive)
    before = {path for path in tmp_path.rglob("*") if place not in path.parents and path != place}
    with pytest.raises(ModelError, match=said):
        import_archive(archive, place, name="theirs", trust=True)
    after = {path for path in tmp_path.rglob("*") if place not in path.parents and path != place}
    assert after <= before | {place.parent}
    assert not place.exists() or list(place.iterdir()) == []


def test_torn_content_is_noticed(archive, place):
    content = bytearray(archive.read_bytes())
    start = content.index(b"checkpoint_final.pth") + 40
    content[start : start + 8] = b"\0" * 8
    archive.write_bytes(content)
    with pytest.raises(ModelError, match="expected a whole zip"):
        import_archive(archive, place, name="theirs", trust=True)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("place_of_name", ["directory", "member"])
def test_names_that_are_no_text_are_a_damaged_archive(archive, place, place_of_name):
    """Found by fuzzing: names that say that they are UTF-8, and are not."""
    spoilt(archive, "Dataset108_CSpineSeg/é.txt")
    content = bytearray(archive.read_bytes())
    name = "é.txt".encode()
    at = content.rindex(name) if place_of_name == "directory" else content.index(name)
    content[at : at + 2] = b"\xff\xff"
    archive.write_bytes(content)
    if place_of_name == "directory":
        with pytest.raises(ModelError, match="expected a whole zip"):
            import_archive(archive, place, name="theirs", trust=True)
    else:
        assert import_archive(archive, place, name="theirs", trust=True).name == "theirs"


def test_a_member_without_a_name_is_left_out(archive, place):
    """Found by fuzzing: Python's zipfile asks for the last letter of every name."""
    spoilt(archive, "")
    assert "" in import_archive(archive, place, name="theirs", trust=True).left_out


@pytest.mark.parametrize("packed", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_content_that_is_torn_is_noticed_however_it_is_packed(archive, place, tmp_path, packed):
    again = tmp_path / "again.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(again, "w", packed) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
        checkpoint = next(info for info in target.infolist() if info.filename.endswith("checkpoint_final.pth"))
    content = bytearray(again.read_bytes())
    start = checkpoint.header_offset + len(checkpoint.FileHeader()) + 12
    content[start : start + 8] = b"\xff" * 8
    again.write_bytes(content)
    with pytest.raises(ModelError, match="expected a whole zip"):
        import_archive(again, place, name="theirs", trust=True)
    assert list(place.iterdir()) == []


def described(archive: Path, **changes) -> Path:
    return rewritten(archive, f"{FLAT}/dataset.json", json.dumps(DESCRIPTION | changes).encode())


SWAPPED = {"background": 0, "disc": 1, "vertebrae": 2}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": SWAPPED}, "bodies and discs are swapped"),
        ({"labels": {"background": 0, "IVD": 1, "vertebralBody": 2}}, "bodies and discs are swapped"),
        ({"labels": {"background": 0, "spinal_cord": 1, "canal": 2}}, "Only models of these structures"),
        ({"labels": {"background": 0, "vertebrae": 1, "spinal canal": 2}}, "Only models of these structures"),
        ({"labels": {"vertebrae": 0, "disc": 1, "background": 2}}, "Only models of these structures"),
        ({"labels": {"background": 0, "vertebrae": 1, "bodies": 2}}, "Only models of these structures"),
        ({"labels": {"background": 0, "vertebrae": [1, 2], "disc": 2}}, "Only models of these structures"),
        ({"labels": {"background": 0, "a": 1, "b": 2}}, "--accept-names"),
        ({"channel_names": {"0": "FLAIR"}}, "--accept-names"),
        ({"channel_names": {"0": "CT"}}, "one of CT"),
        ({"channel_names": {"0": "T2", "1": "T1"}}, "one channel"),
        ({"file_ending": ".nii"}, "got file_ending '.nii'"),
    ],
)
def test_labels_and_channels_are_compared_by_name_and_number(archive, place, changes, said):
    """What may be wrong with them: one of two names swapped, a structure called background, regions, synonyms."""
    with pytest.raises(ModelError, match=said):
        import_archive(described(archive, **changes), place, name="theirs", trust=False)
    if said == "--accept-names":
        assert import_archive(archive, place, name="theirs", trust=False, accept_names=True).name == "theirs"
    else:
        with pytest.raises(ModelError, match=said):
            import_archive(archive, place, name="theirs", trust=False, accept_names=True)


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "Vertebral Bodies": 1, "intervertebral discs": 2},
        {"BG": 0, "VB": 1, "IVD": 2},
        {"background": 0, "vertebra": 1, "disk": 2},
    ],
)
def test_other_words_for_the_same_structures_are_known(archive, place, labels):
    assert import_archive(described(archive, labels=labels), place, name="theirs", trust=False).name == "theirs"


@pytest.mark.parametrize(
    ("plans", "said"),
    [
        ({"configurations": {"3d_fullres": {"patch_size": [8, 8, 8]}}}, "plans of 2d, its plans.json has none"),
        ({"configurations": {"2d": {"patch_size": [8, 8, 8]}}}, "a patch of 2 axes"),
        (
            {"configurations": {"2d": {}}, "foreground_intensity_properties_per_channel": {"0": {}, "1": {}}},
            r"1 channel\(s\)",
        ),
    ],
)
def test_plans_are_those_of_the_configuration_and_the_data_set(archive, place, plans, said):
    with pytest.raises(ModelError, match=said):
        import_archive(
            rewritten(archive, f"{FLAT}/plans.json", json.dumps(plans).encode()), place, name="theirs", trust=False
        )


def test_a_trainer_of_nnunet_that_cannot_be_loaded_here_is_named_at_once(archive, place, monkeypatch):
    monkeypatch.setattr(model_terms, "trainer_module", lambda name: f"nnunetv2.no_such_{name}")
    renamed = archive.with_name("renamed.zip")
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(renamed, "w") as target:
        for one in source.namelist():
            target.writestr(one.replace("nnUNetTrainer__", "nnUNetTrainerOther__"), source.read(one))
    with pytest.raises(ModelError, match=r"trainer nnUNetTrainerOther to load here.*No module named"):
        import_archive(renamed, place, name="theirs", trust=False)


def test_trainers_of_nnunet_are_found_without_loading_any():
    assert model_terms.trainer_module("nnUNetTrainerNoMirroring").endswith(".nnUNetTrainerNoMirroring")
    assert model_terms.trainer_module("nnUNetTrainer_250epochs") is not None
    assert model_terms.trainer_module("nnUNetTrain") is None


@pytest.mark.parametrize(("limit", "most"), [("MOST_BYTES", 1000), ("MOST_ENTRIES", 3), ("MOST_TEXT_BYTES", 1)])
def test_an_archive_beyond_the_limits_is_refused(archive, place, monkeypatch, limit, most):
    monkeypatch.setattr(untrusted_archive, limit, most)
    with pytest.raises(ModelError, match=r"at most|too large"):
        import_archive(archive, place, name="theirs", trust=True)


@pytest.mark.parametrize("name", ["../out", "a b", "", ".hidden", "a/b"])
def test_a_name_that_is_a_path_is_refused(archive, place, name):
    if name:
        with pytest.raises(ModelError, match="--name"):
            import_archive(archive, place, name=name, trust=True)
    with pytest.raises(ModelError, match="expected an imported model"):
        read_record(place, name)


@pytest.mark.slow
def test_a_real_model_travels_to_another_home_and_through_nnunets_own_commands(
    planned_study, uninterrupted, tmp_path, place
):
    model = model_of(planned_study.folders, str(ANNOTATED), Configuration.FLAT, [0], profile=TINY)
    ours = write_archive([model], tmp_path / "ours.zip", card).path
    theirs = tmp_path / "theirs.zip"
    environment = child_environment(planned_study.folders, workers=1, augmentation_workers=1)
    run_stock("export_model_to_zip", "-d", "108", "-o", theirs, "-c", "2d", "-f", "0", env=environment)
    with zipfile.ZipFile(ours) as one, zipfile.ZipFile(theirs) as other:
        own = {"Dataset108_CSpineSeg/model_card.json", "Dataset108_CSpineSeg/MODEL_CARD.md"}
        assert set(one.namelist()) - own == set(other.namelist()) - {f"{FLAT}/fold_0/debug.json"}
        same = [name for name in other.namelist() if not name.endswith(("summary.json", "debug.json"))]
        assert all(one.read(name) == other.read(name) for name in same)

    installed = NnunetFolders.under(tmp_path / "elsewhere")
    installed.results.mkdir(parents=True)
    environment = child_environment(installed, workers=1, augmentation_workers=1)
    run_stock("install_pretrained_model_from_zip", ours, env=environment)
    assert (installed.results / FLAT / "fold_0" / "checkpoint_final.pth").exists()

    case = next(case for case in planned_study.cases if case.part == "test")
    settings = PredictionSettings(disable_tta=True, step_size=0.5)
    how = {"slot": CPU, "supervision": planned_study.supervision("travelled")}
    for archive, name in ((ours, "ours"), (theirs, "theirs")):
        import_archive(archive, place, name=name, trust=True)
    for models, mask in ((trusted_models(place, "theirs"), "there.nii.gz"), ([model], "here.nii.gz")):
        predict_scan(Application(models, settings, {}, is_demo=False), case.image, tmp_path / mask, **how)
    assert (tmp_path / "there.nii.gz").read_bytes() == (tmp_path / "here.nii.gz").read_bytes()
    shutil.rmtree(place / "ours")
    assert (place / "theirs" / RECORD_FILE).exists()
