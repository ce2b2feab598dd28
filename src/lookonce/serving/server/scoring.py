"""`/score` independent of the web framework, for our app and for Azure's inference server."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from PIL import Image

from lookonce.core.detections import Detections
from lookonce.inference.draw import draw
from lookonce.io.images import ImageError, TooManyPixelsError
from lookonce.serving.protocols.responses import FORMS, encode_result
from lookonce.serving.server.replies import Refusal, Reply, as_json, error_reply, too_large
from lookonce.serving.server.service import RequestResult, Service
from lookonce.serving.server.telemetry import log_fault
from lookonce.serving.server.uploads import Upload, read_uploads, refuse_more

_PARAMETERS = ("conf", "iou", "format", "draw")
_TRUE, _FALSE = ("1", "true"), ("0", "false")


@dataclass(frozen=True)
class ScoreRequest:
    """A validated request to `/score`."""

    uploads: list[Upload]
    conf: float | None
    iou: float | None
    form: str
    draws: bool

    @classmethod
    def read(
        cls, content_type: str | None, body: bytes, query: Mapping[str, str], max_images: int
    ) -> ScoreRequest:
        """Parse and validate a request. Raises Refusal 400, 413 or 415."""
        for name in query:
            if name not in _PARAMETERS:
                raise Refusal(400, f"unknown parameter {name[:40]!r}; known are {', '.join(_PARAMETERS)}.")
        form = query.get("format", "azure")
        if form not in FORMS:
            raise Refusal(400, f"format is {form[:40]!r}; expected one of {', '.join(FORMS)}.")
        draws = query.get("draw", "0").lower()
        if draws not in _TRUE + _FALSE:
            raise Refusal(400, f"draw is {draws[:40]!r}; expected 1 or 0.")
        conf, iou = fraction("conf", query.get("conf")), fraction("iou", query.get("iou"))
        uploads = read_uploads(content_type, body, max_images)
        refuse_more(len(uploads), max_images)
        if draws in _TRUE and len(uploads) > 1:
            raise Refusal(400, f"draw=1 accepts one image, {len(uploads)} were sent. Send them one by one.")
        return cls(uploads, conf, iou, form, draws in _TRUE)

    def submit(self, service: Service) -> Future[RequestResult]:
        """Queue the images in the service. Raises Refusal."""
        return service.submit(self.uploads, self.conf, self.iou, keep=self.draws)

    def reply(self, result: RequestResult) -> Reply:
        """Build the client's reply. Raises Refusal 413 or 422 for an image that cannot be read."""
        for outcome in result.outcomes:
            if isinstance(outcome, ImageError):
                raise Refusal(413 if isinstance(outcome, TooManyPixelsError) else 422, f"{outcome}.")
        headers = {"Server-Timing": _timing(result.seconds), "X-Model-Version": result.model.version}
        if self.draws:
            (image,), (detections,) = result.images, result.outcomes
            assert image is not None
            assert isinstance(detections, Detections)
            drawn = io.BytesIO()
            Image.fromarray(draw(image, detections)).save(drawn, "JPEG", quality=92)
            return Reply(200, drawn.getvalue(), "image/jpeg", headers)
        content = encode_result(self.form, [upload.name for upload in self.uploads], result)
        return Reply(200, as_json(content), headers=headers)


def score(service: Service, content_type: str | None, body: bytes, query: Mapping[str, str]) -> Reply:
    """Process one request synchronously; errors become replies as well."""
    try:
        if len(body) > service.settings.max_body_bytes:
            raise too_large(service.settings.max_body_bytes)
        score_request = ScoreRequest.read(content_type, body, query, service.settings.max_images)
        return score_request.reply(score_request.submit(service).result())
    except Refusal as refusal:
        return error_reply(refusal)
    except Exception as error:
        log_fault("request failed", error)
        return error_reply(Refusal(500, "internal error; see the service's log."))


def fraction(name: str, text: str | None) -> float | None:
    """Parse a query parameter from 0 to 1. Raises Refusal 400."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise Refusal(400, f"{name} is {text[:40]!r}; expected a number from 0 to 1.")
    return value


def _timing(seconds: Mapping[str, float]) -> str:
    stages = {**seconds, "total": sum(seconds.values())}
    return ", ".join(f"{stage};dur={1000 * value:.2f}" for stage, value in stages.items())
