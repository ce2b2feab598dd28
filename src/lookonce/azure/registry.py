"""The workspace's model registry, with the interface of lookonce.models.registry.Registry."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceNotFoundError

from lookonce.azure.errors import explain
from lookonce.azure.retry import Answer, call, sdk_silenced
from lookonce.errors import LookonceError
from lookonce.io.atomic import atomic_file
from lookonce.io.hashing import file_sha256
from lookonce.models.registry import Registered, checked_alias, model_name

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

# The workspace has tags but no aliases: this tag holds them.
_ALIASES = "aliases"
_MOST_TAG = 256


class AzureRegistry:
    """Models of one workspace; the service numbers the versions."""

    def __init__(self, client: MLClient) -> None:
        self._client = client

    def register(self, file: Path, name: str, tags: Mapping[str, str], alias: str | None) -> Registered:
        """Register a file as in Registry; return the existing version for the same name and content."""
        from azure.ai.ml.entities import Model

        name, _ = model_name(name)
        checked_alias(alias)
        digest = file_sha256(file)
        own = {key: value[:_MOST_TAG] for key, value in tags.items()}
        own |= {"sha256": digest, "file": file.name}
        known = self._found(name)
        same = next((one for one in known if one.tags.get("sha256") == digest), None)
        if same is None:
            model = Model(name=name, path=str(file), type="custom_model", tags=own)
            version = self._create(model, "sha256")
        else:
            version = same.version
            self._retag(name, version, {**same.tags, **own})
        if alias is not None:
            self._move_alias(known, name, version, alias)
        return next(one for one in self._found(name) if one.version == version)

    def register_output(self, address: str, name: str, tags: Mapping[str, str], alias: str) -> Registered:
        """Register a job's output in place; return the existing version for the same job and kind."""
        from azure.ai.ml.entities import Model

        name, _ = model_name(name)
        own = {key: value[:_MOST_TAG] for key, value in tags.items()}
        known = self._found(name)
        same = next(
            (one for one in known if all(one.tags.get(key) == own[key] for key in ("job", "kind"))), None
        )
        if same is None:
            model = Model(name=name, path=address, type="custom_model", tags=own)
            version = self._create(model, "job", "kind")
        else:
            version = same.version
        self._move_alias(known, name, version, alias)
        return next(one for one in self._found(name) if one.version == version)

    def newest(self) -> list[Registered]:
        """Return the newest version of every model."""
        names = call(self._client, lambda: sorted(one.name for one in self._client.models.list()))
        return [versions[0] for name in names if (versions := self._found(name))]

    def versions(self, name: str) -> list[Registered]:
        """Return the versions of a model, newest first. Raises LookonceError for an unknown model."""
        found = self._found(name)
        if not found:
            raise LookonceError(
                f"no model {name!r} is registered in workspace {self._client.workspace_name}; "
                "lookonce models list --on azure shows its models."
            )
        return found

    def download(self, version: Registered, folder: Path) -> Path:
        """Download a version's file and verify its digest; return its path. Raises LookonceError."""
        digest = version.tags.get("sha256")
        with tempfile.TemporaryDirectory(prefix="lookonce-") as place:
            self._call(
                lambda: self._client.models.download(version.name, version.version, download_path=place)
            )
            files = [path for path in Path(place).rglob("*") if path.is_file()]
            wanted = version.tags.get("file")
            chosen = next(
                (path for path in files if path.name == wanted), files[0] if len(files) == 1 else None
            )
            if chosen is None:
                raise LookonceError(
                    f"{version.name}:{version.version} has {len(files)} files, and none with the "
                    "registered name. Register the model's file alone."
                )
            if digest is not None and file_sha256(chosen) != digest:
                raise LookonceError(
                    f"{version.name}:{version.version}: the download differs from what was registered. Try "
                    "again; if that does not help, register the file again."
                )
            target = Path(folder) / chosen.name
            if target.exists() and file_sha256(target) != file_sha256(chosen):
                raise LookonceError(
                    f"{target} exists and is another file. Move it, or choose another folder."
                )
            with atomic_file(target) as temporary:
                shutil.copyfile(chosen, temporary)
        return target

    def _found(self, name: str) -> list[Registered]:
        try:
            listed = call(self._client, lambda: list(self._client.models.list(name=name)))
        except ResourceNotFoundError:
            return []
        return sorted(map(_registered, listed), key=_newest_first)

    def _create(self, model: Any, *keys: str) -> str:
        """Create a version and return it; find it by its tags `keys` where only the response was lost.

        The SDK writes the version into `model` at the first attempt, so that a retry creates no second
        version.
        """
        try:
            return self._call(lambda: str(self._client.models.create_or_update(model).version))
        except LookonceError as error:
            try:
                existing = self._existing(model, keys)
            except Exception:
                text = (
                    f"Check whether {model.name} is registered: lookonce models show {model.name} --on azure"
                )
                raise LookonceError(f"{error} {text}") from error
            if existing:
                return existing
            raise LookonceError(f"{error} No version of {model.name} was created.") from error

    def _existing(self, model: Any, keys: tuple[str, ...]) -> str | None:
        try:
            with sdk_silenced():
                found = map(_registered, self._client.models.list(name=model.name))
                same = (one for one in found if all(one.tags.get(key) == model.tags[key] for key in keys))
                return next((one.version for one in same), None)
        except ResourceNotFoundError:
            return None

    def _move_alias(self, known: list[Registered], name: str, version: str, alias: str) -> None:
        """Add the alias to the new version before removing it from others, so that it always exists."""
        now = next(one for one in self._found(name) if one.version == version)
        try:
            self._retag(name, version, {**now.tags, _ALIASES: ",".join(sorted({*now.aliases, alias}))})
            for one in known:
                if alias in one.aliases and one.version != version:
                    left = [other for other in one.aliases if other != alias]
                    self._retag(name, one.version, {**one.tags, _ALIASES: ",".join(left)})
        except LookonceError as error:
            raise LookonceError(
                f"{error} {name}:{version} is registered, but the alias {alias} was not moved to it. Run "
                "the same command again."
            ) from error

    def _retag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        def change() -> Any:
            model: Any = self._client.models.get(name, version)
            model.tags = dict(tags)
            return self._client.models.create_or_update(model)

        self._call(change)

    def _call(self, request: Callable[[], Answer]) -> Answer:
        """Send a request for something that must exist."""
        try:
            return call(self._client, request)
        except ResourceNotFoundError as error:
            raise LookonceError(f"workspace {self._client.workspace_name}: {explain(error)}.") from error


def _registered(model: Any) -> Registered:
    tags = dict(model.tags or {})
    aliases = tuple(one for one in tags.get(_ALIASES, "").split(",") if one)
    created = getattr(model.creation_context, "created_at", None)
    return Registered(
        model.name,
        str(model.version),
        aliases,
        tags,
        created.isoformat(timespec="seconds") if created is not None else "",
        model.path or "",
    )


def _newest_first(one: Registered) -> tuple[bool, int, str]:
    number = int(one.version) if one.version.isdecimal() else 0
    return not one.version.isdecimal(), -number, one.version
