"""Darknet sections become a Keras model; models and their weights are loaded, saved and exchanged."""

from lookonce.network.build import build
from lookonce.network.files import load_model, open_model, save_model
from lookonce.network.heads import start_heads
from lookonce.network.weights import layers_of, load_darknet, to_darknet

__all__ = [
    "build",
    "layers_of",
    "load_darknet",
    "load_model",
    "open_model",
    "save_model",
    "start_heads",
    "to_darknet",
]
