"""Real trainings that are broken in every way we know: each is resumed or refused, and leaves no process behind."""

import os
import shutil
import signal
import subprocess
import threading
from dataclasses import replace

import psutil
import pytest

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet import process
from cspine_assets.nnunet.holds import HeldError
from cspine_assets.nnunet.process import ChildLostError, ChildStoppedError
from cspine_assets.nnunet.training import running_trainings
from cspine_assets_tests.nnunet.breakable import (
    EPOCHS,
    LONG,
    SAVE_EVERY,
    Heard,
    epochs_in,
    family,
    left_of,
    start_step,
    wait_for_epoch,
)
from cspine_assets_tests.nnunet.stock_command import run_stock
from cspine_assets_tests.nnunet.tiny import train
from cspine_assets_tests.processes import SetClock

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unbroken(planned_study, tmp_path_factory):
    """The training that none of the others may differ from."""
    return train(planned_study, profile=LONG, results=tmp_path_factory.mktemp("unbroken"))


def assert_whole(trained, unbroken):
    assert [epoch.epoch for epoch in trained.record.epochs] == list(range(1, EPOCHS + 1))
    assert trained.epochs == unbroken.epochs
    for structure, dice in unbroken.validation_dice.items():
        assert trained.validation_dice[structure] == pytest.approx(dice, abs=0.02)


def test_a_child_killed_at_its_last_epoch_but_one_goes_on_by_itself_with_fewer_workers(planned_study, tmp_path):
    struck = []  # the tests below strike at the epochs before

    def kill():
        struck.extend(family())
        struck[0].send_signal(signal.SIGKILL)

    heard = Heard(EPOCHS - 1, kill)
    trained = train(planned_study, profile=LONG, results=tmp_path, on_message=heard, augmentation_workers=2)
    assert len(struck) >= 3, "the child, and workers that augment"
    assert left_of(struck) == []
    assert heard.lost() <= SAVE_EVERY
    assert [epoch.epoch for epoch in trained.record.epochs] == list(range(1, EPOCHS + 1))
    assert any("signal 9" in note and "with 1 instead of 2" in note for note in heard.notes)


def test_a_dead_augmentation_worker_is_told_and_fewer_are_tried(planned_study, tmp_path):
    struck = []

    def kill_a_worker():
        struck.extend(family())
        struck[1].send_signal(signal.SIGKILL)

    heard = Heard(2, kill_a_worker)
    trained = train(planned_study, profile=LONG, results=tmp_path, on_message=heard, augmentation_workers=2)
    assert any("no longer alive" in note and "with 1 instead of 2" in note for note in heard.notes), heard.notes
    assert left_of(struck) == []
    assert heard.lost() <= SAVE_EVERY
    assert trained.epochs == EPOCHS


def test_a_hung_child_is_ended_and_goes_on_with_fewer_workers(planned_study, tmp_path, monkeypatch):
    struck, clock = [], SetClock()
    monkeypatch.setattr(process, "time", clock)

    def hang():
        struck.extend(family())
        struck[0].suspend()
        clock.forward(1001)

    heard = Heard(SAVE_EVERY + 1, hang)
    trained = train(
        planned_study,
        profile=LONG,
        results=tmp_path,
        on_message=heard,
        augmentation_workers=1,
        heartbeat_timeout_s=1000,
    )
    assert any("silent for more than 1000 s" in note and "with 0 instead of 1" in note for note in heard.notes)
    assert left_of(struck) == []
    assert heard.lost() <= SAVE_EVERY
    assert trained.epochs == EPOCHS


def test_a_child_that_dies_without_workers_fails_and_the_next_call_goes_on(planned_study, unbroken, tmp_path):
    heard = Heard(3, lambda: family()[0].send_signal(signal.SIGKILL))
    with pytest.raises(ChildLostError, match="signal 9"):
        train(planned_study, profile=LONG, results=tmp_path, on_message=heard)
    trained = train(planned_study, profile=LONG, results=tmp_path, on_message=heard)
    assert heard.lost() <= SAVE_EVERY
    assert_whole(trained, unbroken)


