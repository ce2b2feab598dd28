"""Azure: blob storage, and the workspace, jobs, model registry and endpoints of Azure Machine Learning.

Only the command line imports this part, and only for commands that need it.
"""
