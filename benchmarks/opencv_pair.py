"""AP of an exported Darknet pair in OpenCV's DNN module, next to the same pair here.

    python benchmarks/opencv_pair.py MODEL.cfg MODEL.weights CLASSES DATA [--split test]

OpenCV reads cfg and weights, runs the network and its own [yolo] layers; resizing and NMS are lookonce's, so
that the difference is the network's and its boxes'. Of scores below a section's `thresh` (.2 unless written)
OpenCV says nothing, and AP counts them: the cfg that it gets here says .001.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from lookonce.core.boxes import clip_boxes
from lookonce.core.detections import Detections
from lookonce.evaluation import evaluate
from lookonce.evaluation.validation import AP_CONFIDENCE, Validation
from lookonce.inference import Detector
from lookonce.inference.nms import nms


def through_opencv(
    cfg: str, weights: str, detector: Detector, validation: Validation
) -> Iterator[Detections]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.cfg"
        path.write_text(Path(cfg).read_text().replace("[yolo]", f"[yolo]\nthresh={AP_CONFIDENCE}"))
        net = cv2.dnn.readNetFromDarknet(str(path), weights)
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    outputs = net.getUnconnectedOutLayersNames()
    height, width = detector.card.input_size
    for record in validation.records:
        prepared = detector.prepare(record.image)
        geometry = prepared.geometry
        net.setInput(np.ascontiguousarray(prepared.pixels.transpose(2, 0, 1)[None]))
        # Rows of centre and size as fractions of the input, objectness, a score for each class.
        rows = np.concatenate(net.forward(outputs))
        index, classes = np.nonzero(rows[:, 5:] > AP_CONFIDENCE)
        scores = rows[index, 5 + classes]
        centre, size = rows[index, :2], rows[index, 2:4]
        boxes = np.concatenate([centre - size / 2, centre + size / 2], 1) * [width, height, width, height]
        placed = geometry.to_image(boxes.astype(np.float32))
        whole = np.asarray([geometry.width, geometry.height] * 2, np.float32)
        kept = nms((placed / whole).astype(np.float32), scores, classes, detector.iou)
        clipped = clip_boxes(placed[kept], geometry.width, geometry.height)
        yield Detections(
            clipped, scores[kept], classes[kept], detector.names, (geometry.width, geometry.height)
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("cfg", "weights", "classes", "data"):
        parser.add_argument(name)
    parser.add_argument("--split", default="test")
    parser.add_argument("--resize", choices=("letterbox", "stretch"))
    given = parser.parse_args()
    detector = Detector(
        given.cfg, weights=given.weights, classes=given.classes, conf=AP_CONFIDENCE, resize=given.resize
    )
    validation = Validation.of_split(given.data, detector.names, given.split)
    here = validation.measure(detector).metrics
    there = evaluate(
        validation.ground_truth,
        list(through_opencv(given.cfg, given.weights, detector, validation)),
        validation.names,
    )
    for name, metrics in (("lookonce", here), (f"OpenCV {cv2.__version__}", there)):
        print(f"{name:16} AP50 {metrics.ap50:.3f}  AP {metrics.ap:.3f}")


if __name__ == "__main__":
    main()
