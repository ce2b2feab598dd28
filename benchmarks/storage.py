"""Uploading 5,000 files of 100 KB: plainly one by one, with `lookonce storage`, again, and after a SIGKILL.

    STORAGE_CONNECTION_STRING=… python benchmarks/storage.py [--files 5000] [--bytes 100000]

Every run has a container of its own. The plain loop is azure-storage-blob's upload_blob on a tenth of them.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from azure.storage.blob import BlobServiceClient

UPLOAD = [sys.executable, "-m", "lookonce", "storage", "upload"]


def etags(service: BlobServiceClient, container: str) -> dict[str, str]:
    return {blob.name: blob.etag for blob in service.get_container_client(container).list_blobs()}


def timed(folder: Path, container: str) -> tuple[float, str]:
    begun = time.perf_counter()
    done = subprocess.run(
        [*UPLOAD, folder, "--container", container], capture_output=True, text=True, check=True
    )
    return time.perf_counter() - begun, done.stdout.splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--bytes", type=int, default=100_000)
    given = parser.parse_args()
    service = BlobServiceClient.from_connection_string(os.environ["STORAGE_CONNECTION_STRING"])
    run = uuid.uuid4().hex[:6]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(given.files):
            place = folder / f"{index // 500:02}" / f"{index:05}.jpg"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(os.urandom(given.bytes))
        plain = service.create_container(f"plain-{run}")
        some = sorted(folder.rglob("*.jpg"))[::10]
        begun = time.perf_counter()
        for path in some:
            plain.upload_blob(path.relative_to(folder).as_posix(), path.read_bytes())
        slow = len(some) / (time.perf_counter() - begun)
        print(f"one by one: {slow:.0f} files/s ({len(some)} files)", flush=True)
        seconds, said = timed(folder, f"fast-{run}")
        print(
            f"lookonce: {given.files / seconds:.0f} files/s, start included: "
            f"{given.files / seconds / slow:.2f} times"
        )
        print(f"  {said}", flush=True)
        again, said = timed(folder, f"fast-{run}")
        print(
            f"unchanged: {again:.2f} s, {1000 * again / given.files:.2f} s per 1,000 files\n  {said}",
            flush=True,
        )
        process = subprocess.Popen([*UPLOAD, folder, "--container", f"kill-{run}"], stderr=subprocess.DEVNULL)
        time.sleep(seconds / 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = etags(service, f"kill-{run}")
        _, said = timed(folder, f"kill-{run}")
        after = etags(service, f"kill-{run}")
        twice = sum(after[name] != etag for name, etag in before.items())
        print(
            f"killed with {len(before)} there; again: {said}\n"
            f"  {len(after)} there, {twice} of them sent twice"
        )
        for kind in ("plain", "fast", "kill"):
            service.delete_container(f"{kind}-{run}")


if __name__ == "__main__":
    main()
