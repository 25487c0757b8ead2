import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import pytest
from mlflow import MlflowClient

from ponder_mlflow import MlflowConfig
from ponder_mlflow.tracker import MlflowTracker


@pytest.fixture
def server(tmp_path):
    """A real tracking server on a free loopback port; its whole process group ends with the test."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "files"),
    ]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_healthy(url, process, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the server did not start")


@pytest.mark.slow
def test_a_tracking_server_gets_runs_metrics_tables_pages_traces_and_models(server, tmp_path, publish):
    tracker = MlflowTracker(MlflowConfig(uri=server, experiment="elsewhere"), tmp_path / "other runs")
    tracker.start("recipe", {"seed": 0})
    tracker.start("evaluate", {"samples": 16})
    tracker.log({"pass@1": 0.5})
    for name, text in {
        "samples.jsonl": '{"prompt": "1 + 1", "completion": "2", "score": 1}\n',
        "report.html": "<p>A page</p>",
    }.items():
        (tmp_path / name).write_text(text)
        tracker.artifact(tmp_path / name)
    tracker.published(publish("evaluate", "aa", policy="policy"))
    tracker.finish("finished")
    tracker.finish("finished")

    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("elsewhere")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    stage = runs["evaluate"]
    assert stage.data.tags["mlflow.parentRunId"] == runs["recipe"].info.run_id
    assert stage.data.metrics == {"pass_at_1": 0.5}
    assert stage.data.params == {"samples": "16"}
    assert {file.path for file in client.list_artifacts(stage.info.run_id)} == {"samples.json", "report.html"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    [version] = client.search_model_versions("name = 'recipe.evaluate'")
    assert version.source == f"runs:/{stage.info.run_id}/policy"
    [trace] = client.search_traces(locations=[experiment.experiment_id])
    assert [found.value for found in trace.info.assessments] == [1]
    assert not (tmp_path / "other runs" / "mlflow.db").exists()
