"""Export to other runtimes: ONNX (raw, with NMS, int8), OpenVINO, LiteRT, Darknet."""

from lookonce.export.darknet_files import export_darknet
from lookonce.export.int8 import Quantized, quantize_graph
from lookonce.export.keras_formats import export_litert, export_openvino
from lookonce.export.model import export_model, quantize
from lookonce.export.onnx_file import export_onnx

__all__ = [
    "Quantized",
    "export_darknet",
    "export_litert",
    "export_model",
    "export_onnx",
    "export_openvino",
    "quantize",
    "quantize_graph",
]
