"""Datasets in the layouts that labelling tools write: reading, splits and checks."""

from lookonce.labels.checks import check, fatal, load_dataset
from lookonce.labels.class_lists import read_classes
from lookonce.labels.dataset import FORMATS, Dataset
from lookonce.labels.records import CheckedDataset, CheckedRecord, Finding, LabelError, Record

__all__ = [
    "FORMATS",
    "CheckedDataset",
    "CheckedRecord",
    "Dataset",
    "Finding",
    "LabelError",
    "Record",
    "check",
    "fatal",
    "load_dataset",
    "read_classes",
]
