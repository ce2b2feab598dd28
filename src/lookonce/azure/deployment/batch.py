"""Batch endpoints, which score folders of images on a cluster: inspect, roll out, delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure import retry
from lookonce.azure.compute import check_compute
from lookonce.azure.deployment.prepare import BATCH_SCRIPT, Prepared
from lookonce.azure.deployment.rollout import EndpointState
from lookonce.azure.deployment.stages import Stages
from lookonce.azure.retry import call

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

OUTPUT, FILE = "score", "predictions.jsonl"
_MINI_BATCH_SECONDS, _RETRIES = 900, 2


@dataclass(frozen=True)
class BatchSpec:
    """The deployment to create.

    Args:
        compute: name of the cluster that jobs run on.
        instances: nodes of a job.
        mini_batch: images that a node takes at a time.
        variables: environment variables of the scoring script.
        keep_old: keep the old deployment, unused.
    """

    service: str
    compute: str
    description: str = ""
    instances: int = 1
    mini_batch: int = 16
    variables: Mapping[str, str] = field(default_factory=dict)
    keep_old: bool = False


def inspect_endpoint(client: MLClient, service: str, compute: str) -> EndpointState:
    """Return the state of the endpoint that a deployment is rolled out to.

    Raises LookonceError where the workspace has no cluster `compute`.
    """
    check_compute(client, compute, "amlcompute")
    endpoint = find_endpoint(client, service)
    if endpoint is None:
        return EndpointState.missing()
    return EndpointState.existing(endpoint, default_of(endpoint), set(deployments(client, service)))


class BatchTarget:
    """A batch endpoint as the target of a rollout.

    `test` gets the new deployment's name before it becomes the default, and returns a line about the result.
    """

    label = "batch endpoint"

    def __init__(
        self, client: MLClient, spec: BatchSpec, prepared: Prepared, test: Callable[[str], str] | None
    ) -> None:
        self._client, self._spec, self._prepared, self._test = client, spec, prepared, test
        self.service, self.model, self.keep_old = spec.service, prepared.model, spec.keep_old

    def exists(self) -> bool:
        """Return whether the endpoint exists."""
        return find_endpoint(self._client, self.service) is not None

    def create_endpoint(self) -> None:
        """Create the endpoint."""
        from azure.ai.ml.entities import BatchEndpoint

        description = self._spec.description or None
        endpoint = BatchEndpoint(name=self.service, description=description, tags={"lookonce": "deploy"})
        self._put_endpoint(endpoint)

    def create_deployment(self, name: str) -> None:
        """Create a deployment that is not the default."""
        from azure.ai.ml.entities import (
            BatchRetrySettings,
            CodeConfiguration,
            ModelBatchDeployment,
            ModelBatchDeploymentSettings,
        )

        spec, prepared, client = self._spec, self._prepared, self._client
        deployment = ModelBatchDeployment(
            name=name,
            endpoint_name=spec.service,
            description=spec.description or None,
            model=f"azureml:{prepared.model}",
            environment=f"azureml:{prepared.environment}",
            code_configuration=CodeConfiguration(code=str(prepared.code), scoring_script=BATCH_SCRIPT),
            compute=spec.compute,
            tags={"lookonce": "deploy", "model": prepared.model},
            settings=ModelBatchDeploymentSettings(
                instance_count=spec.instances,
                # One process uses all cores of its machine.
                max_concurrency_per_instance=1,
                mini_batch_size=spec.mini_batch,
                output_action="append_row",
                output_file_name=FILE,
                retry_settings=BatchRetrySettings(max_retries=_RETRIES, timeout=_MINI_BATCH_SECONDS),
                environment_variables=dict(spec.variables),
                error_threshold=-1,
                logging_level="info",
            ),
        )
        retry.wait_for(
            client,
            lambda: client.batch_deployments.begin_create_or_update(deployment),
            lambda: client.batch_deployments.get(name, spec.service).provisioning_state,
        )

    def smoke_test(self, name: str, stages: Stages) -> None:
        """Run `test`, if there is one; it shows stages of its own."""
        if self._test is not None:
            stages.say(self._test(name))

    def switch(self, name: str, current: str | None) -> str:
        """Make the deployment the endpoint's default."""
        endpoint: Any = call(self._client, lambda: self._client.batch_endpoints.get(self.service))
        endpoint.defaults = {"deployment_name": name}
        self._put_endpoint(endpoint)
        return f"jobs go to {name}"

    def scoring_uri(self) -> str:
        """Return the endpoint's address."""
        endpoint: Any = call(self._client, lambda: self._client.batch_endpoints.get(self.service))
        return str(endpoint.scoring_uri)

    def log_tail(self, name: str, error: Exception) -> str:
        """Return an empty string: `test` puts its job's log into its error."""
        return ""

    def delete_deployment(self, name: str) -> None:
        """Delete a deployment, if it exists."""
        delete_deployment(self._client, self.service, name)

    def delete_endpoint(self) -> None:
        """Delete the endpoint and its deployments, if it exists."""
        delete_endpoint(self._client, self.service)

    def _put_endpoint(self, endpoint: Any) -> None:
        endpoints = self._client.batch_endpoints
        retry.wait_for(
            self._client,
            lambda: endpoints.begin_create_or_update(endpoint),
            lambda: endpoints.get(endpoint.name).provisioning_state,
        )


def find_endpoint(client: MLClient, service: str) -> Any:
    """Return the batch endpoint of this name, or None. Raises LookonceError."""
    try:
        return call(client, lambda: client.batch_endpoints.get(service))
    except ResourceNotFoundError:
        return None


def default_of(endpoint: Any) -> str | None:
    """Return the name of the deployment that jobs go to unless they name another."""
    defaults = endpoint.defaults
    name = defaults.get("deployment_name") if isinstance(defaults, dict) else None
    return name or getattr(defaults, "deployment_name", None)


def deployments(client: MLClient, service: str) -> dict[str, Any]:
    """Return the endpoint's deployments by name. Raises LookonceError."""
    return {str(one.name): one for one in call(client, lambda: list(client.batch_deployments.list(service)))}


def delete_endpoint(client: MLClient, service: str) -> None:
    """Delete an endpoint and its deployments, if it exists. Raises LookonceError."""
    retry.wait_for_deletion(
        client,
        lambda: client.batch_endpoints.begin_delete(name=service),
        lambda: client.batch_endpoints.get(service).provisioning_state,
    )


def delete_deployment(client: MLClient, service: str, name: str) -> None:
    """Delete a deployment, if it exists. Raises LookonceError."""
    retry.wait_for_deletion(
        client,
        lambda: client.batch_deployments.begin_delete(name=name, endpoint_name=service),
        lambda: client.batch_deployments.get(name, service).provisioning_state,
    )
