"""Batch endpoints: a new deployment beside the old one, then made the endpoint's default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure import retry
from lookonce.azure.deployment.online import check_compute
from lookonce.azure.deployment.prepare import BATCH_SCRIPT, Prepared
from lookonce.azure.deployment.rollout import COLOURS
from lookonce.azure.deployment.stages import Stages
from lookonce.azure.retry import call
from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

OUTPUT, FILE = "score", "predictions.jsonl"
_MINI_BATCH_SECONDS, _RETRIES = 900, 2


@dataclass(frozen=True)
class BatchSpec:
    """What is to be there in the end; `variables` are the scoring script's."""

    service: str
    compute: str
    description: str = ""
    instances: int = 1
    mini_batch: int = 16
    variables: Mapping[str, str] = field(default_factory=dict)
    keep_old: bool = False


@dataclass(frozen=True)
class EndpointState:
    """The endpoint as it was found: None for no endpoint."""

    endpoint: Any
    current: str | None
    idle: bool
    new: str


def inspect_endpoint(client: MLClient, service: str, compute: str) -> EndpointState:
    """What is there under that name, and which deployment a new one is to be. Raises LookonceError."""
    check_compute(client, compute, "amlcompute")
    endpoint = find_endpoint(client, service)
    if endpoint is None:
        return EndpointState(None, None, False, COLOURS[0])
    current = default_of(endpoint)
    new = COLOURS[1] if current == COLOURS[0] else COLOURS[0]
    return EndpointState(endpoint, current, new in deployments(client, service), new)


def find_endpoint(client: MLClient, service: str) -> Any:
    """The batch endpoint of that name, or None. Raises LookonceError."""
    try:
        return call(client, lambda: client.batch_endpoints.get(service))
    except ResourceNotFoundError:
        return None


def default_of(endpoint: Any) -> str | None:
    """The deployment that jobs go to unless they name another."""
    defaults = endpoint.defaults
    name = defaults.get("deployment_name") if isinstance(defaults, dict) else None
    return name or getattr(defaults, "deployment_name", None)


def deployments(client: MLClient, service: str) -> dict[str, Any]:
    """By name. Raises LookonceError."""
    return {str(one.name): one for one in call(client, lambda: list(client.batch_deployments.list(service)))}


def deploy(
    client: MLClient,
    wanted: BatchSpec,
    ready: Prepared,
    before: EndpointState,
    try_it: Callable[[str], str] | None,
    stages: Stages,
) -> str:
    """Do it; the endpoint's address. Raises LookonceError with the default as it was and nothing left behind.

    `try_it` is given the new deployment's name before it becomes the default, and says what came of it.
    """
    told, place = f"batch endpoint {wanted.service}", f"deployment {before.new} of {wanted.service}"
    stages.left = told if before.endpoint is None else place
    try:
        if before.endpoint is None:
            with stages.stage(f"making {told}", f"with making {told}") as stage:
                _make_endpoint(client, wanted)
                stage.result = f"{told} is made"
        if before.idle:
            with stages.stage(f"removing the idle {place}") as stage:
                delete_deployment(client, wanted.service, before.new)
                stage.result = f"{place} was idle and is deleted"
        with stages.stage(f"making {place}", f"with making {place}") as stage:
            _make_deployment(client, wanted, ready, before.new)
            stage.result = f"{place} is made"
        if try_it is not None:
            stages.say(try_it(before.new))
        with stages.stage("making it the default") as stage:
            _make_default(client, wanted.service, before.new)
            stage.result = f"jobs go to {before.new}"
    except Exception as error:
        raise LookonceError(_undone(client, wanted.service, ready.model, before, error, stages)) from error
    stages.left = ""
    if before.current and not wanted.keep_old:
        _remove_old(client, wanted.service, before.current, stages)
    return str(call(client, lambda: client.batch_endpoints.get(wanted.service)).scoring_uri)


def delete_endpoint(client: MLClient, service: str) -> None:
    """With all its deployments. Raises LookonceError."""
    retry.wait_for_deletion(
        client,
        lambda: client.batch_endpoints.begin_delete(name=service),
        lambda: client.batch_endpoints.get(service).provisioning_state,
    )


