"""Detection in millions of images: many processes or machines through Ray, restartable, Parquet output."""

from lookonce.inference.ray.fleet import Summary, detect_fleet
from lookonce.inference.ray.parts import Parts

__all__ = ["Parts", "Summary", "detect_fleet"]
