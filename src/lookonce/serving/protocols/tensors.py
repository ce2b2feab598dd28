"""Tensors of the Open Inference Protocol: decode requests, encode detections, as JSON or binary."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookonce.core.detections import Detections
from lookonce.serving.server.replies import Refusal, as_json
from lookonce.serving.server.scoring import fraction
from lookonce.serving.server.served_model import ServedModel
from lookonce.serving.server.settings import Settings
from lookonce.serving.server.uploads import Upload, image_bytes, read_json, refuse_more

INPUT = {"name": "image", "datatype": "BYTES", "shape": [-1]}
OUTPUTS = [
    {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
    {"name": "scores", "datatype": "FP32", "shape": [-1]},
    {"name": "classes", "datatype": "INT64", "shape": [-1]},
    {"name": "labels", "datatype": "BYTES", "shape": [-1]},
    {"name": "images", "datatype": "INT64", "shape": [-1]},
]
_EXPECTED = 'expected one input "image": BYTES [n] with image files, or UINT8 [h, w, 3] or [n, h, w, 3] RGB'


@dataclass(frozen=True)
class InferenceRequest:
    """One inference request; `binary` maps each requested output to whether it follows the JSON as binary."""

    images: list[Upload | NDArray[np.uint8]]
    conf: float | None
    iou: float | None
    identity: str | None
    binary: dict[str, bool]


def read_request(body: bytes, header_length: str | None, settings: Settings) -> InferenceRequest:
    """Parse a body; `header_length` is the length of its JSON if binary tensors follow. Raises Refusal."""
    if header_length is None:
        header, rest = read_json(body), b""
    else:
        length = int(header_length) if header_length.isdecimal() and len(header_length) < 12 else -1
        if not 0 < length <= len(body):
            raise Refusal(
                400, f"Inference-Header-Content-Length is {header_length[:20]!r}, the body has {len(body)}."
            )
        header, rest = read_json(body[:length]), body[length:]
    if (
        not isinstance(header, dict)
        or not isinstance(header.get("inputs"), list)
        or len(header["inputs"]) != 1
    ):
        raise Refusal(400, f"{_EXPECTED}.")
    parameters = _parameters(header)
    identity = header.get("id")
    if identity is not None and not isinstance(identity, str):
        raise Refusal(400, "id: expected a string.")
    return InferenceRequest(
        _images(header["inputs"][0], rest, settings),
        fraction("conf", _text(parameters.get("conf"))),
        fraction("iou", _text(parameters.get("iou"))),
        identity,
        _requested_outputs(header, bool(parameters.get("binary_data_output", False))),
    )


def encode_response(
    request: InferenceRequest, found: Sequence[Detections], model: ServedModel
) -> tuple[bytes, int | None]:
    """Encode the response; return it with the length of its JSON, or None without binary tensors."""
    arrays: dict[str, NDArray[Any]] = {
        "boxes": np.concatenate([one.boxes for one in found]).astype("<f4"),
        "scores": np.concatenate([one.scores for one in found]).astype("<f4"),
        "classes": np.concatenate([one.classes for one in found]).astype("<i8"),
        "labels": np.array([one.names[label] for one in found for label in one.classes], object),
        "images": np.repeat(np.arange(len(found)), [len(one) for one in found]).astype("<i8"),
    }
    outputs, blocks = [], []
    for output in OUTPUTS:
        name = str(output["name"])
        if name not in request.binary:
            continue
        array = arrays[name]
        described: dict[str, Any] = {
            "name": name,
            "datatype": output["datatype"],
            "shape": list(array.shape),
        }
        if request.binary[name]:
            blocks.append(_packed(array))
            described["parameters"] = {"binary_data_size": len(blocks[-1])}
        else:
            described["data"] = array.ravel().tolist()
        outputs.append(described)
    content = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if request.identity is not None:
        content["id"] = request.identity
    header = as_json(content)
    return header + b"".join(blocks), len(header) if blocks else None


def _images(given: Any, rest: bytes, settings: Settings) -> list[Upload | NDArray[np.uint8]]:
    if not isinstance(given, dict) or given.get("name") != "image":
        raise Refusal(400, f"{_EXPECTED}.")
    shape = given.get("shape")
    if not isinstance(shape, list) or not all(type(side) is int and side > 0 for side in shape):
        raise Refusal(400, f"image: shape is {str(shape)[:40]}; {_EXPECTED}.")
    size = _parameters(given).get("binary_data_size")
    if size is not None and (type(size) is not int or size != len(rest)):
        raise Refusal(
            400, f"image: binary_data_size is {str(size)[:20]}, but {len(rest)} bytes follow the JSON."
        )
    readers: dict[tuple[object, int], Callable[..., list[Upload | NDArray[np.uint8]]]] = {
        ("BYTES", 1): _files,
        ("UINT8", 3): _arrays,
        ("UINT8", 4): _arrays,
    }
    read = readers.get((given.get("datatype"), len(shape)))
    if read is None:
        raise Refusal(400, f"image: {str(given.get('datatype'))[:20]} {shape[:8]}; {_EXPECTED}.")
    return read(shape, given.get("data") if size is None else rest, settings)


def _files(
    shape: list[int], data: bytes | list[Any] | None, settings: Settings
) -> list[Upload | NDArray[np.uint8]]:
    refuse_more(shape[0], settings.max_images)
    if isinstance(data, bytes):
        contents = _unpacked(data, shape[0])
    else:
        if not isinstance(data, list) or not all(isinstance(one, str) for one in data):
            raise Refusal(400, "image: data of BYTES in JSON must be a list of base64 strings.")
        contents = [image_bytes(one, f"image {index}") for index, one in enumerate(data)]
    if len(contents) != shape[0]:
        raise Refusal(400, f"image: shape says {shape[0]} images, data has {len(contents)}.")
    return [Upload(f"image_{index}", content) for index, content in enumerate(contents)]


def _arrays(
    shape: list[int], data: bytes | list[Any] | None, settings: Settings
) -> list[Upload | NDArray[np.uint8]]:
    count, height, width, channels = shape if len(shape) == 4 else [1, *shape]
    refuse_more(count, settings.max_images)
    if channels != 3:
        raise Refusal(400, f"image: {channels} channels; {_EXPECTED}.")
    if height * width > settings.max_pixels:
        raise Refusal(413, f"image: {width} x {height} pixels; at most {settings.max_pixels:,} are allowed.")
    if isinstance(data, bytes):
        if len(data) != count * height * width * 3:
            raise Refusal(
                400, f"image: shape {shape} needs {count * height * width * 3} bytes, got {len(data)}."
            )
        array = np.frombuffer(data, np.uint8)
    else:
        try:
            # float64 represents 0..255 exactly and preserves invalid values for the check below.
            values = np.array(data, np.float64).ravel()
        except (TypeError, ValueError, OverflowError) as error:
            raise Refusal(
                400, "image: data of UINT8 in JSON must be a list of numbers, flat or nested like shape."
            ) from error
        if len(values) != count * height * width * 3:
            raise Refusal(
                400, f"image: shape {shape} needs {count * height * width * 3} numbers, got {len(values)}."
            )
        array = values.astype(np.uint8)
        if not np.array_equal(array, values):
            raise Refusal(400, "image: UINT8 values must be whole numbers from 0 to 255.")
    return list(array.reshape(count, height, width, 3))


def _requested_outputs(header: dict[str, Any], all_binary: bool) -> dict[str, bool]:
    known = [str(output["name"]) for output in OUTPUTS]
    if not header.get("outputs"):
        return dict.fromkeys(known, all_binary)
    binary = {}
    if not isinstance(header["outputs"], list):
        raise Refusal(400, "outputs: expected a list.")
    for output in header["outputs"]:
        name = output.get("name") if isinstance(output, dict) else None
        if name not in known:
            raise Refusal(400, f"outputs: no {str(name)[:40]!r}; this model has {', '.join(known)}.")
        binary[str(name)] = bool(_parameters(output).get("binary_data", all_binary))
    return binary


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Refusal(400, "parameters: expected an object.")
    return parameters


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _packed(array: NDArray[Any]) -> bytes:
    """Encode as little-endian rows; strings are each prefixed with their length in four bytes."""
    if array.dtype != object:
        return bytes(array.tobytes())
    encoded = [text.encode("utf-8", "backslashreplace") for text in array]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


def _unpacked(data: bytes, count: int) -> list[bytes]:
    contents: list[bytes] = []
    position = 0
    while position < len(data) and len(contents) < count:
        if position + 4 > len(data):
            break
        (length,) = struct.unpack_from("<I", data, position)
        if position + 4 + length > len(data):
            break
        contents.append(data[position + 4 : position + 4 + length])
        position += 4 + length
    if position != len(data):
        raise Refusal(
            400, "image: each BYTES element is its length (four bytes, little-endian), then its bytes."
        )
    return contents
