"""What `train --on azure` passes on to the job."""

from __future__ import annotations

import argparse
from pathlib import Path

from lookonce.cli.main import build_parser
from lookonce.cli.train_azure import _options

# The job gets these otherwise, or they concern this machine only.
LOCAL = {
    *(
        "command",
        "data",
        "data_dir",
        "out",
        "resume",
        "no_track",
        "experiment_name",
        "on",
        "run",
        "parser",
        "seed",
    ),
    *(
        "gpu_num",
        "nodes",
        "compute",
        "vm_size",
        "low_priority",
        "config",
        "no_watch",
        "download",
        "register_as",
    ),
    *("ds_name", "weights", "container", "datastore"),
}


def test_every_setting_of_the_training_reaches_the_job(tmp_path: Path) -> None:
    recipe, names = tmp_path / "recipe.toml", tmp_path / "names.txt"
    recipe.write_text("epochs = 3\n")
    names.write_text("a\n")
    flags = ["--recipe", str(recipe), "--class-path", str(names), "--epochs", "3", "--freeze-epochs", "1"]
    flags += ["--bs", "2", "--lr", "0.1", "--loss", "giou", "--patience", "4", "--weight-decay", "0.1"]
    flags += [
        "--multi-scale",
        "1.2",
        "--closing",
        "0.2",
        "--mosaic",
        "0.5",
        "--mixup",
        "0.1",
        "--flip-vertical",
    ]
    flags += ["--size", "64x96", "--resize", "stretch", "--num-clusters", "4", "--seed", "9"]
    arguments = build_parser().parse_args(["train", "DATA", "--on", "azure", *flags])
    words, files = _options(arguments)
    job = build_parser().parse_args(["train", "DATA", *words])
    assert files == {"recipe.toml": recipe, "names.txt": names}
    for name, value in vars(arguments).items():
        if name in ("recipe", "class_path"):
            assert getattr(job, name) == Path(value).name
        elif name not in LOCAL and not callable(value) and not isinstance(value, argparse.ArgumentParser):
            assert getattr(job, name) == value, name
    assert job.seed == 9
