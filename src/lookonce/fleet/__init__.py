"""Millions of pictures: many processes or machines through Ray, results as Parquet, restartable."""

from lookonce.fleet.parts import Parts
from lookonce.fleet.run import Summary, detect_fleet

__all__ = ["Parts", "Summary", "detect_fleet"]
