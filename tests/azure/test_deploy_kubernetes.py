"""Test `lookonce deploy kubernetes`: online endpoints on a cluster attached to the workspace."""

from __future__ import annotations

import uuid

import pytest
from azure.ai.ml.entities import KubernetesCompute

from azure_deploying import Desk, desk, detector_file
from azure_stand_in.stand_in import StandIn

__all__ = ["desk", "detector_file"]


@pytest.fixture
def cluster(stand_in: StandIn) -> str:
    """An attached cluster."""
    client = stand_in.client()
    name = f"k8s-{uuid.uuid4().hex[:8]}a"
    group = f"/subscriptions/{client.subscription_id}/resourceGroups/{client.resource_group_name}"
    resource = f"{group}/providers/Microsoft.ContainerService/managedClusters/{name}"
    compute = KubernetesCompute(name=name, resource_id=resource, namespace="default")
    client.compute.begin_create_or_update(compute).result()
    return name


def test_two_versions_on_a_cluster(stand_in: StandIn, desk: Desk, cluster: str):
    service = f"t-{uuid.uuid4().hex[:12]}"

    def deploy(*more: str):
        return desk.lookonce("deploy", "kubernetes", "model.onnx", "--service-name", service, *more)

    missing = deploy("--compute", "no-such-cluster")
    assert missing.code == 1
    assert "no compute 'no-such-cluster' in workspace lookonce; of kind kubernetes" in missing.err
    assert cluster in missing.err
    assert stand_in.requests_to("PUT", f"models/{service}/versions/1") == []
    first = deploy("--compute", cluster, "--image", "dog.jpg")
    assert first.code == 0, first.printed
    assert "blue works: 5 objects in dog.jpg" in first.out
    # The sizes of managed endpoints mean nothing on a cluster.
    sent = stand_in.resources.get(f"onlineEndpoints/{service}/deployments/blue")["properties"]
    assert sent["endpointComputeType"] == "Kubernetes"
    assert not sent.get("instanceType") or not sent["instanceType"].startswith("Standard_")
    second = deploy("--compute", cluster, "--container")
    assert second.code == 0, second.printed
    assert "old deployment blue deleted" in second.out
    assert desk.lookonce("score", "dog.jpg", "--service", service).code == 0
    as_managed = desk.lookonce("deploy", "online", "model.onnx", "--service-name", service)
    assert as_managed.code == 1
    assert f"{service} exists as a Kubernetes endpoint" in as_managed.err
    listed = desk.lookonce("deploy", "list", "--on", "azure").out
    assert [service, "kubernetes", "Succeeded"] in [line.split()[:3] for line in listed.splitlines()]
    failed = deploy("--compute", cluster, "--container", "images.azurecr.localhost/lookonce:1")
    assert "the log of blue:\n  lookonce: --host 0.0.0.0" in failed.err
    assert "green is in use as before" in failed.err
    ended = desk.lookonce("deploy", "delete", service, "--on", "azure")
    assert f"kubernetes endpoint {service} and deployment green deleted" in ended.out
    assert f"onlineEndpoints/{service}" not in stand_in.resources
