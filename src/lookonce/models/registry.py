"""The model registry: models by name, with versions and aliases, in a local MLflow database."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lookonce.errors import LookonceError, listing
from lookonce.io.atomic import atomic_file
from lookonce.io.hashing import file_sha256
from lookonce.models.mlflow_store import files_folder, open_client, store_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

SUFFIXES = (".keras", ".onnx", ".weights", ".cfg", ".h5", ".pt", ".tflite")
# Azure's rule for names, so that a local model can move there.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}\Z")
_ALIAS = re.compile(r"(?!v?[0-9]+\Z)(?!latest\Z)[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}\Z")
_MOST_TAG = 256


@dataclass(frozen=True)
class Registered:
    """One version of a model; `created` is UTC, ISO 8601."""

    name: str
    version: str
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    source: str = ""


class Registry(Protocol):
    """A registry of models, local or in Azure."""

    def register(self, file: Path, name: str, tags: Mapping[str, str], alias: str | None) -> Registered:
        """Register the content of `file` as a new version of `name`. Raises LookonceError."""

    def newest(self) -> list[Registered]:
        """Return the newest version of every model."""

    def versions(self, name: str) -> list[Registered]:
        """Return all versions of a model, newest first. Raises LookonceError if there is none."""

    def download(self, version: Registered, folder: Path) -> Path:
        """Copy a version's file into `folder` under its own name; return the path. Raises LookonceError."""


def open_local() -> LocalRegistry:
    """Open MLflow's registry at MLFLOW_TRACKING_URI, else in ./mlflow.db. Raises LookonceError."""
    return LocalRegistry(store_address(Path.cwd()))


def model_name(given: str) -> tuple[str, str | None]:
    """Return a valid registry name, and a note if it differs from `given`. Raises LookonceError."""
    if _NAME.match(given):
        return given, None
    stem = next((given[: -len(suffix)] for suffix in SUFFIXES if given.lower().endswith(suffix)), given)
    name = re.sub(r"[^a-zA-Z0-9_-]+", "-", stem).strip("-_")
    if not _NAME.match(name):
        raise LookonceError(
            f"{given[:80]!r} is no model name; expected a letter or digit, then letters, digits, - and _, "
            "at most 255."
        )
    return name, f"{given!r} is registered as {name!r}: names have letters, digits, - and _ only."


def find(registry: Registry, reference: str) -> Registered:
    """Find a version by `NAME`, `NAME:VERSION`, `NAME:ALIAS` or `NAME:latest`. Raises LookonceError."""
    given, _, which = reference.partition(":")
    name = given if _NAME.match(given) else model_name(given)[0]
    versions = registry.versions(name)
    if which in ("", "latest"):
        return versions[0]
    for one in versions:
        if which == one.version or which in one.aliases:
            return one
    has = listing((one.version for one in versions), 10)
    aliases = sorted({alias for one in versions for alias in one.aliases})
    also = f" and the aliases {listing(aliases, 10)}" if aliases else ""
    raise LookonceError(f"model {name} has no version or alias {which!r}; it has {has}{also}.")


def checked_alias(alias: str | None) -> str | None:
    """Return a valid alias. Raises LookonceError for one that could be read as a version."""
    if alias is not None and not _ALIAS.match(alias):
        raise LookonceError(
            f"{alias[:80]!r} is no alias; expected letters, digits, - and _, and not a number or 'latest'."
        )
    return alias


class LocalRegistry:
    """MLflow's model registry in a local database, with files beside it by content hash."""

    def __init__(self, address: str) -> None:
        folder = files_folder(address)
        if folder is None:
            raise LookonceError(
                f"MLFLOW_TRACKING_URI is {address.partition('?')[0][:100]}; a local registry is a file: "
                "sqlite:///mlflow.db. Unset the variable, or set it to such an address."
            )
        self._address, self._files = address, folder / "models"

    def register(self, file: Path, name: str, tags: Mapping[str, str], alias: str | None) -> Registered:
        """Register as in Registry; equal content under the same name reuses the existing version."""
        name, _ = model_name(name)
        checked_alias(alias)
        digest = file_sha256(file)
        client = self._client()
        place = self._files / name / digest[:16] / file.name
        present = [one for one in self._found(client, name) if one.tags.get("sha256") == digest]
        if present:
            version = present[0].version
            for key, value in tags.items():
                client.set_model_version_tag(name, version, key, value[:_MOST_TAG])
        else:
            # The file first: a file without a version is harmless, a version without a file is not.
            with atomic_file(place) as temporary:
                shutil.copyfile(file, temporary)
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
            own = {**tags, "sha256": digest, "file": file.name}
            created = client.create_model_version(
                name, place.resolve().as_uri(), tags={key: value[:_MOST_TAG] for key, value in own.items()}
            )
            version = created.version
        if alias is not None:
            client.set_registered_model_alias(name, alias, version)
        return next(one for one in self._found(client, name) if one.version == str(version))

    def newest(self) -> list[Registered]:
        """Return the newest version of every model."""
        client = self._client()
        found = []
        token = None
        while token != "":
            page = client.search_registered_models(max_results=1000, page_token=token)
            found += [versions[0] for model in page if (versions := self._found(client, model.name))]
            token = page.token or ""
        return sorted(found, key=lambda one: one.name)

    def versions(self, name: str) -> list[Registered]:
        """Return all versions of a model, newest first. Raises LookonceError if there is none."""
        found = self._found(self._client(), name)
        if not found:
            raise LookonceError(f"no model {name!r} is registered; `lookonce models list` shows all.")
        return found

    def download(self, version: Registered, folder: Path) -> Path:
        """Copy a version's file as in Registry, and verify its content."""
        source = Path(version.source.removeprefix("file://"))
        target = Path(folder) / Path(version.tags.get("file", source.name)).name
        if target.exists() and file_sha256(target) != version.tags.get("sha256"):
            raise LookonceError(f"{target} exists with other content. Move it, or choose another folder.")
        with atomic_file(target) as temporary:
            shutil.copyfile(source, temporary)
            if file_sha256(temporary) != version.tags.get("sha256"):
                raise LookonceError(
                    f"{source}: changed since it was registered as {version.name}:{version.version}. "
                    "Register it again."
                )
        return target

    def _client(self) -> MlflowClient:
        try:
            return open_client(self._address)
        except LookonceError:
            raise
        except Exception as error:
            raise LookonceError(
                f"{self._address.removeprefix('sqlite:///')}: cannot be opened as MLflow's database "
                f"({type(error).__name__}). Move it away, or point MLFLOW_TRACKING_URI to another."
            ) from error

    def _found(self, client: MlflowClient, name: str) -> list[Registered]:
        # Aliases belong to the model, not to the versions that a search returns.
        models = client.search_registered_models(f"name = '{name}'")
        aliases: dict[str, Any] = dict(models[0].aliases) if models else {}
        found = client.search_model_versions(f"name = '{name}'", max_results=1000)
        return [
            Registered(
                one.name,
                str(one.version),
                tuple(
                    sorted(alias for alias, version in aliases.items() if str(version) == str(one.version))
                ),
                dict(one.tags),
                _time(one.creation_timestamp),
                one.source or "",
            )
            for one in sorted(found, key=lambda one: -int(one.version))
        ]


def _time(milliseconds: int | None) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp((milliseconds or 0) / 1000, UTC).isoformat(timespec="seconds")
