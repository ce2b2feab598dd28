"""The REST service: one model for many clients, the same on a laptop, in a container and behind Azure."""
