"""Test the packages of a job's environment."""

from __future__ import annotations

import pytest

from lookonce.azure.environments import training_conda


@pytest.mark.parametrize(("gpu", "there"), [(False, "tensorflow_cpu=="), (True, "tensorflow[and-cuda]==")])
def test_tensorflow_for_the_machine(gpu: bool, there: str):
    packages = training_conda("tensorflow", gpu)["dependencies"][-1]["pip"]
    assert len([one for one in packages if one.startswith(there)]) == 1
    assert len([one for one in packages if one.lower().startswith("tensorflow")]) == 1
    assert all("==" in one for one in packages)


def test_a_job_has_mlflow_for_the_workspace_and_no_client_of_it():
    names = {
        one.split("==")[0].lower() for one in training_conda("tensorflow", False)["dependencies"][-1]["pip"]
    }
    assert {"azureml-mlflow", "mlflow-skinny", "keras", "onnxruntime"} <= names
    assert not {"azure-ai-ml", "adlfs", "azure-mgmt-containerregistry", "lookonce"} & names
