"""Models as files: the one opener, the Keras and ONNX networks, the registry."""
