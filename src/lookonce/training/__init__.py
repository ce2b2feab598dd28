"""Training: the recipe, the data pipeline, the loss, the loop and its callbacks."""
