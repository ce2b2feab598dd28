"""Track objects from frame to frame with Supervision's ByteTrack (Zhang et al., ECCV 2022)."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lookonce.core.detections import Detections
from lookonce.errors import LookonceError

# ByteTrack uses low-scoring boxes, which are not shown, to follow known objects.
LOWEST_SCORE = 0.1
UNTRACKED = -1
# A lost object keeps its id for this long.
_MEMORY_SECONDS = 1.0


class Tracker:
    """Assign ids to the detections of one video that persist across frames.

    One id may have boxes of several classes (a van that is a car in one frame and a truck in the next);
    `objects()` counts it once, under its most frequent class.
    """

    def __init__(self, conf: float, rate: Fraction) -> None:
        """Create a tracker.

        Args:
            conf: minimum score to start a track; run the detector with LOWEST_SCORE.
            rate: frames per second.

        Raises:
            LookonceError: Supervision is not installed.
        """
        try:
            from supervision import ByteTrack
        except ImportError as error:
            raise LookonceError(
                "tracking requires Supervision 0.30: pip install 'lookonce[video]'"
            ) from error
        self._conf = conf
        with warnings.catch_warnings():
            # The move to another package concerns the pinned version, not the user.
            warnings.simplefilter("ignore", FutureWarning)
            self._tracker = ByteTrack(
                track_activation_threshold=conf,
                # In frames at 30 per second; scaled by the rate.
                lost_track_buffer=round(30 * _MEMORY_SECONDS),
                frame_rate=max(float(rate), 1.0),
                minimum_matching_threshold=0.9,
                minimum_consecutive_frames=2,
            )
        self._classes: dict[int, Counter[str]] = defaultdict(Counter)

    def update(self, detections: Detections) -> tuple[Detections, NDArray[np.int64]]:
        """Update with a frame's detections; return those above `conf` or tracked, and their ids (n,) int64.

        An id is 1 or more, or UNTRACKED for objects that appeared too briefly.
        """
        from supervision import Detections as Boxes

        rows = np.arange(len(detections))
        followed = self._tracker.update_with_detections(
            Boxes(xyxy=detections.boxes.reshape(-1, 4), confidence=detections.scores, data={"row": rows})
        )
        ids = np.full(len(detections), UNTRACKED, np.int64)
        if len(followed) and followed.tracker_id is not None:
            ids[followed.data["row"]] = followed.tracker_id
        kept = (detections.scores > self._conf) | (ids != UNTRACKED)
        shown = replace(
            detections,
            boxes=detections.boxes[kept],
            scores=detections.scores[kept],
            classes=detections.classes[kept],
        )
        for track, label in zip(ids[kept].tolist(), shown.classes.tolist(), strict=True):
            if track != UNTRACKED:
                self._classes[track][detections.names[label]] += 1
        return shown, ids[kept]

    def objects(self) -> Counter[str]:
        """Count the distinct objects so far, by class."""
        return Counter(counts.most_common(1)[0][0] for counts in self._classes.values())
