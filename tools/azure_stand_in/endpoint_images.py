"""Container images by name; their Dockerfile's command runs as a process, because there is no engine."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]


class BuildError(Exception):
    """A Dockerfile that cannot be built; the message is the end of the build's log."""


@dataclass(frozen=True)
class Image:
    """A built image: its command, variables, port, and the folder of its files on this machine."""

    entry: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    port: int = 8080
    files: Mapping[str, Path] = field(default_factory=dict)

    def words(self, places: Mapping[str, Path], instead: Sequence[str] | None = None) -> list[str]:
        """Return the command of the image, or `instead`, with {port} in place of its port."""
        words = here(instead or [*self.entry, *self.command], {**self.files, **places})
        words = [word.replace(str(self.port), "{port}") for word in words]
        if words and PurePosixPath(words[0]).name == "lookonce":
            return [sys.executable, "-m", "lookonce", *words[1:]]
        return words

    def surroundings(self, added: Mapping[str, str], places: Mapping[str, Path]) -> dict[str, str]:
        """Return the image's variables and the given ones, with paths of this machine."""
        own = {name: value for name, value in self.variables.items() if name not in ("PATH", "HOME")}
        all_of_them = {**own, **added}
        values = here(all_of_them.values(), {**self.files, **places})
        return dict(zip(all_of_them, values, strict=True))


def here(values: Iterable[str], places: Mapping[str, Path]) -> list[str]:
    """Replace paths of the container by paths of this machine, as mapped by `places`."""

    def one(value: str) -> str:
        for inside in sorted(places, key=len, reverse=True):
            if value.rstrip("/") == inside or value.startswith(f"{inside}/"):
                return str(places[inside]) + value[len(inside) :]
        return value

    return [one(value) for value in values]


class Images:
    """The images that can be pulled: the project's image, and those built in the workspace's registry."""

    def __init__(self) -> None:
        self._built: dict[str, Image] = {}
        # Registries that hold only images built here.
        self.registries: set[str] = set()

    def add(self, reference: str, image: Image) -> None:
        """Add an image under its full reference, including registry and tag."""
        self._built[_tagged(reference)] = image

    def find(self, reference: str) -> Image | None:
        """Return the image of a reference; repositories that end in `lookonce` have the project's."""
        if image := self._built.get(_tagged(reference)):
            return image
        repository = re.sub(r"(@sha256:\w+|:[\w.-]+)$", "", reference)
        if reference.partition("/")[0] in self.registries:
            return None
        if repository.rpartition("/")[2] == "lookonce":
            return self._read((ROOT / "Dockerfile").read_text(encoding="utf-8"), ROOT, None, {})
        return None

    def build(
        self, context: Path, dockerfile: str, files: Path, arguments: Mapping[str, str] | None = None
    ) -> Image:
        """Build the Dockerfile of a context; put copied files below `files`. Raises BuildError."""
        path = context / dockerfile
        if not path.is_file():
            raise BuildError(f"unable to prepare context: the Dockerfile ({dockerfile}) is not in it")
        return self._read(path.read_text(encoding="utf-8"), context, files, arguments or {})

    def _read(self, text: str, context: Path, files: Path | None, arguments: Mapping[str, str]) -> Image:
        image, folder = Image(), PurePosixPath("/")
        steps = instructions(_with_arguments(text, arguments))
        if not any(name == "FROM" for name, _ in steps):
            raise BuildError("no build stage in current context: the Dockerfile has no FROM")
        last = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
        for number, (name, rest) in enumerate(steps):
            if name == "FROM":
                image, folder = self.find(rest.split()[0]) or Image(), PurePosixPath("/")
            elif name == "WORKDIR":
                folder /= rest
            elif name in ("COPY", "ADD") and "--from" not in rest:
                words = [word for word in shlex.split(rest) if not word.startswith("--")]
                for word in words[:-1]:
                    _check(context, word)
                    if files is not None and number > last:
                        copied = _copy(context / word, files, folder / words[-1], words[-1].endswith("/"))
                        image = replace(image, files={**image.files, **copied})
            elif name == "ENV":
                image = replace(image, variables={**image.variables, **_pairs(rest)})
            elif name == "EXPOSE":
                image = replace(image, port=int(rest.split()[0].partition("/")[0]))
            elif name == "ENTRYPOINT":
                image = replace(image, entry=_words(rest), command=())
            elif name == "CMD":
                image = replace(image, command=_words(rest))
        return image


def instructions(text: str) -> list[tuple[str, str]]:
    """Yield (NAME, rest) of each instruction, without comments and with continued lines joined."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1]) for line in joined.splitlines()]


def _with_arguments(text: str, given: Mapping[str, str]) -> str:
    """Replace every ${NAME} of an ARG by its given value, else by its default."""
    for name, default in re.findall(r"(?m)^ARG (\w+)(?:=(\S*))?", text):
        value = given.get(name, default)
        plain = value.replace("\\", r"\\")
        text = re.sub(rf"\$\{{{name}\}}|\${name}\b", plain, text)
    return text


def _check(context: Path, source: str) -> None:
    place = (context / source.lstrip("/")).resolve()
    if not place.is_relative_to(context.resolve()):
        raise BuildError(f"COPY failed: forbidden path outside the build context: {source}")
    if not place.exists():
        raise BuildError(f"COPY failed: file not found in build context: {source}: file does not exist")


def _copy(source: Path, files: Path, target: PurePosixPath, into: bool) -> dict[str, Path]:
    """Copy like COPY: a folder's content, or a file; return the mapping of image paths to paths here."""
    place = files / str(target).lstrip("/")
    if source.is_dir():
        shutil.copytree(source, place, dirs_exist_ok=True)
        return {str(target): place}
    file = place / source.name if into or place.is_dir() else place
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, file)
    return {str(target): place}


def _words(rest: str) -> tuple[str, ...]:
    return tuple(json.loads(rest)) if rest.startswith("[") else ("sh", "-c", rest)


def _pairs(rest: str) -> dict[str, str]:
    if "=" not in rest.split()[0]:
        name, _, value = rest.partition(" ")
        return {name: value}
    return dict(word.split("=", 1) for word in shlex.split(rest))


def _tagged(reference: str) -> str:
    return reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