def test_a_killed_step_is_begun_anew_by_its_parent_and_resumes(planned_study, unbroken, tmp_path):
    parent = start_step(planned_study.home, tmp_path)
    wait_for_epoch(parent, 3)
    struck = family(parent.pid)
    struck[0].parent().send_signal(signal.SIGKILL)
    said = parent.communicate()[0].splitlines()
    assert left_of(struck) == []
    told = [1, 2, 3, *epochs_in(said)]
    assert len(told) - len(set(told)) <= SAVE_EVERY
    assert said[-1].startswith(f"made {EPOCHS} "), said
    assert said[-1] != f"made {EPOCHS} None", "it has begun from the start"
    assert_whole(train(planned_study, profile=LONG, results=tmp_path), unbroken)


# child and parent killed at one stroke: test_process, with workers of every kind and no training
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_its_parent_and_the_training_resumes(planned_study, tmp_path, blow):
    parent = start_step(planned_study.home, tmp_path, augmentation_workers=2)
    wait_for_epoch(parent, 1)
    struck = [*psutil.Process(parent.pid).children(recursive=True), *family(parent.pid)]
    assert len(family(parent.pid)) >= 3
    folders = replace(planned_study.folders, results=tmp_path)
    assert running_trainings(folders)
    parent.send_signal(blow)
    parent.wait()
    assert left_of(struck) == []
    assert running_trainings(folders) == ()
    heard = Heard(epochs=[1, *epochs_in(parent.stdout.read().splitlines())])
    parent.stdout.close()
    trained = train(planned_study, profile=LONG, results=tmp_path, on_message=heard)
    assert heard.lost() <= SAVE_EVERY
    assert [epoch.epoch for epoch in trained.record.epochs] == list(range(1, EPOCHS + 1))


