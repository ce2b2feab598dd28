"""Millions of images: many processes or machines through Ray, results as Parquet, restartable."""

from lookonce.inference.ray.fleet import Summary, detect_fleet
from lookonce.inference.ray.parts import Parts

__all__ = ["Parts", "Summary", "detect_fleet"]
