"""The loss on documents that are not trained on, and the loads that a stage keeps."""

import json

import pytest
import torch

from ponder.errors import InputError
from ponder.hf_pretraining import TokenBatch, next_token_loss
from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.policy import DeepseekPolicy
from ponder_pretraining import PretrainConfig
from ponder_pretraining.validation import Validation, is_due

RECIPE = """
policies:
  base: {type: deepseek, preset: tiny}
tasks:
  pages: {type: mini_web, documents: 300, textbooks: 1.0}
  unseen: {type: mini_web, documents: 300, textbooks: 1.0, split: held_out}
stages:
  pretrain: {type: pretrain, policy: base, task: pages, tokens: 10240, batch_tokens: 512, validation: unseen,
             validation_tokens: 2048, validations: 4, checkpoint_every: 4}
"""


def config(**options):
    named = {"policy": "base", "task": "web", "validation": "unseen", "tokens": 4096, "sequence_length": 8}
    return PretrainConfig(**{**named, "batch_tokens": 16, "validation_tokens": 20, **options})


def tokenize(texts):
    return [[ord(letter) % 50 for letter in text] for text in texts]


def test_the_loss_is_the_mean_over_all_predicted_tokens_and_leaves_the_mode_alone():
    model = DeepseekPolicy(DeepseekConfig(preset="tiny"), seed=1).model.train()
    validation = Validation(["abcdefgh", "ijklmn", "opqrstuv"], tokenize, 0, config())
    whole = TokenBatch.pack([[row] for row in tokenize(["abcdefgh", "ijklmn", "opqrstuv"])], 8, 0)
    with torch.no_grad():
        expected = next_token_loss(model.eval(), whole).item()
    model.train()
    assert validation.loss(model) == pytest.approx(expected, abs=1e-5)
    assert model.training


def test_documents_that_were_trained_on_too_are_counted():
    validation = Validation(["abc", "defg"], tokenize, 0, config())
    assert list(validation.watch(["xyz", "abc", "abc"])) == ["xyz", "abc", "abc"]
    assert validation.overlap == 0.5


def test_a_task_without_documents_is_refused_by_name():
    with pytest.raises(InputError, match="'unseen' has no documents"):
        Validation([], tokenize, 0, config())


def test_measurements_lie_evenly_and_the_last_is_the_stages_own():
    options = config(tokens=160, validations=4)
    assert options.steps == 10
    assert [step for step in range(10) if is_due(step, options)] == [2, 4, 7]


def test_what_is_trained_on_is_no_validation():
    with pytest.raises(ValueError, match="validation must be another task"):
        config(validation="web")


def test_a_run_logs_the_validation_loss_and_keeps_the_loads(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    registry = load_registry()
    directory = run_recipe(load_recipe(path, [], registry), registry, tmp_path / "runs", Display()).stages[0].directory
    metrics = json.loads((directory / "result.json").read_text())["metrics"]
    curve = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    measured = [row["validation_loss"] for row in curve if "validation_loss" in row]
    assert len(measured) == 4
    assert measured[-1] == metrics["validation_loss"] < measured[0]
    assert metrics["validation_overlap"] == 0
    kept = [json.loads(line) for line in (directory / "expert_loads.jsonl").read_text().splitlines()]
    assert [row["step"] for row in kept] == list(range(20))
    assert all(len(row["loads"]) == 4 and 0 < sum(row["loads"]) <= 2 * 512 for row in kept)
