"""Keras models of Darknet cfgs: building, weights, saving."""

from lookonce.models.keras.build import build, start_heads
from lookonce.models.keras.files import save_model
from lookonce.models.keras.variables import layers_of, load_darknet, to_darknet

__all__ = [
    "build",
    "layers_of",
    "load_darknet",
    "save_model",
    "start_heads",
    "to_darknet",
]
