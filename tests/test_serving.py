"""An exported policy behind transformers' own server: reasoning apart from the answer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from ponder.cli import main

RECIPE = """
name: served
policies:
  base: {type: causal_lm, preset: llama_tiny, context_length: 128}
tasks:
  lesson: {type: jsonl, path: lesson.jsonl}
stages:
  taught: {type: sft, policy: base, task: lesson, epochs: 40, batch_size: 4, learning_rate: 0.01, chat_template: r1}
"""
QUESTION = [{"role": "user", "content": "Is 2 even?"}]
LESSON = {"prompt": QUESTION, "response": "<think>\n2 is 1 + 1.\n</think>\n\nYes."}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("served")
    (directory / "lesson.jsonl").write_text((json.dumps(LESSON) + "\n") * 16)
    (directory / "served.yaml").write_text(RECIPE)
    runs = ["--runs", str(directory / "runs")]
    assert main(["run", str(directory / "served.yaml"), *runs]) == 0
    assert main(["export", f"{directory / 'served.yaml'}:taught", str(directory / "even"), *runs]) == 0
    return directory / "even"


def test_the_tokenizer_tells_reasoning_from_the_answer_behind_its_prompt(exported: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported)
    prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, tokenize=False)
    assert prompt.endswith("<think>\n")
    said = f"2 is 1 + 1.\n</think>\n\nYes.{tokenizer.eos_token}"
    parsed = tokenizer.parse_response(said, prefix=prompt)
    assert parsed == {"role": "assistant", "reasoning_content": "2 is 1 + 1.", "content": "Yes."}


@pytest.fixture
def server(exported: Path, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        "from transformers.cli.transformers import main; main()",
        *("serve", str(exported), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def ask(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)["choices"][0]["message"]
        except urllib.error.URLError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


@pytest.mark.slow
def test_transformers_own_server_gives_reasoning_apart_from_the_answer(exported: Path, server: str) -> None:
    body = {"model": str(exported), "messages": QUESTION, "max_tokens": 60, "temperature": 0.0}
    message = ask(server, body)
    assert message["reasoning_content"] == "2 is 1 + 1."
    assert message["content"] == "Yes."
