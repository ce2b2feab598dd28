"""Video in, detections out: files whole, cameras and streams at their newest frame, objects tracked."""

from lookonce.video.frame import Frame, VideoError
from lookonce.video.live import LiveSource
from lookonce.video.reading import VideoFile
from lookonce.video.run import watch
from lookonce.video.tally import STAGES, Tally
from lookonce.video.tracking import LOWEST_SCORE, Tracker
from lookonce.video.writing import CONTAINERS, VideoWriter, check_ending

__all__ = [
    "CONTAINERS",
    "LOWEST_SCORE",
    "STAGES",
    "Frame",
    "LiveSource",
    "Tally",
    "Tracker",
    "VideoError",
    "VideoFile",
    "VideoWriter",
    "check_ending",
    "watch",
]
