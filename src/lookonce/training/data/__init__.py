"""Training batches: samples, augmentation, mosaic."""
