"""Scoring scripts for Azure Machine Learning's inference servers."""
