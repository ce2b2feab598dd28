"""The public names, used as a Python user does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import lookonce
from lookonce.labels.demo_set import make_demo_set


def test_every_public_name_is_there() -> None:
    for name in lookonce.__all__:
        assert getattr(lookonce, name) is not None
    assert set(lookonce.__all__) <= set(dir(lookonce))
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = lookonce.nothing_of_the_kind


@pytest.mark.parametrize("name", ["conf", "iou"])
def test_library_errors_name_parameters_not_flags(name: str, shared: Path) -> None:
    cfg = shared / "weights" / "yolo-fastest" / "yolo-fastest-1.1.cfg"
    with pytest.raises(lookonce.LookonceError) as refused:
        lookonce.Detector(cfg, weights=cfg.with_suffix(".weights"), **{name: 3.0})
    assert name in str(refused.value)
    assert "--" not in str(refused.value)


@pytest.mark.slow
def test_train_evaluate_detect_and_export_from_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras

    dataset = lookonce.Dataset.open(make_demo_set(tmp_path, images=8, seed=5))
    epochs: list[int] = []

    class Count(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            epochs.append(epoch)

    still = lookonce.Augmentation(
        smallest=0.9, largest=1.1, flip=False, hue=0.0, saturation=1.0, exposure=1.0
    )
    result = lookonce.train(
        dataset,
        size=(64, 96),
        train_split="trainval",
        val_split="none",
        recipe=lookonce.Recipe(epochs=2, batch_size=4, learning_rate=2e-3, augmentation=still),
        out=tmp_path / "run",
        callbacks=[Count()],
        verbose=False,
    )
    assert epochs == list(range(2))
    assert capsys.readouterr().out == ""
    metrics = lookonce.evaluate(result.model_path, dataset, split=None)
    assert 0 <= metrics.ap75 <= metrics.ap50 <= 1

    detector = lookonce.Detector(result.model_path)
    found = detector.detect(np.zeros((100, 150, 3), np.uint8))
    assert isinstance(found, lookonce.Detections)
    assert lookonce.export_model(result.model_path, tmp_path / "model.onnx").is_file()
    network, card = lookonce.open_model(result.model_path)
    assert card.classes == detector.names
    assert network.count_params() > 0


@pytest.mark.slow
def test_the_python_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    data = make_demo_set(tmp_path, images=12, seed=2)
    data.rename(tmp_path / "my-PascalVOC-export")
    images = sorted((tmp_path / "my-PascalVOC-export" / "JPEGImages").iterdir())
    for name, image in zip(("one.jpg", "two.jpg"), images, strict=False):
        shutil.copy(image, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert "epochs=40" in code[1]
    exec(compile(code[1].replace("epochs=40", "epochs=1"), "README.md", "exec"), {})
    assert (tmp_path / "model.onnx").is_file()
