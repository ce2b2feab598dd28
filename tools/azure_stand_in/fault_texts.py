"""Texts of error responses, with the key words of the real service's."""

from __future__ import annotations

FORBIDDEN = (
    "The client '{who}' has no authorization to perform action '{action}' over scope '{scope}'. If access "
    "was recently granted, sign in anew."
)
NO_CLUSTER = "The subscription has a total vCPU quota of 0, and one node of the cluster takes 4 vCPUs."
NO_CORES = "The cluster would exceed the quota of cores: 0 are allowed, 4 more are requested."
NO_QUOTA = (
    "Not enough quota available for {size} in SubscriptionId {subscription}. Current usage/limit: 0/0. "
    "Additional needed: 8. Please see troubleshooting guide."
)
NAME_TAKEN = "There is already an endpoint with this name in the region; names are unique within it."
NO_IMAGE = (
    "The environment's image build failed. The build log is available in the workspace blob store "
    '"{account}" under the path "/{log}".'
)
