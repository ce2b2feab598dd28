"""Prometheus metrics and the log: one line per event, as JSON or as text."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LOG = logging.getLogger("lookonce.serving")


class Telemetry:
    """Metrics of one process; with PROMETHEUS_MULTIPROC_DIR set, `text` sums over all workers."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "lookonce_requests_total",
            "Requests completed",
            ("route", "status"),
            registry=self._registry,
        )
        self.latency = Histogram(
            "lookonce_request_seconds",
            "Seconds from the start of a request to the end of its response",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.stages = Histogram(
            "lookonce_stage_seconds",
            "Seconds per image and stage",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.batches = Histogram(
            "lookonce_batch_images",
            "Images per network run",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        self.queue = Gauge(
            "lookonce_queue_images",
            "Images in flight, between arrival and response",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.images = Counter(
            "lookonce_images_total", "Images processed", ("result",), registry=self._registry
        )
        self.reloads = Counter(
            "lookonce_reloads_total", "Model reloads", ("result",), registry=self._registry
        )

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
            return generate_latest(registry)
        return generate_latest(self._registry)


def start_log(as_json: bool) -> None:
    """Send the logs of the service and of uvicorn to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if as_json else _TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _LOG.setLevel(logging.INFO)
    # It logs every malformed body; the response reports that already.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def log(event: str, level: int = logging.INFO, **facts: object) -> None:
    """Log an event with its facts; never pass images, paths or keys."""
    _LOG.log(level, event, extra={"facts": facts})


def log_fault(event: str, error: BaseException, **facts: object) -> None:
    """Log an internal error by type and stack; its message is omitted, as it may contain anything."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(
        f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(frames[-6:])
    )
    log(event, logging.ERROR, kind=type(error).__name__, where=where, **facts)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        return json.dumps(content, ensure_ascii=False, default=str)


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        facts = "  ".join(f"{name}={value}" for name, value in getattr(record, "facts", {}).items())
        # A line break in a client's file name must not start a new log line.
        return (
            f"{time} {level}{record.getMessage()}  {facts}".rstrip().replace("\n", "\\n").replace("\r", "\\r")
        )
