"""What a deployment carries: the code snapshot, the locked packages, the image context."""
