"""Policies with adapters in TRL's trainers, which compute with the weight of the output instead of calling it."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from ponder.errors import InputError

pytestmark = pytest.mark.parametrize("tiny_policy", ["qwen2"], indirect=True)


@pytest.fixture
def tuned(run_sft, tmp_path, tiny_policy):
    """Fine-tunes a small model with adapters; returns its output's weight before and after."""

    def run(options: str, *, tied: bool = False):
        config = copy.deepcopy(tiny_policy.model.config)
        config.tie_word_embeddings = tied
        tiny_policy.model = type(tiny_policy.model)(config)
        tiny_policy.save(tmp_path / "whole")
        made = run_sft(policy=f"{{type: causal_lm, path: {tmp_path / 'whole'}, {options}}}") / "policy"
        return [AutoModelForCausalLM.from_pretrained(path).lm_head.weight for path in (tmp_path / "whole", made)]

    return run


def test_rows_of_tags_train_where_input_and_output_are_tied(tuned):
    before, after = tuned("lora: {r: 4}, tags: tokens", tied=True)
    changed = (before - after[: len(before)]).abs().sum(1).nonzero().flatten().tolist()
    assert {258, 259} <= set(changed) <= {*range(258, 264)}, "the tags, of which two were there; others are frozen"


def test_low_rank_adapters_on_the_output_are_refused(tuned):
    with pytest.raises(InputError, match=r"LoRA adapters on its output.* modules_to_save: \[lm_head\]"):
        tuned("lora: {r: 4, target_modules: [q_proj, lm_head]}")


def test_an_output_that_is_trained_whole_beside_adapters_trains(tuned):
    before, after = tuned("lora: {r: 4, modules_to_save: [lm_head]}")
    assert not torch.equal(before, after)
