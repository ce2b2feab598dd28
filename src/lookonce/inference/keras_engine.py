"""The Keras engine: numpy in, numpy out, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


class KerasEngine:
    """A Keras model compiled once by its backend; it follows later changes of the weights.

    Call it with a float32 batch (b, h, w, 3) RGB 0..1; it answers one float32 array
    (b, grid height, grid width, channels) a head.
    """

    def __init__(self, model: keras.Model, input_size: tuple[int, int]) -> None:
        """Compile the network for `input_size` (height, width) in pixels."""
        self.name = f"Keras {keras.__version__} on {keras.backend.backend()}"
        self.metadata: dict[str, str] = {}
        self._largest = 1
        self._pads = keras.backend.backend() == "jax"
        self._forward = _FORWARD.get(keras.backend.backend(), _plain)(model, input_size)

    def __call__(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the raw heads of a batch (b, h, w, 3), one (b, grid height, grid width, channels) array each."""
        count = len(batch)
        if self._pads:
            # JAX compiles anew for each batch size: the last, shorter batch is filled up instead.
            self._largest = max(self._largest, count)
            batch = np.pad(batch, [(0, self._largest - count), (0, 0), (0, 0), (0, 0)])
        heads = self._forward(batch)
        heads = list(heads) if isinstance(heads, list | tuple) else [heads]
        return [np.asarray(keras.ops.convert_to_numpy(head), np.float32)[:count] for head in heads]


def _tensorflow(model: keras.Model, input_size: tuple[int, int]) -> Callable[[Any], Any]:
    import tensorflow as tf

    # One signature with a free batch size: a second size costs no new tracing.
    signature = [tf.TensorSpec((None, *input_size, 3), tf.float32)]
    return tf.function(lambda batch: model(batch, training=False), input_signature=signature)


def _jax(model: keras.Model, _: tuple[int, int]) -> Callable[[Any], Any]:
    import jax

    @jax.jit
    def forward(trainable: Any, fixed: Any, batch: Any) -> Any:
        return model.stateless_call(trainable, fixed, batch, training=False)[0]

    def call(batch: Any) -> Any:
        # Read at each call: weights that training has changed must be seen.
        trainable = [variable.value for variable in model.trainable_variables]
        fixed = [variable.value for variable in model.non_trainable_variables]
        return forward(trainable, fixed, batch)

    return call


def _torch(model: keras.Model, _: tuple[int, int]) -> Callable[[Any], Any]:
    import torch

    def call(batch: Any) -> Any:
        with torch.inference_mode():
            return model(batch, training=False)

    return call


def _plain(model: keras.Model, _: tuple[int, int]) -> Callable[[Any], Any]:
    return lambda batch: model(batch, training=False)


_FORWARD = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