def delete_deployment(client: MLClient, service: str, name: str) -> None:
    """Raises LookonceError."""
    retry.wait_for_deletion(
        client,
        lambda: client.batch_deployments.begin_delete(name=name, endpoint_name=service),
        lambda: client.batch_deployments.get(name, service).provisioning_state,
    )


def _make_endpoint(client: MLClient, wanted: BatchSpec) -> None:
    from azure.ai.ml.entities import BatchEndpoint

    about = wanted.description or None
    endpoint = BatchEndpoint(name=wanted.service, description=about, tags={"lookonce": "deploy"})
    _put_endpoint(client, endpoint)


def _make_default(client: MLClient, service: str, name: str) -> None:
    endpoint: Any = call(client, lambda: client.batch_endpoints.get(service))
    endpoint.defaults = {"deployment_name": name}
    _put_endpoint(client, endpoint)


def _put_endpoint(client: MLClient, endpoint: Any) -> None:
    retry.wait_for(
        client,
        lambda: client.batch_endpoints.begin_create_or_update(endpoint),
        lambda: client.batch_endpoints.get(endpoint.name).provisioning_state,
    )


def _make_deployment(client: MLClient, wanted: BatchSpec, ready: Prepared, name: str) -> None:
    from azure.ai.ml.entities import (
        BatchRetrySettings,
        CodeConfiguration,
        ModelBatchDeployment,
        ModelBatchDeploymentSettings,
    )

    deployment = ModelBatchDeployment(
        name=name,
        endpoint_name=wanted.service,
        description=wanted.description or None,
        model=f"azureml:{ready.model}",
        environment=f"azureml:{ready.environment}",
        code_configuration=CodeConfiguration(code=str(ready.code), scoring_script=BATCH_SCRIPT),
        compute=wanted.compute,
        tags={"lookonce": "deploy", "model": ready.model},
        settings=ModelBatchDeploymentSettings(
            instance_count=wanted.instances,
            # One process has all cores of its machine.
            max_concurrency_per_instance=1,
            mini_batch_size=wanted.mini_batch,
            output_action="append_row",
            output_file_name=FILE,
            retry_settings=BatchRetrySettings(max_retries=_RETRIES, timeout=_MINI_BATCH_SECONDS),
            environment_variables=dict(wanted.variables),
            error_threshold=-1,
            logging_level="info",
        ),
    )
    retry.wait_for(
        client,
        lambda: client.batch_deployments.begin_create_or_update(deployment),
        lambda: client.batch_deployments.get(name, wanted.service).provisioning_state,
    )


def _remove_old(client: MLClient, service: str, name: str, stages: Stages) -> None:
    try:
        with stages.stage(f"deleting {name}") as stage:
            delete_deployment(client, service, name)
            stage.result = f"{name}, the old one, is deleted"
    except LookonceError as error:
        stages.say(
            f"{name}, the old one, stays there unused: {error} Delete it: lookonce deploy delete {service} "
            f"--deployment {name} --on azure"
        )


def _undone(
    client: MLClient, service: str, model: str, before: EndpointState, error: Exception, stages: Stages
) -> str:
    made_endpoint = before.endpoint is None
    what = f"batch endpoint {service}" if made_endpoint else f"deployment {before.new} of {service}"
    text = f"{service} isn't deployed: {retry.failure_sentence(error)}"
    try:
        if made_endpoint and find_endpoint(client, service) is None:
            return f"{text}\nNothing was made but the registered model {model}, for the next attempt."
        with stages.stage("taking away what was made") as stage:
            if made_endpoint:
                delete_endpoint(client, service)
            else:
                delete_deployment(client, service, before.new)
            stage.result = f"{what} is deleted again"
    except LookonceError as trouble:
        rest = "" if made_endpoint else f" --deployment {before.new}"
        return (
            f"{text}\nWhat stays behind: {what}, for it can't be deleted: {trouble} Try: lookonce deploy "
            f"delete {service}{rest} --on azure"
        )
    stays = f"Jobs go to {before.current} as before. " if before.current else ""
    return f"{text}\n{stays}Nothing stays behind but the registered model {model}, for the next attempt."
