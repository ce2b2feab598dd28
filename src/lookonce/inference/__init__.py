"""Detection: engines run the network, decode and NMS turn its output into boxes, Detector does both."""

from lookonce.inference.decode import decode
from lookonce.inference.detector import Detector, ImageResult
from lookonce.inference.draw import draw
from lookonce.inference.engines import DEVICES, ENGINES
from lookonce.inference.nms import nms

__all__ = ["DEVICES", "ENGINES", "Detector", "ImageResult", "decode", "draw", "nms"]
