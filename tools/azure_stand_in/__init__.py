"""A stand-in for Azure Machine Learning on this machine that the unmodified SDK speaks to."""
