"""The service under Azure Machine Learning's own inference server."""
