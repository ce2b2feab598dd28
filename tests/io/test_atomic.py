"""Atomic files: permissions under threads, leftovers, errors."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lookonce.errors import LookonceError
from lookonce.io.atomic import atomic_file, write_text


@pytest.fixture
def umask() -> Iterator[int]:
    """A umask that is easily recognised; the old one afterwards."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_file_follows_the_umask(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "a.txt", "text")
    assert mode_of(tmp_path / "a.txt") == 0o666 & ~umask


def test_threads_that_write_never_change_the_umask(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever sets the umask, even for a moment, can be interrupted by a thread that does the same."""

    def refuse(mask: int) -> int:
        raise AssertionError(f"the umask of the whole process was set to {mask:o}")

    monkeypatch.setattr(os, "umask", refuse)
    paths = [tmp_path / f"{number}.txt" for number in range(64)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda path: write_text(path, "text"), paths))
    monkeypatch.undo()
    assert {mode_of(path) for path in paths} == {0o666 & ~umask}
    found = os.umask(umask)
    assert found == umask


def test_error_keeps_the_older_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(ZeroDivisionError), atomic_file(target) as temporary:
        temporary.write_text(str(1 / 0))
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_folder_that_cannot_be_made_is_a_readable_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LookonceError, match=r"a\.txt"):
        write_text(tmp_path / "file" / "a.txt", "text")
