"""Recipes as files, their limits, and how a training uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookonce import Augmentation, LookonceError, Recipe
from lookonce.cli.main import build_parser
from lookonce.training.recipe import read_recipe

CHANGED = Recipe(
    epochs=7,
    batch_size=3,
    optimizer="sgd",
    schedule="steps",
    milestones=((0.8, 0.1), (0.9, 0.1)),
    ignore_thresh=None,
    multi_scale=1.4,
    augmentation=Augmentation(mosaic=0.5, mixup=0.1, flip_vertical=True),
)


def test_a_written_recipe_is_read_back(tmp_path: Path):
    CHANGED.write(tmp_path / "recipe.toml")
    back = read_recipe(tmp_path / "recipe.toml")
    # TOML has no null: a setting that is None is left out, and has its default again.
    assert back == CHANGED.changed({"ignore_thresh": Recipe().ignore_thresh})


def test_no_file_is_the_defaults_and_a_short_one_changes_what_it_names(tmp_path: Path):
    (tmp_path / "short.toml").write_text("epochs = 5\n[augmentation]\nmixup = 0.25\n")
    assert read_recipe(None) == Recipe()
    short = read_recipe(tmp_path / "short.toml")
    assert (short.epochs, short.augmentation.mixup) == (5, 0.25)
    assert short.batch_size == Recipe().batch_size


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("epoch = 5", "Did you mean epochs"),
        ("epochs = 5.5", "type int"),
        ("epochs = true", "type int"),
        ("learning_rate = 'high'", "type float"),
        ("epochs = 0", "epochs is 0"),
        ("loss = 'eiou'", "loss is 'eiou'"),
        ("[augmentation]\nmosaik = 1.0", "Did you mean mosaic"),
        ("[augmentation]\nmosaic = 2.0", "mosaic is 2"),
        ("augmentation = 1", "table"),
        ("schedule = 'steps'\nmilestones = [0.5]", "milestones"),
        ("epochs = ", "TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_file_and_setting(text: str, word: str, tmp_path: Path):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(LookonceError, match=word) as refused:
        read_recipe(file)
    if "mosaic is" not in word:
        assert str(file) in str(refused.value)


def test_a_missing_recipe_is_named(tmp_path: Path):
    with pytest.raises(LookonceError, match=r"none\.toml"):
        read_recipe(tmp_path / "none.toml")


def test_flags_override_the_file(tmp_path: Path):
    from lookonce.cli.train import _recipe

    CHANGED.write(tmp_path / "recipe.toml")
    flags = ["--epochs", "9", "--mosaic", "0.2", "--weight-decay", "0.1", "--loss", "giou"]
    arguments = build_parser().parse_args(
        ["train", "DATA", "--recipe", str(tmp_path / "recipe.toml"), *flags]
    )
    recipe = _recipe(arguments)
    assert (recipe.epochs, recipe.weight_decay, recipe.loss) == (9, 0.1, "giou")
    assert (recipe.augmentation.mosaic, recipe.augmentation.mixup) == (0.2, 0.1)
    assert recipe.batch_size == 3
