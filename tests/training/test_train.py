"""The whole job as its users run it: a process of its own, on images made on the spot."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from lookonce.labels.demo_set import make_demo_set

pytestmark = pytest.mark.slow

QUICK = ["--size", "64x96", "--bs", "4", "--lr", "0.003"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_demo_set(tmp_path_factory.mktemp("set"), images=20, seed=3)


def command(data, out, *options, epochs=3):
    return [sys.executable, "-m", "lookonce", "train", str(data), "--out", str(out), "--epochs", str(epochs),
            *QUICK, *options]  # fmt: skip


def run(*arguments, epochs=3):
    return subprocess.run(command(*arguments, epochs=epochs), capture_output=True, text=True, timeout=500)


def rows(out):
    with (out / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "run"
    done = run(data, out)
    assert done.returncode == 0, done.stderr
    return out


def test_a_run_leaves_every_artifact(unbroken, data):
    names = (
        "model.keras model.cfg model.weights custom_anchors.txt custom_classes.txt split.json metrics.csv "
        "recipe.toml curves.png anchors.png pr.png confusion.png worst.png best.png last/state.json"
    )
    for name in names.split():
        assert (unbroken / name).stat().st_size > 0, name
    with zipfile.ZipFile(unbroken / "model.keras") as archive:
        card = json.loads(archive.read("lookonce.json"))
    assert card["classes"] == (unbroken / "custom_classes.txt").read_text().split()
    assert card["input_size"] == [64, 96]
    split = json.loads((unbroken / "split.json").read_text())
    assert len(split["train"]) + len(split["val"]) == 20
    assert [row["epoch"] for row in rows(unbroken)] == ["1", "2", "3"]
    assert all(0 < float(row["loss"]) < 1000 for row in rows(unbroken))


def test_evaluate_and_detect_take_the_trained_model(unbroken, data, tmp_path):
    def lookonce(*arguments):
        command = [sys.executable, "-m", "lookonce", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    figures, plots = tmp_path / "figures.json", tmp_path / "plots"
    done = lookonce(
        "evaluate", unbroken / "model.keras", data, "--split", "val", "--json", figures, "--plots", plots
    )
    assert done.returncode == 0, done.stderr
    assert "VOC mAP" in done.stdout
    last = max(float(row["val_map"]) for row in rows(unbroken))
    assert json.loads(figures.read_text())["ap50"] == pytest.approx(last, abs=1e-4)
    assert sorted(path.name for path in plots.iterdir()) == [
        "best.png",
        "confusion.png",
        "pr.png",
        "worst.png",
    ]
    image = next((data / "JPEGImages").glob("*.jpg"))
    done = lookonce(
        "detect", unbroken / "model.keras", image, "--output", tmp_path / "drawn.jpg", "--conf", "0.01"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "drawn.jpg").exists()
    done = lookonce("evaluate", unbroken / "model.keras", data, "--split", "test")
    assert done.returncode == 1
    assert "test" in done.stderr


def test_same_seed_gives_the_same_metrics(unbroken, data, tmp_path):
    again = run(data, tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "metrics.csv").read_bytes() == (unbroken / "metrics.csv").read_bytes()


def test_killed_in_the_middle_of_an_epoch_resume_gives_the_metrics_of_an_unbroken_run(
    unbroken, data, tmp_path
):
    out = tmp_path / "killed"
    process = subprocess.Popen(
        command(data, out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in process.stdout:
        if line.startswith("epoch   1"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(rows(out)) < 3
    resumed = run(data, out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming after epoch" in resumed.stdout
    assert (out / "metrics.csv").read_bytes() == (unbroken / "metrics.csv").read_bytes()


def test_ctrl_c_says_how_to_go_on(data, tmp_path):
    out = tmp_path / "stopped"
    process = subprocess.Popen(
        command(data, out, epochs=200), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("epoch   1"):
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert (out / "model.keras").exists()


def test_a_finished_run_is_not_overwritten(unbroken, data):
    before = (unbroken / "model.keras").read_bytes()
    done = run(data, unbroken)
    assert done.returncode == 1
    assert "already holds a training run" in done.stderr
    assert (unbroken / "model.keras").read_bytes() == before


def test_resume_with_other_settings_is_refused(unbroken, data):
    done = run(data, unbroken, "--resume", "--loss", "ciou")
    assert done.returncode == 1
    assert "loss was 'cfg', now 'ciou'" in done.stderr


def test_pretrained_layers_are_taken_and_frozen_as_said(data, unbroken, tmp_path):
    out = tmp_path / "tuned"
    done = run(
        data, out, "--weights", str(unbroken / "model.keras"), "--freeze-epochs", "1", "--num-clusters", "4"
    )
    assert done.returncode == 0, done.stderr
    assert "of 13 convolutions taken" in done.stdout
    assert "Stage 1 (body frozen, 1 epochs)" in done.stdout
    assert [row["stage"] for row in rows(out)] == ["1", "2", "2"]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_one_epoch_trains_on_the_other_backends(backend, data, need, tmp_path):
    need(backend)
    done = subprocess.run(
        command(data, tmp_path / backend, "--backend", backend, "--val-split", "none", epochs=1),
        capture_output=True, text=True, timeout=500,
        env={key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(rows(tmp_path / backend)[0]["loss"]) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--num-clusters", "0"], "0 anchors"),
        (["--size", "100x96"], "multiples of 32"),
        (["--model", "yolov9"], "expected one of"),
        (["--train-split", "test"], "test"),
        (["--val-split", "train"], "in both"),
    ],
)
def test_wrong_settings_get_one_readable_message(data, tmp_path, options, words):
    done = run(data, tmp_path / "out", *options)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_unwritable_output_is_said_before_training(data, tmp_path):
    (tmp_path / "file").write_text("")
    done = run(data, tmp_path / "file" / "out")
    assert done.returncode == 1
    assert "Choose another folder" in done.stderr


def test_a_full_disk_is_said_and_keeps_what_was_saved(data, tmp_path, small_disk):
    done = run(data, small_disk / "run")
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((small_disk / "run").glob(".*"))


def test_a_real_vott_export_trains_unmodified(shared, tmp_path):
    out = tmp_path / "nuts"
    done = run(shared / "data" / "nuts_vott", out, epochs=1)
    assert done.returncode == 0, done.stderr
    assert (out / "custom_classes.txt").read_text().split() == ["nut", "washer", "springwasher"]
    split = json.loads((out / "split.json").read_text())
    assert (len(split["train"]), len(split["val"])) == (96, 25)
