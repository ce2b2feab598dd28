"""Test `lookonce storage` on a blob service: what is transferred, what is kept, and broken networks."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import (
    BlobBlock,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    generate_container_sas,
)

from azure_stand_in.azurite import Azurite
from faulty_proxy import FaultyProxy
from lookonce.azure.blobs import DELETED, SENT, STRAY, THERE, BlobAccount
from lookonce.azure.download import download, place_of
from lookonce.azure.upload import upload
from lookonce.errors import LookonceError
from waiting import wait_until

RUN = [sys.executable, "-m", "lookonce", "storage"]


@pytest.fixture
def service(azurite: Azurite) -> Iterator[BlobServiceClient]:
    with BlobServiceClient.from_connection_string(azurite.connection_string) as client:
        yield client


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:11]}x"


@pytest.fixture
def container(azurite: Azurite, name: str) -> Iterator[ContainerClient]:
    with BlobAccount(connection_string=azurite.connection_string).container(name) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    chance = random.Random(1)
    for place in (
        "one.jpg",
        "sub/two.png",
        "sub/deep/three.xml",
        "grüße und mehr.jpg",
        "a+b%20c#d.jpg",
        "empty.txt",
    ):
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if "empty" in place else chance.randbytes(5000))
    return root


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def through(azurite: Azurite, proxy: FaultyProxy) -> str:
    """Return the connection string with the proxy's port for blobs."""
    port = urlsplit(azurite.blob_url).port
    return azurite.connection_string.replace(f":{port}/", f":{proxy.port}/")


def run(azurite: Azurite, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    surroundings = {**os.environ, "STORAGE_CONNECTION_STRING": azurite.connection_string, **env}
    return subprocess.run(
        [*RUN, *map(str, arguments)], capture_output=True, text=True, env=surroundings, check=False
    )


def test_there_and_back(azurite: Azurite, folder: Path, container: ContainerClient, tmp_path: Path):
    first = upload(folder, container)
    assert (first.count(SENT), first.failed) == (6, {})
    blobs = {blob.name: blob for blob in container.list_blobs()}
    assert set(blobs) == set(files(folder))
    assert blobs["one.jpg"].content_settings.content_type == "image/jpeg"
    assert blobs["sub/two.png"].content_settings.content_type == "image/png"
    for name, content in files(folder).items():
        assert bytes(blobs[name].content_settings.content_md5) == hashlib.md5(content).digest()
    assert container.get_container_properties().public_access is None
    target = tmp_path / "back"
    assert download(container, target).count(SENT) == 6
    assert files(target) == files(folder)
    assert download(container, target).count(THERE) == 6


def test_only_what_differs_goes(folder: Path, container: ContainerClient, tmp_path: Path):
    upload(folder, container)
    before = {blob.name: blob.etag for blob in container.list_blobs()}
    (folder / "one.jpg").write_bytes(b"x" * 5000)
    (folder / "new.jpg").write_bytes(b"new")
    again = upload(folder, container)
    assert (again.count(SENT), again.count(THERE)) == (2, 5)
    after = {blob.name: blob.etag for blob in container.list_blobs()}
    assert {name for name in after if after[name] != before.get(name)} == {"one.jpg", "new.jpg"}
    target = tmp_path / "back"
    download(container, target)
    # Same size, different bytes: detected by MD5.
    (target / "one.jpg").write_bytes(b"y" * 5000)
    (target / "mine.txt").write_text("not theirs")
    assert download(container, target).count(SENT) == 1
    assert (target / "one.jpg").read_bytes() == b"x" * 5000
    assert (target / "mine.txt").read_text() == "not theirs"


def test_deletes_only_with_the_option_and_only_below_the_prefix(folder: Path, container: ContainerClient):
    upload(folder, container, prefix="mine")
    container.upload_blob("theirs/kept.jpg", b"kept")
    container.upload_blob("mine2/kept.jpg", b"kept")
    (folder / "one.jpg").unlink()
    assert upload(folder, container, prefix="mine").count(STRAY) == 1
    tried = upload(folder, container, prefix="mine", delete=True, dry_run=True)
    assert (tried.count(STRAY), tried.count(DELETED)) == (1, 0)
    assert upload(folder, container, prefix="mine", delete=True).count(DELETED) == 1
    names = set(container.list_blob_names())
    assert names == {f"mine/{place}" for place in files(folder)} | {"theirs/kept.jpg", "mine2/kept.jpg"}


def test_large_files_go_in_blocks_and_come_back(folder: Path, container: ContainerClient, tmp_path: Path):
    content = random.Random(2).randbytes(9 * 2**20 + 17)
    (folder / "video.mp4").write_bytes(content)
    upload(folder, container)
    assert upload(folder, container).count(THERE) == 7
    target = tmp_path / "back"
    download(container, target)
    assert (target / "video.mp4").read_bytes() == content


def test_names_that_would_leave_the_folder(container: ContainerClient, tmp_path: Path):
    container.create_container()
    # Backslashes arrive as slashes: the third is stored as a/../../out.txt.
    hostile = ["/etc/out.txt", "a//b.txt", "a\\..\\..\\out.txt", "line\nbreak"]
    for name in [*hostile, "good.txt", "shadow", "shadow/file.txt", "x" * 300]:
        container.get_blob_client(name).upload_blob(b"content")
    target = tmp_path / "a" / "target"
    (target.parent / "elsewhere").mkdir(parents=True)
    target.mkdir()
    (target / "link").symlink_to(target.parent / "elsewhere")
    container.upload_blob("link/through.txt", b"content")
    summary = download(container, target)
    assert files(target) == {"good.txt": b"content", "shadow/file.txt": b"content"}
    stored = set(container.list_blob_names())
    assert set(summary.failed) == stored - {"good.txt", "shadow/file.txt"}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] in (
        ["good.txt", "file.txt"],
        ["file.txt", "good.txt"],
    )


