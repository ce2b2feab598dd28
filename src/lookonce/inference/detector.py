"""Pictures in, Detections out."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from lookonce.backend import choose_backend
from lookonce.boxes import Geometry, clip_boxes
from lookonce.darknet import parse_cfg
from lookonce.darknet_pair import adjusted
from lookonce.detections import Detections
from lookonce.errors import LookonceError
from lookonce.inference.decode import Candidates, decode
from lookonce.inference.engines import BoxesEngine, Engine, start_engine
from lookonce.inference.nms import nms
from lookonce.inference.opening import open_graph
from lookonce.model_card import ModelCard
from lookonce.pictures import PictureError, read_picture
from lookonce.resize import to_input

if TYPE_CHECKING:
    import keras

Picture = NDArray[np.uint8] | str | Path
Item = TypeVar("Item", bound=Picture)
_Prepared = tuple[NDArray[np.float32], Geometry]

# Reading a JPEG and resizing it leave the GIL; more threads than this only fill memory.
_READERS = 4


class Detector:
    """A model ready to look at pictures: `Detector("model.onnx").detect("photo.jpg")`.

    `names` are its classes, `card` what the model file says of itself, `engine` what runs it.
    """

    def __init__(
        self,
        model_path: str | Path,
        weights: str | Path | None = None,
        classes: str | Path | None = None,
        resize: str | None = None,
        conf: float = 0.3,
        iou: float = 0.45,
        engine: str = "auto",
        device: str = "auto",
        threads: int = 0,
    ) -> None:
        """Open a `.onnx` or `.keras` file, or a Darknet `.cfg` with its `weights`.

        `conf`: detections score above it; `iou`: of two boxes of a class that overlap by more, the better
        stays (an ONNX file with NMS inside has both built in; of `conf` the higher holds). `engine` is one of
        ENGINES: "auto" and "onnx" run in ONNX Runtime, on the `device` of DEVICES. `threads` 0 leaves their
        number to the engine. Raises LookonceError.
        """
        path = Path(model_path)
        if engine == "keras":
            network, card = _open_keras(path, weights)
            started: Engine = _keras_engine(network, card)
        else:
            started = start_engine(open_graph(path, weights), engine, device, threads)
            card = ModelCard.of_metadata(started.metadata, str(path))
        self._prepare(started, adjusted(card, path, classes, resize), conf, iou)

    @classmethod
    def from_keras(
        cls, network: keras.Model, card: ModelCard, conf: float = 0.3, iou: float = 0.45
    ) -> Detector:
        """A detector on a model in memory; it follows later changes of the weights. Raises LookonceError."""
        detector = cls.__new__(cls)
        detector._prepare(_keras_engine(network, card), card, conf, iou)
        return detector

    @classmethod
    def from_graph(cls, graph: bytes, conf: float = 0.3, iou: float = 0.45, engine: str = "auto") -> Detector:
        """A detector on an ONNX file's content, card inside. Raises LookonceError."""
        detector = cls.__new__(cls)
        started = start_engine(graph, engine)
        detector._prepare(started, ModelCard.of_metadata(started.metadata, "the graph"), conf, iou)
        return detector

    def _prepare(self, engine: Engine, card: ModelCard, conf: float, iou: float) -> None:
        for name, value in (("conf", conf), ("iou", iou)):
            if not 0 <= value <= 1:
                raise LookonceError(f"--{name} is {value}; expected a number from 0 to 1.")
        self.engine, self.card, self.names = engine, card, card.classes
        self.conf, self.iou = conf, iou
        self._heads = parse_cfg(card.cfg).heads

    def warm_up(self, batch: int = 1) -> None:
        """Compile the network now instead of at the first picture."""
        self.engine(np.zeros((batch, *self.card.input_size, 3), np.float32))

    def detect(self, image: Picture) -> Detections:
        """What stands in one picture: a uint8 RGB array (h, w, 3), or the path of a file.

        Raises PictureError for a file that can't be read, LookonceError for an array of another form.
        """
        prepared = self._load(image)
        return self._answer([prepared])[0]

    def detect_many(
        self, images: Iterable[Item], batch: int = 8
    ) -> Iterator[tuple[Item, Detections | PictureError]]:
        """Each picture with its Detections, or the PictureError that kept it from being read, in order.

        Pictures are read and resized by threads while the network works on the batch before.
        """
        if batch < 1:
            raise LookonceError(f"--batch is {batch}; expected 1 or more.")
        waiting: deque[tuple[Item, Future[_Prepared]]] = deque()
        remaining = iter(images)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="read") as pool:
            try:
                while True:
                    for image in itertools.islice(remaining, 2 * batch - len(waiting)):
                        waiting.append((image, pool.submit(self._load, image)))
                    if not waiting:
                        return
                    taken = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
                    yield from self._answer_batch(taken)
            finally:
                for _, future in waiting:
                    future.cancel()

    def _answer_batch(
        self, taken: list[tuple[Item, Future[_Prepared]]]
    ) -> Iterator[tuple[Item, Detections | PictureError]]:
        errors: dict[int, PictureError] = {}
        ready: list[_Prepared] = []
        for index, (_, future) in enumerate(taken):
            try:
                ready.append(future.result())
            except PictureError as error:
                errors[index] = error
        answers = iter(self._answer(ready) if ready else ())
        for index, (image, _) in enumerate(taken):
            yield image, errors[index] if index in errors else next(answers)

    def _load(self, image: Picture) -> _Prepared:
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise LookonceError(
                    f"a picture is an array {image.dtype} {image.shape}; expected uint8 RGB (h, w, 3)."
                )
            pixels = image
        else:
            pixels = read_picture(Path(image))
        return to_input(pixels, self.card.input_size, self.card.resize)

    def _answer(self, prepared: list[_Prepared]) -> list[Detections]:
        batch = np.stack([pixels for pixels, _ in prepared])
        geometries = [geometry for _, geometry in prepared]
        if isinstance(self.engine, BoxesEngine):
            found = self.engine.boxes(batch)
            return [self._place(*one, geometry) for one, geometry in zip(found, geometries, strict=True)]
        outputs = self.engine(batch)
        return [
            self._place(*self._decode([head[index] for head in outputs], geometry), geometry)
            for index, geometry in enumerate(geometries)
        ]

    def _decode(self, heads: list[NDArray[np.float32]], geometry: Geometry) -> Candidates:
        """The candidates that NMS lets stand, boxes in input pixels."""
        boxes, scores, classes = decode(heads, self._heads, self.card.input_size, self.conf)
        # Darknet compares boxes as fractions of the picture, and not clipped.
        size = np.asarray([geometry.width, geometry.height] * 2, np.float32)
        kept = nms((geometry.to_picture(boxes) / size).astype(np.float32), scores, classes, self.iou)
        return boxes[kept], scores[kept], classes[kept]

    def _place(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        classes: NDArray[np.int64],
        geometry: Geometry,
    ) -> Detections:
        size = (geometry.width, geometry.height)
        above = scores > self.conf
        placed = clip_boxes(geometry.to_picture(boxes[above]), *size)
        return Detections(placed, scores[above], classes[above], self.names, size)


def _open_keras(path: Path, weights: str | Path | None) -> tuple[keras.Model, ModelCard]:
    try:
        choose_backend()
        from lookonce.network import open_model
    except ImportError as error:
        raise LookonceError("the engine keras isn't installed: pip install 'lookonce[tensorflow]'") from error
    return open_model(path, weights=weights)


def _keras_engine(network: keras.Model, card: ModelCard) -> Engine:
    from lookonce.inference.keras_engine import KerasEngine

    return KerasEngine(network, card.input_size)
