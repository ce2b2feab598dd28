"""Darknet sections become a Keras model; models are saved, weights exchanged."""

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
