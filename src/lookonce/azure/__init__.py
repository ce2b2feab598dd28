"""Azure: blob storage, and Azure Machine Learning's workspace, jobs, registry and endpoints.

Nothing here is imported by other parts but the command line, and that only when a command needs it.
"""
