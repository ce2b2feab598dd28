"""The Azure Machine Learning workspace of config.json, and the credentials that open it."""

from __future__ import annotations

import base64
import json
import logging
import os
import warnings
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookonce.errors import LookonceError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

OLD_NAMES = {
    "AML_TENANT_ID": "AZURE_TENANT_ID",
    "AML_PRINCIPAL_ID": "AZURE_CLIENT_ID",
    "AML_PRINCIPAL_PASS": "AZURE_CLIENT_SECRET",
}


def adopt_old_names(environment: MutableMapping[str, str] | None = None) -> list[str]:
    """Set missing AZURE_… variables from their older names; return the older names used."""
    given = os.environ if environment is None else environment
    taken = []
    for old, new in OLD_NAMES.items():
        if given.get(old) and not given.get(new):
            given[new] = given[old]
            taken.append(old)
    return taken


def credential() -> TokenCredential:
    """Return the credential of a service principal, a managed identity or `az login`."""
    from azure.identity import DefaultAzureCredential

    # It logs every way of signing in that failed; `explain` says what to do.
    logging.getLogger("azure.identity").setLevel(logging.CRITICAL)
    # Microsoft's directory of authorities does not know an authority of another cloud.
    elsewhere = "AZURE_AUTHORITY_HOST" in os.environ
    return DefaultAzureCredential(
        exclude_interactive_browser_credential=True, disable_instance_discovery=elsewhere
    )


def token_user(token: str) -> str:
    """Return the user name or application id in an access token, without verifying the token."""
    claims = _claims(token)
    for name in ("upn", "unique_name", "preferred_username"):
        if isinstance(claims.get(name), str):
            return str(claims[name])
    if isinstance(claims.get("appid"), str):
        return f"application {claims['appid']}"
    return "an identity without a name in its token"


def _claims(token: str) -> Mapping[str, Any]:
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


_KEYS = ("subscription_id", "resource_group", "workspace_name")
_PLACES = ("config.json", ".azureml/config.json", "aml_config/config.json")
_FIX = (
    "Download it from the workspace's page in the Azure portal (Overview > Download config.json), or run "
    "lookonce azure provision"
)


@dataclass(frozen=True)
class WorkspaceConfig:
    """The location of a workspace, and the file that names it."""

    subscription_id: str
    resource_group: str
    workspace_name: str
    file: Path


def find_config(named: Path | None = None) -> WorkspaceConfig:
    """Read config.json: `named`, or the nearest one in this folder and its parents. Raises LookonceError."""
    if named is not None:
        files = [named / place for place in _PLACES] if named.is_dir() else [named]
    else:
        here = Path.cwd()
        files = [folder / place for folder in (here, *here.parents) for place in _PLACES]
    file = next((one for one in files if one.is_file()), None)
    if file is None:
        where = str(named) if named else "this folder and those above it"
        raise LookonceError(f"no config.json in {where}. {_FIX}.")
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        values = [content[key] for key in _KEYS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LookonceError(
            f"{file}: cannot be read ({type(error).__name__}: {error}); expected {', '.join(_KEYS)}. {_FIX}."
        ) from error
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise LookonceError(f"{file}: {', '.join(_KEYS)} must be non-empty text. {_FIX}.")
    subscription, group, workspace = (value.strip() for value in values)
    return WorkspaceConfig(subscription, group, workspace, file)


def open_workspace(place: WorkspaceConfig, who: TokenCredential | None = None) -> MLClient:
    """Return a client of the workspace, without sending a request. Raises LookonceError."""
    adopt_old_names()
    # The SDK logs its own experiments and every file it reads.
    for name in ("azure.ai.ml", "azure.core", "msrest"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"azure\.|marshmallow|msrest")
    try:
        from azure.ai.ml import MLClient

        from lookonce.azure.retry import BoundedWaits
    except ImportError as error:
        raise LookonceError(
            f"{error.name} is not installed. Install it with: pip install 'lookonce[azure]'"
        ) from error
    names = (place.subscription_id, place.resource_group, place.workspace_name)
    cloud = _cloud()
    cloud |= {"enable_telemetry": False, "per_retry_policies": [BoundedWaits()]}
    try:
        return MLClient(who or credential(), *names, **cloud)
    except AttributeError:
        # The SDK accepts a cloud's description once per process, and afterwards only its name.
        cloud.pop("cloud_metadata", None)
        return MLClient(who or credential(), *names, **cloud)


def management_scope() -> str:
    """Return the token scope of the management plane."""
    cloud = _cloud().get("cloud_metadata", {})
    return str(cloud.get("resource_manager", "https://management.azure.com")).rstrip("/") + "/.default"


def storage_suffix(default: str) -> str:
    """Return what follows `ACCOUNT.blob.` in addresses of this cloud."""
    return str(_cloud().get("cloud_metadata", {}).get("storage_endpoint", default))


def _cloud() -> dict[str, Any]:
    """Return MLClient's options for the cloud in the file LOOKONCE_AZURE_CLOUD; none for public Azure."""
    file = os.environ.get("LOOKONCE_AZURE_CLOUD")
    if not file:
        return {}
    try:
        metadata = json.loads(Path(file).read_text(encoding="utf-8"))
        return {"cloud": metadata.pop("name"), "cloud_metadata": metadata}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise LookonceError(
            f"LOOKONCE_AZURE_CLOUD is {file}, which cannot be read ({type(error).__name__}); expected JSON "
            "with name, resource_manager, active_directory and other keys of azure-ai-ml's cloud_metadata."
        ) from error
