"""`lookonce score --service NAME` of a batch endpoint: all images in one job, then as any other answers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lookonce.cli.drawn_copies import names_of
from lookonce.cli.score_service import Named
from lookonce.errors import LookonceError
from lookonce.serving.client.failures import NoAnswerError


class BatchAnswers:
    """The answers of a job that has ended, with the face of a client of `/score`."""

    def __init__(self, names: dict[Path, str], rows: dict[str, dict[str, Any]]) -> None:
        self._names, self._rows = names, rows

    def score(self, image: Path) -> dict[str, Any]:
        """A file's answer. Raises NoAnswerError."""
        row = self._rows.get(self._names[image])
        if row is None:
            raise NoAnswerError(f"{image}: the job has no answer. Its log may tell why.")
        if "error" in row:
            # The node's own path says nothing here.
            raise NoAnswerError(f"{image}: {str(row['error']).rpartition(image.name)[2].lstrip(': ')}")
        return {"filename": image.name, **{key: row[key] for key in ("width", "height", "boxes")}}

    def classes(self) -> list[str]:
        """Not told by a job."""
        return []


def ask_batch(arguments: argparse.Namespace, named: Named, images: list[Path]) -> BatchAnswers:
    """Run a job over the images, and wait for its end. Raises LookonceError."""
    assert named.client is not None
    assert named.batch is not None
    if arguments.bench:
        raise LookonceError(
            f"{named.batch.name} is a batch endpoint; --bench measures those that answer at once."
        )
    if arguments.conf is not None or arguments.iou is not None:
        raise LookonceError(
            f"{named.batch.name} is a batch endpoint, which has its thresholds from lookonce deploy batch "
            "--conf --iou. Leave them out here."
        )
    from lookonce.azure.deployment import batch_jobs
    from lookonce.cli.deploy.services import deployment_stages

    names = names_of(images)
    by_name = {name: path for path, name in names.items()}
    with deployment_stages(out=sys.stderr if arguments.json == "-" else None) as (stages, _):
        if arguments.job:
            batch_jobs.wait(named.client, arguments.job, stages)
            rows = batch_jobs.read(named.client, arguments.job, by_name)
        else:
            rows = batch_jobs.score(named.client, named.batch.name, arguments.deployment, by_name, stages)
    return BatchAnswers(names, rows)
