"""The YOLO losses on the device, for every Keras backend."""
