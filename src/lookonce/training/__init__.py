"""Anchors, augmentation, batches, targets and loss, recipe, the run."""
