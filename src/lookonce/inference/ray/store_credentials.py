"""Credentials of object stores: passed from a run's environment to its workers, hidden in messages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from itertools import chain

# For each kind of store: secret variables, and others that accompany them. Variables with file names are not
# passed on: the files exist on this machine only.
_AZURE = (
    (
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_CLIENT_SECRET",
        "AZURE_CLIENT_SECRET",
    ),
    (
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ANON",
        "AZURE_STORAGE_CLIENT_ID",
        "AZURE_STORAGE_TENANT_ID",
        "AZURE_AUTHORITY_HOST",
        "AZURE_CLIENT_ID",
        "AZURE_TENANT_ID",
    ),
)
_AWS = (
    ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    (
        "AWS_ACCESS_KEY_ID",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    ),
)
_KINDS = {**dict.fromkeys(("abfs", "abfss", "az", "adl"), _AZURE), **dict.fromkeys(("s3", "s3a"), _AWS)}
_HINTS = {
    "AZURE": "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with _KEY or _SAS_TOKEN",
    "AWS": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
# Within connection strings and signed URLs.
_SECRET_PARTS = re.compile(r"((?:AccountKey|SharedAccessSignature|sig)=)[^;&\s'\")]+", re.IGNORECASE)


@dataclass(frozen=True)
class Credentials:
    """Environment variables that open one kind of store; `repr` shows none of them."""

    kind: str = ""
    values: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def here(cls, protocols: Iterable[str]) -> Credentials:
        """Collect this process's variables for stores of these protocols (s3, abfs ...)."""
        kind = next((one for one in protocols if one in _KINDS), "")
        names = chain(*_KINDS[kind]) if kind else ()
        return cls(kind, {name: os.environ[name] for name in names if os.environ.get(name)})

    def put_into(self, environment: MutableMapping[str, str]) -> None:
        """Set the variables in an environment; without a secret among them, existing ones take precedence."""
        if not self.kind:
            return
        secrets, others = _KINDS[self.kind]
        if any(name in self.values for name in secrets):
            # Mixing the variables of two accounts would open the wrong one, or none.
            for name in (*secrets, *others):
                environment.pop(name, None)
            environment.update(self.values)
        else:
            for name, value in self.values.items():
                environment.setdefault(name, value)


def hint(protocol: str) -> str:
    """Name the variables for a store of this protocol, for messages; empty for others."""
    names = _KINDS.get(protocol)
    return f" ({_HINTS[names[0][0].partition('_')[0]]})" if names else ""


def without_secrets(text: str) -> str:
    """Replace secrets of this environment and in URLs by *** in a message."""
    for name in chain(_AZURE[0], _AWS[0]):
        if value := os.environ.get(name):
            text = text.replace(value, "***")
    return _SECRET_PARTS.sub(r"\1***", text)
