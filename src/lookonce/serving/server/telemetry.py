"""Prometheus figures of a service, and its log: one line of JSON an event, or of text in a terminal."""

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
    """The figures of one process; with PROMETHEUS_MULTIPROC_DIR set, `text` adds up all workers'."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "lookonce_requests_total",
            "Requests answered",
            ("route", "status"),
            registry=self._registry,
        )
        self.latency = Histogram(
            "lookonce_request_seconds",
            "From the request's first byte to the answer's last",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.stages = Histogram(
            "lookonce_stage_seconds",
            "Seconds of one image in a stage",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.batches = Histogram(
            "lookonce_batch_images",
            "Images that ran through the network together",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        self.queue = Gauge(
            "lookonce_queue_images",
            "Images between arrival and answer",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.images = Counter(
            "lookonce_images_total", "Images answered or refused", ("result",), registry=self._registry
        )
        self.reloads = Counter(
            "lookonce_reloads_total", "Models loaded while running", ("result",), registry=self._registry
        )

    def text(self) -> bytes:
        """Everything in Prometheus' text form."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
            return generate_latest(registry)
        return generate_latest(self._registry)


def start_log(as_json: bool) -> None:
    """Send the service's log, and uvicorn's, to the error stream."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if as_json else _TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _LOG.setLevel(logging.INFO)
    # It tells of every broken body; the answer does, too.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def log(event: str, level: int = logging.INFO, **facts: object) -> None:
    """One event with its facts; never an image, a path or a key among them."""
    _LOG.log(level, event, extra={"facts": facts})


def log_fault(event: str, error: BaseException, **facts: object) -> None:
    """A fault of our own: its type and the lines it came through; not its text, which may hold anything."""
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
        # A line break in a client's file name must not begin a line of its own.
        return (
            f"{time} {level}{record.getMessage()}  {facts}".rstrip().replace("\n", "\\n").replace("\r", "\\r")
        )
