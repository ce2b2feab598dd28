"""Video in, detections out: files whole, cameras and streams at their newest frame, objects tracked."""

from lookonce.inference.video.frame import Frame, VideoError
from lookonce.inference.video.live import LiveSource
from lookonce.inference.video.pipeline import STAGES, Tally, detect_video
from lookonce.inference.video.reading import VideoFile
from lookonce.inference.video.tracker import LOWEST_SCORE, Tracker
from lookonce.inference.video.writing import CONTAINERS, VideoWriter, check_ending

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
    "detect_video",
]
