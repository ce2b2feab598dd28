"""A temporary certificate authority, and one certificate for all host names of the stand-in."""

from __future__ import annotations

from pathlib import Path

import trustme

NAMES = ("127.0.0.1", "localhost", "*.blob.core.localhost", "*.queue.core.localhost")


class Certificates:
    """Certificate files in `folder`: `authority` for clients, `chain` and `key` for servers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.authority, self.chain, self.key = (
            folder / name for name in ("authority.pem", "chain.pem", "key.pem")
        )
        authority = trustme.CA()
        server = authority.issue_cert(*NAMES)
        authority.cert_pem.write_to_path(str(self.authority))
        server.private_key_pem.write_to_path(str(self.key))
        for blob in server.cert_chain_pems:
            blob.write_to_path(str(self.chain), append=True)

    @property
    def served(self) -> tuple[Path, Path]:
        """The certificate chain and private key for a server."""
        return self.chain, self.key
