"""A replacement of `docker` for machines without an engine: `python docker_stand_in.py STATE ARGUMENTS…`.

Images are defined by the last stage of their Dockerfile; containers are local processes with a log, restarted
when they exit.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from azure_stand_in.endpoint_images import BuildError, Images

WATCH = """
import json, os, pathlib, subprocess, sys
folder = pathlib.Path(sys.argv[1]); about = json.loads((folder / "about.json").read_text())
restarts = 0
while True:
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(about["command"], stdout=log, stderr=log, env={**os.environ, **about["env"]})
    (folder / "child").write_text(str(child.pid)); child.wait()
    restarts += 1; (folder / "restarts").write_text(str(restarts))
"""


def main(state: Path, words: list[str]) -> int:
    name, rest = words[0], words[1:]
    if (state / "down").exists():
        print("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", file=sys.stderr)
        return 1
    with (state / "calls").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    if name == "version":
        print("29.0.0")
        return 0
    if name == "image":
        return 0 if (state / "images" / rest[1]).exists() else 1
    if name == "build":
        return build(state, rest[1], Path(rest[2]))
    if name == "run":
        return run(state, rest)
    folder = state / "containers" / rest[-1]
    if not folder.exists():
        print(f"Error response from daemon: No such container: {rest[-1]}", file=sys.stderr)
        return 1
    if name == "inspect":
        restarts = (folder / "restarts").read_text() if (folder / "restarts").exists() else "0"
        print("running", restarts)
    elif name == "logs":
        print("\n".join((folder / "log").read_text().splitlines()[-int(rest[1]) :]), file=sys.stderr)
    elif name in ("stop", "rm"):
        end(folder)
        if name == "rm":
            folder.rename(folder.with_name(f"removed-{time.time_ns()}"))
    return 0


def build(state: Path, tag: str, context: Path) -> int:
    try:
        image = Images().build(context, "Dockerfile", state / "files" / tag)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    (state / "images").mkdir(exist_ok=True)
    about = {"entry": [*image.entry], "variables": dict(image.variables)}
    (state / "images" / tag).write_text(json.dumps(about))
    return 0


def run(state: Path, words: list[str]) -> int:
    given: dict[str, list[str]] = {}
    while words[0].startswith("--"):
        flag = words.pop(0)
        if flag not in ("--detach", "--read-only"):
            given.setdefault(flag, []).append(words.pop(0))
    image = json.loads((state / "images" / words.pop(0)).read_text())
    source, inside, _ = given["--volume"][0].split(":")
    port = given["--publish"][0].split(":")[-2]
    entry = [word.replace("8080", port) for word in [*image["entry"], *words]]
    variables = {"AZUREML_MODEL_DIR": image["variables"]["AZUREML_MODEL_DIR"].replace(inside, source)}
    for variable in given.get("--env", []):
        variables[variable] = os.environ[variable]
    folder = state / "containers" / given["--name"][0]
    folder.mkdir(parents=True)
    (folder / "log").touch()
    (folder / "about.json").write_text(
        json.dumps({"command": [sys.executable, *entry[1:]], "env": variables})
    )
    clean = {name: value for name, value in os.environ.items() if name != "WEBSERVICE_KEY"}
    watch = subprocess.Popen(
        [sys.executable, "-c", WATCH, str(folder)],
        env=clean,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    (folder / "pid").write_text(str(watch.pid))
    print("0123456789abcdef")
    return 0


def end(folder: Path) -> None:
    """Signal the container's process and its supervisor."""
    try:
        os.killpg(int((folder / "pid").read_text()), signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
