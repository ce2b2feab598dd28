"""Objects followed from frame to frame: ByteTrack (Zhang et al., ECCV 2022), as Supervision keeps it."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lookonce.core.detections import Detections
from lookonce.errors import LookonceError

# Boxes too unsure to show still tell where a known object went: the idea of the paper.
LOWEST_SCORE = 0.1
UNTRACKED = -1
# A lost object keeps its id for so long.
_MEMORY_SECONDS = 1.0


class Tracker:
    """Gives the detections of one video, frame by frame, ids that stay with the objects.

    One id may meet boxes of several classes (a van that is a car in one frame and a truck in the next);
    `objects()` counts it once, under the class it had most.
    """

    def __init__(self, conf: float, rate: Fraction) -> None:
        """`conf`: objects start above it; detect with LOWEST_SCORE. `rate` frames a second.

        Raises LookonceError where Supervision isn't installed.
        """
        try:
            from supervision import ByteTrack
        except ImportError as error:
            raise LookonceError(
                "--track needs the tracker of Supervision 0.30: pip install 'lookonce[video]'"
            ) from error
        self._conf = conf
        with warnings.catch_warnings():
            # That it moves to another package concerns who pins the version, not who runs this.
            warnings.simplefilter("ignore", FutureWarning)
            self._tracker = ByteTrack(
                track_activation_threshold=conf,
                # In frames at 30 a second, which it scales by the rate.
                lost_track_buffer=round(30 * _MEMORY_SECONDS),
                frame_rate=max(float(rate), 1.0),
                minimum_matching_threshold=0.9,
                minimum_consecutive_frames=2,
            )
        self._classes: dict[int, Counter[str]] = defaultdict(Counter)

    def update(self, found: Detections) -> tuple[Detections, NDArray[np.int64]]:
        """The frame's detections that are sure enough or tracked, and the id of each, (n,) int64.

        An id is 1 or more; UNTRACKED stands at objects that were seen too briefly.
        """
        from supervision import Detections as Boxes

        rows = np.arange(len(found))
        followed = self._tracker.update_with_detections(
            Boxes(xyxy=found.boxes.reshape(-1, 4), confidence=found.scores, data={"row": rows})
        )
        ids = np.full(len(found), UNTRACKED, np.int64)
        if len(followed) and followed.tracker_id is not None:
            ids[followed.data["row"]] = followed.tracker_id
        kept = (found.scores > self._conf) | (ids != UNTRACKED)
        shown = replace(
            found, boxes=found.boxes[kept], scores=found.scores[kept], classes=found.classes[kept]
        )
        for track, label in zip(ids[kept].tolist(), shown.classes.tolist(), strict=True):
            if track != UNTRACKED:
                self._classes[track][found.names[label]] += 1
        return shown, ids[kept]

    def objects(self) -> Counter[str]:
        """How many different objects there were so far, by class."""
        return Counter(seen.most_common(1)[0][0] for seen in self._classes.values())
