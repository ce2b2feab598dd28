"""Engines that run the network: a batch of images in, raw heads or boxes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lookonce.errors import LookonceError

Array = NDArray[np.float32]
ENGINES = ("auto", "onnx", "openvino", "openvino-bf16", "keras")
DEVICES = ("auto", "cpu", "cuda", "tensorrt")
_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


class Engine(Protocol):
    """An engine for a raw network.

    Float32 (b, h, w, 3) RGB 0..1 in, one (b, grid h, grid w, channels) a head out.

    `name` says what runs and where; `metadata` is the model file's, the model card in it.
    """

    name: str

    @property
    def metadata(self) -> Mapping[str, str]:
        """Key and value pairs of the model file."""
        ...

    def __call__(self, batch: Array) -> list[Array]:
        """Return the raw heads of one batch."""
        ...


def start_engine(
    graph: bytes, engine: str = "auto", device: str = "auto", threads: int = 0, source: str = "the graph"
) -> Engine:
    """Start the engine for an ONNX graph: `engine` is one of ENGINES but keras. Raises LookonceError.

    `device` of DEVICES is ONNX Runtime's; `threads` 0 leaves their number to the engine; `source` is what
    errors call the graph.
    """
    if engine in ("openvino", "openvino-bf16"):
        return OpenVinoEngine(graph, threads, "bf16" if engine.endswith("bf16") else "f32", source)
    if engine not in ("auto", "onnx"):
        raise LookonceError(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}.")
    session = _session(graph, threads, device, source)
    has_boxes = [output.name for output in session.get_outputs()][:1] == ["boxes"]
    return (BoxesEngine if has_boxes else OnnxEngine)(session, source)


class OnnxEngine:
    """A raw network in ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession, source: str = "the graph") -> None:
        """Start the session; `source` names the model in errors. Raises LookonceError."""
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            shapes = ", ".join(f"{one.name} {one.shape}" for one in inputs) or "nothing"
            raise LookonceError(
                f"{source}: takes {shapes}; expected one batch of images. "
                "Give a file that `lookonce export` wrote."
            )
        provider = session.get_providers()[0].removesuffix("ExecutionProvider")
        self.name = f"ONNX Runtime {onnxruntime.__version__} on {provider}"
        try:
            self.metadata = session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise _refused(source, "ONNX Runtime", error) from error
        self._session, self._input, self._source = session, inputs[0].name, source

    def __call__(self, batch: Array) -> list[Array]:
        """Return the raw heads of one batch (b, h, w, 3)."""
        heads = self._run(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
        return _channels_last(heads, self._source)

    def _run(self, batch: NDArray[np.generic]) -> list[Any]:
        try:
            outputs: list[Any] = self._session.run(None, {self._input: batch})
        except Exception as error:
            raise _refused(self._source, "ONNX Runtime", error) from error
        return outputs


class BoxesEngine(OnnxEngine):
    """A network with decoding and NMS inside (`lookonce export --nms`) in ONNX Runtime."""

    def __call__(self, batch: Array) -> list[Array]:
        """Raise LookonceError: such a network has no raw heads."""
        raise LookonceError("this ONNX file has NMS inside and no raw heads; export it without NMS.")

    def boxes(self, batch: Array) -> list[tuple[Array, Array, NDArray[np.int64]]]:
        """Return for each image of a batch (b, h, w, 3): boxes (n, 4) xyxy in input pixels, scores, classes."""
        pixels = np.rint(batch * 255).astype(np.uint8)
        outputs = self._run(pixels)
        if [output.ndim for output in outputs] != [2, 1, 1, 1] or len(
            {len(output) for output in outputs}
        ) != 1:
            raise LookonceError(
                f"{self._source}: answers arrays {', '.join(str(output.shape) for output in outputs)}; "
                "expected boxes, scores, classes, images of one length. Export it again."
            )
        boxes, scores, classes, images = outputs
        answers = []
        for index in range(len(batch)):
            mine = np.flatnonzero(images == index)
            mine = mine[np.argsort(-scores[mine], kind="stable")]
            answers.append((boxes[mine], scores[mine], classes[mine]))
        return answers


class OpenVinoEngine:
    """A raw network in OpenVINO; `precision` 'bf16' is faster where the processor has it, and coarser."""

    def __init__(
        self, graph: bytes, threads: int = 0, precision: str = "f32", source: str = "the graph"
    ) -> None:
        """Compile the content of an ONNX file; `source` names it in errors. Raises LookonceError."""
        try:
            import openvino
        except ImportError as error:
            raise LookonceError(
                "the engine openvino isn't installed: pip install 'lookonce[openvino]'"
            ) from error
        import onnx

        from lookonce.models.cards import graph_metadata

        core = openvino.Core()
        options: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            self._network = core.compile_model(core.read_model(graph), "CPU", options)
            self.metadata = graph_metadata(onnx.load_from_string(graph))
        # OpenVINO raises RuntimeError, protobuf an error of its own.
        except Exception as error:
            raise _refused(source, "OpenVINO", error) from error
        self._source = source
        self.name = f"OpenVINO {openvino.get_version().split('-')[0]} on CPU, {precision}"

    def __call__(self, batch: Array) -> list[Array]:
        """Return the raw heads of one batch (b, h, w, 3)."""
        try:
            heads = self._network(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
        except RuntimeError as error:
            raise _refused(self._source, "OpenVINO", error) from error
        # Copied: the next call writes its answer where this one lies.
        return _channels_last([np.array(head) for head in heads.values()], self._source)


def _channels_last(heads: list[Array], source: str) -> list[Array]:
    if any(head.ndim != 4 for head in heads):
        raise LookonceError(
            f"{source}: answers arrays {', '.join(str(head.shape) for head in heads)}; expected raw heads "
            "(batch, channels, grid height, grid width). Give a file that `lookonce export` wrote."
        )
    return [head.transpose(0, 2, 3, 1) for head in heads]


def _refused(source: str, runtime: str, error: Exception) -> LookonceError:
    first = str(error).strip().partition("\n")[0]
    return LookonceError(f"{source}: {runtime} can't run it: {first}. A damaged file? Export it again.")


def _session(graph: bytes, threads: int, device: str, source: str) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session on the best device installed, or on `device`. Raises LookonceError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Fatal messages only: the others are raised as well, and reworded.
    options.log_severity_level = 4
    providers = _providers(device)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=providers)
    # ONNX Runtime raises classes of its own that share no base but Exception.
    except Exception as error:
        raise _refused(source, "ONNX Runtime", error) from error


def _providers(device: str) -> list[str]:
    """Return the providers to try in turn. TensorRT first builds for minutes, so it must be requested."""
    installed = onnxruntime.get_available_providers()
    if device == "auto":
        wanted = [_PROVIDERS["cuda"], _PROVIDERS["cpu"]]
        return [provider for provider in wanted if provider in installed]
    if device not in _PROVIDERS:
        raise LookonceError(f"device is {device!r}; expected one of {', '.join(DEVICES)}.")
    if _PROVIDERS[device] not in installed:
        names = [name for name, provider in _PROVIDERS.items() if provider in installed]
        raise LookonceError(
            f"device {device}: this ONNX Runtime has {', '.join(names)} only. "
            "For NVIDIA GPUs: pip install onnxruntime-gpu."
        )
    chain = list(_PROVIDERS)[list(_PROVIDERS).index(device) :]
    return [_PROVIDERS[name] for name in chain if _PROVIDERS[name] in installed]
