"""The contents of a deployment: code snapshot, locked packages, image context."""
