"""Detect objects in images."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from lookonce.core.boxes import Geometry, clip_boxes
from lookonce.core.detections import Detections
from lookonce.core.model_card import ModelCard
from lookonce.darknet import parse_cfg
from lookonce.errors import LookonceError
from lookonce.inference.decode import Candidates, decode
from lookonce.inference.engines import BoxesEngine, start_engine
from lookonce.inference.nms import nms
from lookonce.inference.running import RunningModel, start_model
from lookonce.io.images import ImageError, read_image
from lookonce.io.resize import to_input
from lookonce.models.cards import card_from_metadata

if TYPE_CHECKING:
    import keras

ImageInput = NDArray[np.uint8] | str | Path
Item = TypeVar("Item", bound=ImageInput)
Thresholds = tuple[float, float]
Outputs = list[NDArray[np.float32]] | list[Candidates]


@dataclass(frozen=True, eq=False)
class ImageResult(Generic[Item]):
    """One image's detections, or the error that kept it from being read.

    `image` is uint8 RGB (h, w, 3), None if it is unreadable or too large to keep.
    """

    source: Item
    image: NDArray[np.uint8] | None
    detections: Detections | ImageError


class Prepared(NamedTuple):
    """An image ready for the network: `pixels` float32 (h, w, 3) at the input size, RGB 0..1.

    `image` is uint8 RGB, None if it is too large to keep.
    """

    image: NDArray[np.uint8] | None
    pixels: NDArray[np.float32]
    geometry: Geometry


# Larger images are not kept: a few batches in flight would fill the memory. Callers read them again.
_KEPT_BYTES = 8_000_000
# Reading a JPEG and resizing it leave the GIL; more threads than this only fill memory.
_READERS = 4


class Detector:
    """Detect objects in images.

    Args:
        model: a `.onnx` or `.keras` file, a Darknet `.cfg` with its `weights`, or a RunningModel.
        weights: Darknet weights of a `.cfg`.
        classes: file with one class name a line, instead of the model's own.
        resize: "letterbox" or "stretch" instead of the model's own.
        conf: detections score above it.
        iou: of two boxes of a class that overlap by more, the better is kept. An ONNX file with NMS inside has both
            thresholds built in; of `conf` the higher holds.
        engine: one of ENGINES; "auto" and "onnx" run in ONNX Runtime, on the `device` of DEVICES.
        threads: number of the engine's threads; 0 leaves it to the engine.
        lanes: batches that run at once in `stream`: with one thread each, as many lanes as cores give more images a
            second than one lane over all cores.

    Attributes:
        names: the classes.
        card: the model card.
        engine: the engine that runs the network.

    Raises:
        LookonceError: for a model that cannot be opened, or a threshold outside 0 to 1.

    Example:
        >>> from lookonce.darknet import published, random_weights, write_weights
        >>> cfg = published("yolov4-tiny")
        >>> _ = Path("model.cfg").write_text(cfg.text)
        >>> write_weights("model.weights", cfg, random_weights(cfg, seed=0))
        >>> detector = Detector("model.cfg", weights="model.weights", conf=0.9)
        >>> detector.detect(np.zeros((48, 64, 3), np.uint8)).image_size
        (64, 48)
    """

    def __init__(
        self,
        model: str | Path | RunningModel,
        weights: str | Path | None = None,
        classes: str | Path | None = None,
        resize: str | None = None,
        conf: float = 0.3,
        iou: float = 0.45,
        engine: str = "auto",
        device: str = "auto",
        threads: int = 0,
        lanes: int = 1,
    ) -> None:
        for name, value in (("conf", conf), ("iou", iou)):
            if not 0 <= value <= 1:
                raise LookonceError(f"{name} is {value}; expected a number from 0 to 1.")
        self._lanes = max(1, lanes)
        if not isinstance(model, RunningModel):
            path, threads = Path(model), threads or (1 if lanes > 1 else 0)
            model = start_model(path, weights, classes, resize, engine, device, threads)
        started, card, source = model
        self.engine, self.card, self.names = started, card, card.classes
        self.conf, self.iou = conf, iou
        self._source, self._heads = source, parse_cfg(card.cfg, f"{source}, its cfg").heads
        counts = {head.classes for head in self._heads}
        if counts != {len(card.classes)}:
            raise LookonceError(
                f"{source}: its card names {len(card.classes)} classes, the [yolo] sections of its cfg have "
                f"{', '.join(map(str, sorted(counts))) or 'none'}. Export the model again."
            )

    @classmethod
    def from_keras(
        cls, network: keras.Model, card: ModelCard, conf: float = 0.3, iou: float = 0.45
    ) -> Detector:
        """Return a detector on a model in memory; it follows later changes of the weights.

        Raises LookonceError.
        """
        from lookonce.inference.keras_engine import KerasEngine

        return cls(RunningModel(KerasEngine(network, card.input_size), card, "the model"), conf=conf, iou=iou)

    @classmethod
    def from_graph(
        cls, graph: bytes, conf: float = 0.3, iou: float = 0.45, engine: str = "auto", threads: int = 0
    ) -> Detector:
        """Return a detector on the content of an ONNX file with its card. Raises LookonceError."""
        started = start_engine(graph, engine, threads=threads)
        card = card_from_metadata(started.metadata, "the graph")
        return cls(RunningModel(started, card, "the graph"), conf=conf, iou=iou)

    def warm_up(self, batch: int = 1) -> None:
        """Compile the network now instead of at the first image."""
        self.infer(np.zeros((batch, *self.card.input_size, 3), np.float32))

    def detect(self, image: ImageInput) -> Detections:
        """Detect objects in one image: a uint8 RGB array (h, w, 3), or the path of a file.

        Raises ImageError for a file that cannot be read, LookonceError for an array of another form.
        """
        prepared = self.prepare(image)
        return self._detect_prepared([prepared])[0]

    def detect_many(
        self, images: Iterable[Item], batch: int = 8
    ) -> Iterator[tuple[Item, Detections | ImageError]]:
        """Yield each image with its Detections, or the ImageError that kept it from being read, in order."""
        for result in self.stream(images, batch):
            yield result.source, result.detections

    def stream(self, images: Iterable[Item], batch: int = 8) -> Iterator[ImageResult[Item]]:
        """Yield each image's result with its pixels, in order, for drawing and other further use.

        Threads read and resize images, and others run the network, while the caller handles earlier results.
        Raises LookonceError.
        """
        if batch < 1:
            raise LookonceError(f"batch is {batch}; expected 1 or more.")
        remaining = iter(images)
        reading: deque[tuple[Item, Future[Prepared]]] = deque()
        running: deque[Future[list[ImageResult[Item]]]] = deque()
        with (
            ThreadPoolExecutor(_READERS, thread_name_prefix="read") as readers,
            ThreadPoolExecutor(self._lanes, thread_name_prefix="network") as network,
        ):
            try:
                while True:
                    for image in itertools.islice(remaining, (2 + self._lanes) * batch - len(reading)):
                        reading.append((image, readers.submit(self.prepare, image)))
                    while reading and len(running) <= self._lanes:
                        taken = [reading.popleft() for _ in range(min(batch, len(reading)))]
                        running.append(network.submit(self._detect_batch, taken))
                    if not running:
                        return
                    yield from running.popleft().result()
            finally:
                for _, read in reading:
                    read.cancel()
                for run in running:
                    run.cancel()

    def _detect_batch(self, taken: list[tuple[Item, Future[Prepared]]]) -> list[ImageResult[Item]]:
        loaded: list[Prepared | ImageError] = []
        for _, future in taken:
            try:
                loaded.append(future.result())
            except ImageError as error:
                loaded.append(error)
        ready = [one for one in loaded if not isinstance(one, ImageError)]
        answers = iter(self._detect_prepared(ready) if ready else ())
        return [
            ImageResult(item, None, one)
            if isinstance(one, ImageError)
            else ImageResult(item, one.image, next(answers))
            for (item, _), one in zip(taken, loaded, strict=True)
        ]

    def prepare(self, image: ImageInput) -> Prepared:
        """Read an image if it is a path, and resize it to the input size. Raises as `detect` does."""
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise LookonceError(
                    f"an image is an array {image.dtype} {image.shape}; expected uint8 RGB (h, w, 3)."
                )
            pixels = image
        else:
            pixels = read_image(Path(image))
        kept = pixels if pixels.nbytes <= _KEPT_BYTES else None
        return Prepared(kept, *to_input(pixels, self.card.input_size, self.card.resize))

    def _detect_prepared(self, prepared: list[Prepared]) -> list[Detections]:
        outputs = self.infer(np.stack([one.pixels for one in prepared]))
        return self.interpret(outputs, [one.geometry for one in prepared])

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the network on a batch (b, h, w, 3), 0..1; return raw heads, or each image's boxes."""
        return self.engine.boxes(batch) if isinstance(self.engine, BoxesEngine) else self.engine(batch)

    @property
    def nms_inside(self) -> bool:
        """Whether the model file has NMS and the score threshold built in."""
        return isinstance(self.engine, BoxesEngine)

    def interpret(
        self,
        outputs: Outputs,
        geometries: list[Geometry],
        thresholds: Sequence[Thresholds] | None = None,
        candidates: int | None = None,
    ) -> list[Detections]:
        """Decode outputs of `infer` and apply NMS; return each image's Detections. Raises LookonceError.

        `thresholds` are each image's (conf, iou), by default the detector's own. Of more than `candidates`
        boxes that a low threshold lets through, NMS sees those with the best scores.
        """
        if thresholds is None:
            thresholds = [(self.conf, self.iou)] * len(geometries)
        if self.nms_inside:
            found = cast(list[Candidates], outputs)
            self._refuse_foreign_classes([classes for _, _, classes in found])
            return [
                self._place(*one, geometry, conf)
                for one, geometry, (conf, _) in zip(found, geometries, thresholds, strict=True)
            ]
        heads = cast(list[NDArray[np.float32]], outputs)
        self._refuse_foreign_heads(heads)
        return [
            self._place(
                *self._decode([head[index] for head in heads], geometry, conf, iou, candidates),
                geometry,
                conf,
            )
            for index, (geometry, (conf, iou)) in enumerate(zip(geometries, thresholds, strict=True))
        ]

    def _refuse_foreign_heads(self, outputs: list[NDArray[np.float32]]) -> None:
        """Raise LookonceError where the network isn't the one that the card's cfg describes."""
        channels = [head.shape[-1] for head in outputs]
        expected = [len(head.mask) * (5 + head.classes) for head in self._heads]
        if channels != expected:
            raise LookonceError(
                f"{self._source}: its network gives heads of {channels} channels, the cfg in its card has "
                f"{expected}. Export the model again."
            )

    def _refuse_foreign_classes(self, classes: list[NDArray[np.int64]]) -> None:
        for found in classes:
            if len(found) and not 0 <= found.min() <= found.max() < len(self.names):
                raise LookonceError(
                    f"{self._source}: answers class {found.max()}, its card names {len(self.names)}. "
                    "Export the model again."
                )

    def _decode(
        self,
        heads: list[NDArray[np.float32]],
        geometry: Geometry,
        conf: float,
        iou: float,
        most: int | None,
    ) -> Candidates:
        """Return the candidates that NMS keeps, boxes in input pixels."""
        boxes, scores, classes = decode(heads, self._heads, self.card.input_size, conf)
        if most is not None and len(scores) > most:
            best = np.argpartition(-scores, most)[:most]
            boxes, scores, classes = boxes[best], scores[best], classes[best]
        # Darknet compares boxes as fractions of the image, not clipped, by the last head's nms_kind.
        size = np.asarray([geometry.width, geometry.height] * 2, np.float32)
        last = self._heads[-1]
        shares = (geometry.to_image(boxes) / size).astype(np.float32)
        kept = nms(shares, scores, classes, iou, last.nms_kind, last.beta_nms)
        return boxes[kept], scores[kept], classes[kept]

    def _place(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        classes: NDArray[np.int64],
        geometry: Geometry,
        conf: float,
    ) -> Detections:
        size = (geometry.width, geometry.height)
        above = scores > conf
        placed = clip_boxes(geometry.to_image(boxes[above]), *size)
        return Detections(placed, scores[above], classes[above], self.names, size)