def test_a_torn_latest_checkpoint_costs_no_more_than_the_one_before_it(planned_study, unbroken, tmp_path):
    parent = start_step(planned_study.home, tmp_path)
    wait_for_epoch(parent, 2 * SAVE_EVERY)
    struck = family(parent.pid)
    parent.kill()
    parent.wait()
    assert left_of(struck) == []
    heard = Heard(epochs=[*range(1, 2 * SAVE_EVERY + 1), *epochs_in(parent.stdout.read().splitlines())])
    parent.stdout.close()
    after_latest = max(heard.epochs) - 2 * SAVE_EVERY  # the blow's own part of the loss
    latest = next(tmp_path.rglob("checkpoint_latest.pth"))
    latest.write_bytes(latest.read_bytes()[: latest.stat().st_size // 2])
    # the best may be of any age: what is lost at most shows without it
    latest.with_name("checkpoint_best.pth").unlink()
    trained = train(planned_study, profile=LONG, results=tmp_path, on_message=heard)
    assert trained.resumed_from == "previous"
    assert heard.lost() - after_latest <= SAVE_EVERY
    assert any("checkpoint_latest.pth cannot be read" in note for note in heard.notes)
    assert_whole(trained, unbroken)
    assert not latest.with_name("checkpoint_previous.pth").exists(), "the final one stands"


def test_a_cancelled_training_ends_at_once_and_can_be_resumed(planned_study, tmp_path):
    stop, struck = threading.Event(), []

    def cancel():
        struck.extend(family())
        stop.set()

    heard = Heard(SAVE_EVERY + 1, cancel)
    with pytest.raises(ChildStoppedError):
        train(planned_study, profile=LONG, results=tmp_path, on_message=heard, augmentation_workers=2, stop=stop)
    assert heard.epochs == [*range(1, SAVE_EVERY + 2)], "it went on after it was cancelled"
    assert left_of(struck) == []
    trained = train(planned_study, profile=LONG, results=tmp_path, on_message=heard)
    assert trained.resumed_from is not None
    assert heard.lost() <= SAVE_EVERY
    assert [epoch.epoch for epoch in trained.record.epochs] == list(range(1, EPOCHS + 1))


def test_the_second_launch_of_a_fold_is_refused_with_the_reason(planned_study, tmp_path):
    parent = start_step(planned_study.home, tmp_path)
    try:
        wait_for_epoch(parent, 1)
        step = family(parent.pid)[0].parent()
        with pytest.raises(HeldError, match=rf"2d fold 0: process {step.pid} is at it since 20"):
            train(planned_study, profile=LONG, results=tmp_path)
        other = train(planned_study, fold=1, results=tmp_path)
        assert not other.up_to_date, "another fold is nobody else's"
    finally:
        said = parent.communicate()[0]
    assert f"made {EPOCHS} None" in said, "the first launch has not noticed"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 12 MB, or, where mounting is not allowed, None."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        print("no right to mount a small disk here: a limit on the size of files stands in for it")
        yield None
        return
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_stops_the_training_and_room_lets_it_go_on(planned_study, unbroken, small_disk, tmp_path):
    results = small_disk or tmp_path / "results"

    def fill():
        if small_disk is None:
            limit = next(results.rglob("checkpoint_latest.pth")).stat().st_size // 2
            family()[0].rlimit(psutil.RLIMIT_FSIZE, (limit, limit))
            return
        with (small_disk / "ballast").open("wb") as ballast:
            while True:
                try:
                    os.write(ballast.fileno(), bytes(4096))
                except OSError:
                    return

    heard = Heard(SAVE_EVERY + 1, fill)
    with pytest.raises(ModelError, match=r"cannot be written, \d+ MB of its disk are free"):
        train(planned_study, profile=LONG, results=results, on_message=heard)
    assert [path.name for path in results.rglob(".aside-*")] == []
    (results / "ballast").unlink(missing_ok=True)
    trained = train(planned_study, profile=LONG, results=results, on_message=heard)
    assert trained.resumed_from == "latest"
    assert heard.lost() <= SAVE_EVERY
    assert_whole(trained, unbroken)


def test_too_small_a_disk_is_refused_before_the_first_epoch_with_the_formula(planned_study, small_disk):
    if small_disk is None:
        pytest.skip("no right to mount a small disk here")
    with (small_disk / "ballast").open("wb") as ballast:
        ballast.write(bytes(shutil.disk_usage(small_disk).free - 3_000_000))
    heard = Heard()
    with pytest.raises(ModelError, match=r"needs .* MB of free disk \(4 checkpoints x [\d,]+ parameters x 12 B \+"):
        train(planned_study, profile=LONG, results=small_disk, on_message=heard)
    assert heard.epochs == []


@pytest.fixture(scope="module")
def nnunet(planned_study, unbroken):
    """Runs one of nnU-Net's own commands on our results."""
    folders = planned_study.folders
    environment = os.environ | {
        "nnUNet_raw": str(folders.raw),
        "nnUNet_preprocessed": str(folders.preprocessed),
        "nnUNet_results": str(unbroken.model_folder.parents[1]),
        "OMP_NUM_THREADS": "1",
    }

    def run(name, *arguments):
        run_stock(name, *arguments, env=environment)

    return run


def test_nnunets_own_commands_predict_with_and_export_what_we_trained(nnunet, planned_study, tmp_path):
    images = planned_study.folders.raw / "Dataset108_CSpineSeg" / "imagesTs"
    model = ("-d", 108, "-c", "2d", "-f", 0)
    nnunet("predict", "-i", images, "-o", tmp_path, *model, "-device", "cpu", "-npp", 1, "-nps", 1)
    assert len(list(tmp_path.glob("*.nii.gz"))) == len(list(images.iterdir())) > 0
    nnunet("export_model_to_zip", *model, "-o", tmp_path / "model.zip")
    assert (tmp_path / "model.zip").stat().st_size > 10_000
