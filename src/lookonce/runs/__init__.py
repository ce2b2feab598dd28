"""A training run on disk: its folder, its record and times, and MLflow tracking."""
