"""Serve MLflow's REST interface on a database file: python mlflow_process.py DATABASE. Prints its port."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{sys.argv[1]}"
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = "azureml://artifacts"
    os.environ["MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE"] = "true"
    from mlflow.server import app
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()
