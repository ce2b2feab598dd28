"""A stand-in for Azure Machine Learning that the unmodified SDK speaks to, and the tests that need it.

The folder isn't called `azure`: `tests` is on the path, and the SDK's own package of that name would vanish.
"""
