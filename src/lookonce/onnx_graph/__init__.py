"""A cfg and its weights as an ONNX graph, without Keras: raw heads, or boxes with NMS inside."""

from lookonce.onnx_graph.boxes import with_boxes
from lookonce.onnx_graph.card import metadata_of, write_card
from lookonce.onnx_graph.network import OPSET, network_graph, with_free_size

__all__ = ["OPSET", "metadata_of", "network_graph", "with_boxes", "with_free_size", "write_card"]
