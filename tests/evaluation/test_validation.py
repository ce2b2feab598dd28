"""Validation: readable errors for datasets that do not fit the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookonce.errors import LookonceError
from lookonce.evaluation.validation import Validation
from lookonce.labels.demo_set import make_demo_set

MODEL_CLASSES = [f"thing {number}" for number in range(80)]


def test_foreign_classes_give_one_short_message(tmp_path: Path) -> None:
    data = make_demo_set(tmp_path, images=6, seed=1)
    with pytest.raises(LookonceError) as caught:
        Validation.of_split(data, MODEL_CLASSES, "train")
    message = str(caught.value)
    for name in ("bolt", "nut", "washer"):
        assert message.count(name) == 1
    assert message.count("thing 0") == 1
    assert "75 more" in message
    assert "thing 5" not in message
    assert "learn" not in message
    assert len(message) < 400 + len(str(data))


def test_some_foreign_classes_are_refused_too(tmp_path: Path) -> None:
    data = make_demo_set(tmp_path, images=6, seed=1)
    with pytest.raises(LookonceError, match="washer") as caught:
        Validation.of_split(data, ["nut", "bolt"], "train")
    assert "more" not in str(caught.value)


def test_class_numbers_follow_the_model(tmp_path: Path) -> None:
    data = make_demo_set(tmp_path, images=6, seed=1)
    validation = Validation.of_split(data, ["washer", "bolt", "nut"], None)
    assert validation.names == ("washer", "bolt", "nut")
    assert len(validation.records) == 6
