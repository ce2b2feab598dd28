"""Run a batch deployment's scoring script on a folder, as a node does: `init()`, then `run(mini_batch)`.

    python batch_driver.py --script score.py --input FOLDER --output FOLDER --size 10 …

Run it in the folder of the deployment's code. It appends what `run` returns to the output file: a table's
rows with spaces between the cells, anything else as one line per item.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from typing import Any


def main() -> int:
    """Run the script; return 0, or 1 if more files failed than errorThreshold allows."""
    # The script imports the deployment's code, not the modules beside this file.
    sys.path[0] = os.getcwd()
    parser = argparse.ArgumentParser()
    for name in ("script", "input", "output", "model", "model-name", "file-name", "action"):
        parser.add_argument(f"--{name}", default="")
    for name in ("size", "retries", "threshold"):
        parser.add_argument(f"--{name}", type=int, required=True)
    wanted = parser.parse_args()
    if wanted.model:
        os.environ["AZUREML_MODEL_DIR"] = str(_model_folder(Path(wanted.model), wanted.model_name))
    os.environ["AZUREML_BI_OUTPUT_PATH"] = wanted.output
    script = _load(Path(wanted.script))
    script.init()
    source = Path(wanted.input)
    files = (
        sorted(str(one) for one in source.rglob("*") if one.is_file()) if source.is_dir() else [str(source)]
    )
    failed = 0
    for start in range(0, len(files), wanted.size):
        batch = files[start : start + wanted.size]
        lines = _lines(_run(script, batch, wanted.retries))
        failed += max(0, len(batch) - len(lines))
        if wanted.action == "AppendRow":
            with (Path(wanted.output) / wanted.file_name).open("a", encoding="utf-8") as rows:
                rows.writelines(f"{line}\n" for line in lines)
        print(f"{start + len(batch)} of {len(files)} files, {failed} failed", flush=True)
        if 0 <= wanted.threshold < failed:
            print(f"The error threshold {wanted.threshold} is exceeded: {failed} files failed.", flush=True)
            return 1
    return 0


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("entry_module", path)
    if spec is None or spec.loader is None or not path.exists():
        raise SystemExit(f"The scoring script {path} is not in the deployment's code.")
    module = importlib.util.module_from_spec(spec)
    sys.modules["entry_module"] = module
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    for name in ("init", "run"):
        if not callable(getattr(module, name, None)):
            raise SystemExit(f"The scoring script {path} has no function {name}.")
    return module


def _model_folder(model: Path, name: str) -> Path:
    """Return the folder for AZUREML_MODEL_DIR, with the model's file, or its folder under its name."""
    if model.is_file():
        return model.parent
    folder = model.parent / "model-folder"
    folder.mkdir(exist_ok=True)
    # A copy, not a link: searches below a folder skip links.
    model.rename(folder / name)
    return folder


def _run(script: Any, batch: list[str], retries: int) -> Any:
    for left in range(retries, -1, -1):
        try:
            return script.run(batch)
        except Exception:
            traceback.print_exc()
            if not left:
                return []
    return []


def _lines(answer: Any) -> list[str]:
    if hasattr(answer, "to_csv"):
        return str(answer.to_csv(sep=" ", header=False, index=False)).splitlines()
    if not isinstance(answer, (list, tuple)):
        raise SystemExit(f"run() returned a {type(answer).__name__}; a list or a table is expected.")
    return [str(one) for one in answer]


if __name__ == "__main__":
    sys.exit(main())
