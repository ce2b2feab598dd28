"""Parse images from a request body, in each of the four formats that `/score` accepts."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, parse_options_header

from lookonce.serving.server.replies import Refusal

_FORMS = "an image/* body, JSON with base64, or multipart/form-data with files"
_MOST_FIELDS = 64


@dataclass(frozen=True)
class Upload:
    """One uploaded image: its name in responses, and the file's bytes."""

    name: str
    content: bytes


def read_uploads(content_type: str | None, body: bytes, max_images: int) -> list[Upload]:
    """Return the images of one request, at least one. Raises Refusal 400, 413 or 415."""
    kind, options = parse_options_header(content_type or "")
    form = kind.decode("latin-1").strip().lower()
    if not form:
        raise Refusal(415, f"the request has no Content-Type; expected {_FORMS}.")
    if form.startswith("image/") or form == "application/octet-stream":
        if not body:
            raise Refusal(400, "the body is empty; expected the bytes of an image.")
        return [Upload("image_0", body)]
    if form == "multipart/form-data":
        uploads = _multipart(options.get(b"boundary"), body, max_images)
    elif form == "application/json":
        uploads = [Upload(f"image_{index}", one) for index, one in enumerate(_from_json(body, max_images))]
    else:
        raise Refusal(415, f"Content-Type is {form[:80]!r}; expected {_FORMS}.")
    if not uploads:
        raise Refusal(400, "the request has no image; expected one or more.")
    return uploads


def read_json(body: bytes) -> Any:
    """Parse a JSON body. Raises Refusal 400."""
    try:
        return json.loads(body)
    # UnicodeDecodeError and numbers with too many digits are ValueErrors, deep nesting is a RecursionError.
    except (ValueError, RecursionError) as error:
        reason = (
            str(error) if isinstance(error, json.JSONDecodeError) else "invalid encoding or nested too deeply"
        )
        raise Refusal(400, f"the body is not JSON ({reason}).") from error


def image_bytes(text: str, where: str) -> bytes:
    """Decode base64 text; a `data:` prefix and line breaks are allowed. Raises Refusal 400."""
    if text.startswith("data:"):
        prefix, comma, text = text.partition(",")
        if not comma or not prefix.endswith(";base64"):
            raise Refusal(400, f"{where}: a data: URL that is not base64; expected data:image/…;base64,….")
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"{where}: not base64 ({error}); encode the image file's bytes.") from error
    if not content:
        raise Refusal(400, f"{where}: empty; expected an image file's bytes in base64.")
    return content


def refuse_more(count: int, max_images: int) -> None:
    """Raise Refusal 413 for more images than a request may contain."""
    if count > max_images:
        raise Refusal(
            413, f"{count} images in one request; at most {max_images} are allowed. Split the request."
        )


def _from_json(body: bytes, max_images: int) -> list[bytes]:
    content = read_json(body)
    expected = (
        'expected {"input_data": {"columns": ["image"], "data": ["<base64>", …]}} or {"data": "<base64>"}'
    )
    if not isinstance(content, dict):
        raise Refusal(400, f"the JSON body is not an object; {expected}.")
    if "input_data" in content:
        given = content["input_data"]
        rows = given.get("data") if isinstance(given, dict) else given
        if not isinstance(rows, list):
            raise Refusal(400, f"input_data has no list of images in data; {expected}.")
    elif "data" in content:
        rows = content["data"] if isinstance(content["data"], list) else [content["data"]]
    else:
        raise Refusal(400, f"the JSON body has neither input_data nor data; {expected}.")
    refuse_more(len(rows), max_images)
    images = []
    for index, row in enumerate(rows):
        # AutoML's data frame orientation wraps the single column of each row in a list.
        cell = row[0] if isinstance(row, list) and len(row) == 1 else row
        if not isinstance(cell, str):
            raise Refusal(400, f"image {index} is not a string; {expected}.")
        images.append(image_bytes(cell, f"image {index}"))
    return images


def _multipart(boundary: bytes | None, body: bytes, max_images: int) -> list[Upload]:
    if not boundary:
        raise Refusal(400, "multipart/form-data without a boundary; let your HTTP library write the header.")
    found: list[Upload] = []
    fields = 0

    def ignore(field: object) -> None:
        nonlocal fields
        fields += 1
        # A body of tiny fields only would keep the parser busy for seconds.
        if fields > _MOST_FIELDS:
            raise Refusal(400, f"the multipart body has more than {_MOST_FIELDS} fields; send files only.")

    def keep(file: File) -> None:
        refuse_more(len(found) + 1, max_images)
        file.file_object.seek(0)
        name = (file.file_name or b"").decode("utf-8", "replace")
        found.append(Upload(name or f"image_{len(found)}", file.file_object.read()))
        file.close()

    # Entirely in memory: the body already is, and its size is limited.
    config = {"MAX_MEMORY_FILE_SIZE": len(body) + 1, "MAX_BODY_SIZE": len(body) + 1}
    try:
        parser = FormParser("multipart/form-data", ignore, keep, boundary=boundary, config=config)
        parser.write(body)
        parser.finalize()
        parser.close()
    except (FormParserError, ValueError) as error:
        raise Refusal(400, f"the multipart body is malformed ({error}).") from error
    for upload in found:
        if not upload.content:
            raise Refusal(400, f"{upload.name}: the file is empty; expected an image.")
    return found
