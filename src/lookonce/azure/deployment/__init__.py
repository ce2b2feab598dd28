"""Deployments in Azure: online, Kubernetes and batch endpoints, and container instances.

`prepare` makes what a deployment needs and tries it on this machine, `rollout` puts it beside the one in use
before it takes over, `services` finds, lists and deletes services by name.
"""
