"""Detection and tracking in video files, cameras and streams."""

from lookonce.inference.video.frame import Frame, VideoError
from lookonce.inference.video.live import LiveSource
from lookonce.inference.video.pipeline import STAGES, Tally, detect_video
from lookonce.inference.video.reading import VideoFile
from lookonce.inference.video.tracker import LOWEST_SCORE, Tracker
from lookonce.inference.video.writing import CONTAINERS, VideoWriter, check_suffix

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
    "check_suffix",
    "detect_video",
]
