"""`lookonce train` refuses more GPUs and machines than it uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookonce.azure.compute import ComputeSpec
from lookonce.cli.main import main
from lookonce.errors import LookonceError


@pytest.mark.parametrize("where", ["local", "azure"])
@pytest.mark.parametrize(
    ("flag", "count"), [("--gpu-num", "2"), ("--gpu-num", "4"), ("--gpu-num", "8"), ("--nodes", "2")]
)
def test_more_gpus_or_machines_than_train_are_refused(
    where: str, flag: str, count: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["train", str(tmp_path), "--on", where, flag, count]) == 1
    message = capsys.readouterr().err
    assert f"{flag} {count}" in message
    assert "one GPU" in message
    assert "--vm-size" in message


@pytest.mark.parametrize("spec", [{"gpus": 2}, {"gpus": 2, "size": "Standard_NC48ads_A100_v4"}])
def test_a_caller_of_the_library_gets_the_same_refusal(spec: dict[str, object]):
    with pytest.raises(LookonceError, match="one GPU"):
        ComputeSpec(**spec)  # type: ignore[arg-type]
