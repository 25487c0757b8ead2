"""An interrupted run goes on to the same bits, and steps that are not finite change nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from ponder.errors import Interrupted, PonderError
from ponder_trl.step_trainer import StepTrainer

SLOWLY = ", epochs: 6, checkpoint_every: 2, trl: {neftune_noise_alpha: 5.0}"
"""NEFTune adds noise to the embeddings, so that the run depends on torch's random numbers."""


def assert_same_run(found, expected):
    assert (found / "metrics.jsonl").read_bytes() == (expected / "metrics.jsonl").read_bytes()
    assert (found / "result.json").read_bytes() == (expected / "result.json").read_bytes()
    weights, wanted = (load_file(folder / "policy" / "model.safetensors") for folder in (found, expected))
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


@pytest.fixture
def on_call(monkeypatch):
    """Does something else in the n-th forward and backward pass."""

    def set_up(number, act):
        real, calls = StepTrainer.training_step, []

        def training_step(self, model, inputs, num_items_in_batch=None):
            calls.append(None)
            if len(calls) == number:
                act()
            return real(self, model, inputs, num_items_in_batch)

        monkeypatch.setattr(StepTrainer, "training_step", training_step)

    return set_up


@pytest.mark.parametrize("step", [2, 8, 18])
def test_a_run_that_died_goes_on_to_the_same_metrics_and_weights(run_sft, on_call, step):
    straight = run_sft("straight", options=SLOWLY)
    assert len((straight / "metrics.jsonl").read_text().splitlines()) == 18

    def die():
        raise RuntimeError("power cut")

    on_call(step, die)
    with pytest.raises(PonderError, match="power cut"):
        run_sft("broken", options=SLOWLY)
    assert_same_run(run_sft("broken", options=SLOWLY), straight)


def test_a_signal_ends_the_run_after_its_step_and_it_goes_on_to_the_same_weights(run_sft, on_call):
    straight = run_sft("straight", options=SLOWLY)
    on_call(5, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted, match="step 5 of 18 is kept"):
        run_sft("broken", options=SLOWLY)
    assert_same_run(run_sft("broken", options=SLOWLY), straight)


@pytest.mark.slow
def test_a_killed_process_is_continued_by_the_same_command(run_sft, tmp_path):
    straight = run_sft("straight", options=SLOWLY)
    command = [sys.executable, "-m", "ponder", "run", "small.yaml", "--runs", "broken"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait_for(lambda: _lines(tmp_path / "broken") >= 5, process)
    process.kill()
    process.wait()
    assert_same_run(run_sft("broken", options=SLOWLY), straight)


def test_steps_that_are_not_finite_change_no_weight_and_end_the_stage_after_a_few(run_sft, monkeypatch):
    seen = []

    def not_finite(self, model, inputs, num_items_in_batch=None):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        loss = model.get_output_embeddings().weight.sum() * torch.nan
        loss.backward()
        self.step_loss, self.step_tokens = float(loss), 1
        return loss.detach()

    monkeypatch.setattr(StepTrainer, "training_step", not_finite)
    with pytest.raises(PonderError, match=r"not finite in 3 steps in a row, up to step 2: lower learning_rate"):
        run_sft(options=", max_skipped: 3")
    assert all(torch.equal(seen[0][name], seen[-1][name]) for name in seen[0])


@pytest.mark.parametrize("spoil", ["loss", "gradient"])
def test_a_single_step_that_is_not_finite_is_skipped_and_counted(run_sft, monkeypatch, spoil):
    real, calls, weights = StepTrainer.training_step, [], []

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = real(self, model, inputs, num_items_in_batch)
        calls.append(None)
        weights.append(model.get_output_embeddings().weight.clone())
        if len(calls) == 2 and spoil == "loss":
            self.step_loss = float("inf")
        if len(calls) == 2 and spoil == "gradient":
            model.get_output_embeddings().weight.grad[0, 0] = torch.inf
        return loss

    monkeypatch.setattr(StepTrainer, "training_step", training_step)
    directory = run_sft()
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == [0, 1, 0, 0, 0, 0]
    assert json.loads((directory / "result.json").read_text())["metrics"]["skipped"] == 1
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[2], weights[3])
    assert all(tensor.isfinite().all() for tensor in load_file(directory / "policy" / "model.safetensors").values())


def _lines(runs):
    return max((len(path.read_text().splitlines()) for path in runs.glob("**/metrics.jsonl")), default=0)


def _wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < deadline, "the run made no checkpoint"
        time.sleep(0.01)
