"""Roll out a deployment of an online or batch endpoint beside the one in use, and switch once it works.

The deployment in use stays in use until the new one has passed its smoke test. Whatever fails before that is
deleted again; what cannot be deleted is named in the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from lookonce.azure import retry
from lookonce.azure.deployment.stages import Stages
from lookonce.errors import LookonceError

COLOURS = ("blue", "green")


@dataclass(frozen=True)
class EndpointState:
    """An endpoint before the rollout.

    Args:
        endpoint: the SDK's description; None where the endpoint does not exist.
        current: name of the deployment in use, if any.
        new: name of the deployment to create.
        idle: whether a deployment named `new` exists, unused.
    """

    endpoint: Any
    current: str | None
    new: str
    idle: bool

    @classmethod
    def missing(cls) -> EndpointState:
        """Return the state of an endpoint that does not exist."""
        return cls(None, None, COLOURS[0], False)

    @classmethod
    def existing(cls, endpoint: Any, current: str | None, names: set[str]) -> EndpointState:
        """Return the state of an endpoint with deployments `names`, of which `current` is in use."""
        new = COLOURS[1] if current == COLOURS[0] else COLOURS[0]
        return cls(endpoint, current, new, new in names)


class RolloutTarget(Protocol):
    """An endpoint of one kind, as a rollout changes it. Every method may raise LookonceError."""

    @property
    def label(self) -> str:
        """The kind in messages: "endpoint" or "batch endpoint"."""

    @property
    def service(self) -> str:
        """The endpoint's name."""

    @property
    def model(self) -> str:
        """`name:version` of the registered model."""

    @property
    def keep_old(self) -> bool:
        """Whether the deployment that was in use before is kept."""

    def exists(self) -> bool:
        """Return whether the endpoint exists."""

    def create_endpoint(self) -> None:
        """Create the endpoint."""

    def create_deployment(self, name: str) -> None:
        """Create a deployment that is not in use yet."""

    def smoke_test(self, name: str, stages: Stages) -> None:
        """Send an image to the deployment; do nothing where no test is configured."""

    def switch(self, name: str, current: str | None) -> str:
        """Use the deployment in place of `current`; return a phrase that says what is in use now."""

    def scoring_uri(self) -> str:
        """Return the endpoint's address."""

    def log_tail(self, name: str, error: Exception) -> str:
        """Return the end of the log that explains `error` under a heading, or an empty string."""

    def delete_deployment(self, name: str) -> None:
        """Delete a deployment, if it exists."""

    def delete_endpoint(self) -> None:
        """Delete the endpoint and its deployments, if it exists."""


def roll_out(target: RolloutTarget, state: EndpointState, stages: Stages) -> str:
    """Create, smoke-test and switch to a new deployment, delete the old one; return the scoring URI.

    Raises LookonceError: the old deployment is in use as before, and the message names what was left behind.
    """
    endpoint, deployment = f"{target.label} {target.service}", f"deployment {state.new} of {target.service}"
    stages.left = endpoint if state.endpoint is None else deployment
    try:
        if state.endpoint is None:
            with stages.stage(f"creating {endpoint}", f"creating {endpoint}") as stage:
                target.create_endpoint()
                stage.result = f"{endpoint} created"
        if state.idle:
            with stages.stage(f"deleting the idle {deployment}") as stage:
                target.delete_deployment(state.new)
                stage.result = f"idle {deployment} deleted"
        with stages.stage(f"starting {deployment}; this takes minutes", f"starting {deployment}") as stage:
            target.create_deployment(state.new)
            stage.result = f"{deployment} started"
        target.smoke_test(state.new, stages)
        with stages.stage(f"switching to {state.new}", f"switching to {state.new}") as stage:
            stage.result = target.switch(state.new, state.current)
        uri = target.scoring_uri()
    except Exception as error:
        raise LookonceError(_roll_back(target, state, error, stages)) from error
    stages.left = ""
    if state.current and not target.keep_old:
        _delete_old(target, state.current, stages)
    return uri


def _delete_old(target: RolloutTarget, name: str, stages: Stages) -> None:
    """Delete the deployment that is no longer in use; the service works even if that fails."""
    try:
        with stages.stage(f"deleting {name}", f"deleting {name}") as stage:
            target.delete_deployment(name)
            stage.result = f"old deployment {name} deleted"
    except LookonceError as error:
        stages.say(
            f"old deployment {name} is unused but could not be deleted, and may incur costs: {error} Delete "
            f"it with: lookonce deploy delete {target.service} --deployment {name} --on azure"
        )


def _roll_back(target: RolloutTarget, state: EndpointState, error: Exception, stages: Stages) -> str:
    """Delete what was created; return the message: what failed, its log, what is left, what to do."""
    service, created_endpoint = target.service, state.endpoint is None
    what = f"{target.label} {service}" if created_endpoint else f"deployment {state.new} of {service}"
    text = f"{service} is not deployed: {retry.failure_sentence(error)}"
    nothing = f"Nothing is left behind except the registered model {target.model}, which a retry reuses."
    try:
        if created_endpoint and not target.exists():
            return f"{text}\n{nothing}"
        text += target.log_tail(state.new, error)
        with stages.stage(f"deleting {what}", f"deleting {what}") as stage:
            if created_endpoint:
                target.delete_endpoint()
            else:
                target.delete_deployment(state.new)
            stage.result = f"{what} deleted"
    except LookonceError as trouble:
        option = "" if created_endpoint else f" --deployment {state.new}"
        return (
            f"{text}\nLeft behind, and may incur costs: {what}, which could not be deleted: {trouble} Delete "
            f"it with: lookonce deploy delete {service}{option} --on azure"
        )
    unchanged = f"{state.current} is in use as before. " if state.current else ""
    return f"{text}\n{unchanged}{nothing}"
