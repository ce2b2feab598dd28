"""A stand-in for Azure Machine Learning on this machine, for the unmodified SDK."""
