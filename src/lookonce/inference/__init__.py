"""Detection: engines run the network, decode and NMS make boxes of its numbers, Detector does it all."""

from lookonce.inference.decode import decode
from lookonce.inference.detector import Detector, Seen
from lookonce.inference.draw import draw
from lookonce.inference.engines import DEVICES, ENGINES
from lookonce.inference.nms import nms

__all__ = ["DEVICES", "ENGINES", "Detector", "Seen", "decode", "draw", "nms"]
