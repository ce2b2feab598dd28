"""ONNX graphs of a cfg and its weights, without Keras: raw heads, or boxes after NMS."""

from lookonce.models.onnx.graph import OPSET, network_graph, with_free_size
from lookonce.models.onnx.postprocess import with_boxes

__all__ = ["OPSET", "network_graph", "with_boxes", "with_free_size"]
