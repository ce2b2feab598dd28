"""The converter between Label Studio's labelling configs and predictions, and our detections."""

from __future__ import annotations

import numpy as np
import pytest

from lookonce.core.detections import Detections
from lookonce.labels.records import LabelError
from lookonce.serving.protocols.label_studio_config import LabelingConfig, prediction, read_config

CONFIG = """
<View>
  <Header value="Cells"/>
  <Image name="image" value="$photo" zoom="true"/>
  <RectangleLabels name="cells" toName="image">
    <Label value="Red cell" predicted_values="RBC, Platelets"/>
    <Label value="Platelets" background="#f00"/>
    <Label value="White cell" alias="WBC"/>
  </RectangleLabels>
</View>
"""


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.asarray(rows, np.float32).reshape(-1, 6)
    return Detections(
        table[:, :4],
        table[:, 4],
        table[:, 5].astype(np.int64),
        ("RBC", "wbc", "Platelets", "dog"),
        (640, 480),
    )


def test_config_names_and_labels():
    config = read_config(CONFIG)
    assert (config.from_name, config.to_name, config.data_key) == ("cells", "image", "photo")
    assert config.label_of("RBC") == "Red cell"
    # Annotations contain the alias; a label's own name takes precedence over others' predicted_values.
    assert config.label_of("white CELL") == config.label_of("wbc") == "WBC"
    assert config.label_of("platelets") == "Platelets"
    assert config.label_of("dog") is None
    assert LabelingConfig().label_of("dog") == "dog"


@pytest.mark.parametrize("value", ["$photo", "${photo}", "$data.photo", " $photo "])
def test_the_ways_to_name_a_variable(value: str):
    assert read_config(CONFIG.replace("$photo", value)).data_key == "photo"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<View>", "not XML"),
        ("", "not XML"),
        ("<View/>", "no RectangleLabels"),
        (CONFIG.replace('toName="image"', 'toName="text"'), "toName"),
        (CONFIG.replace('value="$photo"', 'valueList="$photos"'), 'without value="$'),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', "not XML"),
    ],
)
def test_configs_without_boxes_are_reported(text: str, message: str):
    with pytest.raises(LabelError, match=r"expected <Image .*RectangleLabels") as caught:
        read_config(text)
    assert message in str(caught.value)


def test_prediction_in_percent_of_the_image():
    result = prediction(
        found((64, 48, 320, 240, 0.9, 0), (-3, 0, 700, 480, 0.5, 1), (0, 0, 9, 9, 0.8, 3)),
        read_config(CONFIG),
        "v7",
    )
    # The dog has no label in the project.
    assert [one["value"]["rectanglelabels"] for one in result["result"]] == [["Red cell"], ["WBC"]]
    assert result["result"][0] == {
        "type": "rectanglelabels",
        "from_name": "cells",
        "to_name": "image",
        "original_width": 640,
        "original_height": 480,
        "image_rotation": 0,
        "value": {
            "x": 10,
            "y": 10,
            "width": 40,
            "height": 40,
            "rotation": 0,
            "rectanglelabels": ["Red cell"],
        },
        "score": 0.9,
    }
    edge = result["result"][1]["value"]
    assert (edge["x"], edge["y"], edge["width"], edge["height"]) == (0, 0, 100, 100)
    assert result["score"] == pytest.approx(0.7)
    assert result["model_version"] == "v7"


def test_prediction_without_a_config_keeps_the_models_names():
    result = prediction(found((0, 0, 64, 48, 0.5, 3)))
    assert result["result"][0]["from_name"] == "label"
    assert result["result"][0]["value"]["rectanglelabels"] == ["dog"]
    assert prediction(found()) == {"result": [], "score": 0.0}