@pytest.mark.parametrize(
    "name",
    ["", "..", "../a", "a/../b", "/a", "a//b", "a/", "a\\b", "a\0b", "./a", "a/./b", "x" * 256, "ü" * 128],
)
def test_places_outside(name: str, tmp_path: Path):
    assert place_of(name, tmp_path) is None


def test_a_name_that_blob_storage_would_change_is_reported(container: ContainerClient, folder: Path):
    (folder / "dot.").write_text("x")
    (folder / ".hidden").write_text("x")
    (folder / "broken").symlink_to(folder / "nothing")
    summary = upload(folder, container)
    assert set(summary.failed) == {"dot.", "broken"}
    assert summary.count(SENT) == 6


def test_a_busy_service_and_a_breaking_network_are_retried(azurite: Azurite, name: str, tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(60):
        (folder / f"{index}.jpg").write_bytes(os.urandom(2000))
    chance = random.Random(3)
    faults = [
        ("status", (503, [("Retry-After", "0")])),
        ("status", (429, [("Retry-After", "0.2")])),
        ("drop", None),
    ]
    with FaultyProxy(azurite.blob_url) as proxy:
        account = BlobAccount(connection_string=through(azurite, proxy))
        container = account.container(name)
        proxy.fault = lambda method, path, number: chance.choice(faults) if chance.random() < 0.2 else None
        assert upload(folder, container).failed == {}
        cut = lambda method, path, number: ("cut", 700) if method == "GET" and number % 7 == 0 else None  # noqa: E731
        proxy.fault = cut
        assert download(container, tmp_path / "back").failed == {}
    assert files(tmp_path / "back") == files(folder)


def test_files_that_keep_failing_are_named_and_the_rest_is_sent(
    azurite: Azurite, name: str, folder: Path, monkeypatch
):
    monkeypatch.setattr("lookonce.azure.retry._FIRST_SECONDS", 0.01)
    with FaultyProxy(azurite.blob_url) as proxy:
        container = BlobAccount(connection_string=through(azurite, proxy)).container(name)
        proxy.fault = lambda method, path, number: (
            ("status", (503, [])) if "two.png" in path and method == "PUT" else None
        )
        summary = upload(folder, container, delete=True)
        assert set(summary.failed) == {"sub/two.png"}
        assert "503" in summary.failed["sub/two.png"]
        assert summary.count(SENT) == 5
        assert "nothing was deleted" in summary.notes[-1]
        proxy.fault = lambda method, path, number: None
        assert upload(folder, container).count(SENT) == 1


def test_a_killed_upload_continues_and_sends_nothing_twice(azurite: Azurite, name: str, tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(400):
        (folder / f"{index}.jpg").write_bytes(os.urandom(20_000))
    env = {**os.environ, "STORAGE_CONNECTION_STRING": azurite.connection_string}
    service = BlobServiceClient.from_connection_string(azurite.connection_string)
    client = service.create_container(name)
    process = subprocess.Popen(
        [*RUN, "upload", folder, "--container", name, "--at-once", "4"], env=env, stderr=subprocess.DEVNULL
    )
    # Early enough that most files are still to come when the kill arrives.
    wait_until(lambda: len(list(client.list_blob_names())) >= 5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {blob.name: blob.etag for blob in client.list_blobs()}
    assert len(before) < 400
    done = run(azurite, "upload", folder, "--container", name)
    assert done.returncode == 0, done.stderr
    went, there = map(int, re.search(r"(\d+) files transferred.*; (\d+) unchanged", done.stdout).groups())
    after = {blob.name: blob.etag for blob in client.list_blobs()}
    # Some transfers were running at the kill.
    assert len(before) <= there <= len(before) + 8
    assert went + there == len(after) == 400
    assert all(after[one] == etag for one, etag in before.items() if there == len(before))


def test_a_killed_download_leaves_no_half_file(
    azurite: Azurite, name: str, container: ContainerClient, tmp_path: Path
):
    folder = tmp_path / "large"
    folder.mkdir()
    for index in range(12):
        (folder / f"{index}.bin").write_bytes(os.urandom(6 * 2**20))
    upload(folder, container)
    target = tmp_path / "back"
    env = {**os.environ, "STORAGE_CONNECTION_STRING": azurite.connection_string}
    process = subprocess.Popen(
        [*RUN, "download", target, "--container", name, "--at-once", "2"], env=env, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: list(target.glob("*.bin")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    for path in (path for path in target.glob("*.bin") if not path.name.startswith(".")):
        assert path.read_bytes() == (folder / path.name).read_bytes()
    # Recent temporary files may belong to another process and are kept; old ones are deleted.
    for path in target.glob(".*"):
        os.utime(path, (0, 0))
    assert run(azurite, "download", target, "--container", name).returncode == 0
    assert files(target) == files(folder), "what the killed run left is gone, too"


def test_messages(azurite: Azurite, name: str, folder: Path, tmp_path: Path):
    wrong = azurite.connection_string_with("d3Jvbmcga2V5")
    for env, arguments, printed in (
        ({"STORAGE_CONNECTION_STRING": ""}, ("--container", name), "no storage account is configured"),
        ({}, ("--container", "Not_A_Name"), "is not a container name"),
        ({"STORAGE_CONTAINER_NAME_RAWDATA": ""}, (), "STORAGE_CONTAINER_NAME_RAWDATA"),
        ({"STORAGE_CONNECTION_STRING": wrong}, ("--container", name), "no access"),
        ({"STORAGE_CONNECTION_STRING": "nonsense=secret"}, ("--container", name), "is invalid"),
    ):
        done = run(azurite, "upload", folder, *arguments, **env)
        assert done.returncode == 1
        assert printed in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "secret" not in done.stderr
        assert "d3Jvbmcga2V5" not in done.stderr
    gone = run(azurite, "download", tmp_path / "x", "--container", name)
    assert gone.returncode == 1
    assert "has no container" in gone.stderr
    assert not (tmp_path / "x").exists()


def test_the_command_with_the_older_variables(
    azurite: Azurite, name: str, folder: Path, service: BlobServiceClient
):
    done = run(
        azurite,
        "upload",
        folder,
        STORAGE_CONNECTION_STRING="",
        STORAGE_ACCOUNT_NAME=azurite.blob_url,
        STORAGE_ACCOUNT_KEY=azurite.key,
        STORAGE_CONTAINER_NAME_RAWDATA=name,
    )
    assert done.returncode == 0, done.stderr
    assert "6 files transferred to container" in done.stdout
    assert "created, private" in done.stdout
    assert len(list(service.get_container_client(name).list_blob_names())) == 6


def test_a_public_container_is_reported(
    folder: Path, service: BlobServiceClient, name: str, container: ContainerClient
):
    service.create_container(name, public_access="container")
    assert "is public" in " ".join(upload(folder, container).notes)


def test_a_sas_that_may_not_create_containers(
    azurite: Azurite, folder: Path, service: BlobServiceClient, name: str
):
    service.create_container(name)
    expiry = datetime.now(UTC) + timedelta(hours=1)
    permission = ContainerSasPermissions(read=True, write=True, list=True)
    sas = generate_container_sas(
        azurite.account, name, account_key=azurite.key, permission=permission, expiry=expiry
    )
    account = BlobAccount(connection_string=f"BlobEndpoint={azurite.blob_url};SharedAccessSignature={sas}")
    assert upload(folder, account.container(name)).count(SENT) == 6
    old = generate_container_sas(
        azurite.account,
        name,
        account_key=azurite.key,
        permission=permission,
        expiry=datetime.now(UTC) - timedelta(hours=1),
    )
    account = BlobAccount(connection_string=f"BlobEndpoint={azurite.blob_url};SharedAccessSignature={old}")
    with pytest.raises(LookonceError, match="no access") as caught:
        upload(folder, account.container(name))
    assert "sig=" not in str(caught.value)


def test_a_stored_file_with_a_wrong_md5_is_refused(container: ContainerClient, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("lookonce.azure.retry._FIRST_SECONDS", 0.001)
    container.create_container()
    settings = ContentSettings(content_md5=bytearray(hashlib.md5(b"other").digest()))
    # Blocks are committed with any MD5; the service checks that of a whole blob.
    blob = container.get_blob_client("one.jpg")
    blob.stage_block("0001", b"these")
    blob.commit_block_list([BlobBlock("0001")], content_settings=settings)
    summary = download(container, tmp_path / "back")
    assert "is wrong" in summary.failed["one.jpg"]
    assert files(tmp_path / "back") == {}
