"""The learning-rate schedule, the loss, and options that make no sense."""

import math

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ponder.errors import InputError
from ponder_pretraining import PretrainConfig
from ponder_pretraining.stage import IGNORED, check_tokenizer, learning_rate_share, next_token_loss, tensors


def config(**options):
    return PretrainConfig(**{"policy": "base", "task": "web", "tokens": 409_600, **options})


def test_the_learning_rate_rises_stays_and_falls_to_its_final_share():
    schedule = [learning_rate_share(step, config(warmup=0.1, decay=0.4)) for step in range(100)]
    assert schedule[0] == pytest.approx(0.1)
    assert schedule[9:60] == [1.0] * 51
    assert schedule[60:] == sorted(schedule[60:], reverse=True)
    assert schedule[79] == pytest.approx(0.1 + 0.9 * 0.5)
    assert schedule[99] == pytest.approx(0.1)


def test_padding_is_not_predicted():
    inputs, labels = tensors([[[5, 6], [7]], [[8, 9, 10, 11]]], 6, pad=2)
    assert inputs.tolist() == [[5, 6, 7, 2, 2, 2], [8, 9, 10, 11, 2, 2]]
    assert labels.tolist() == [[6, 7, IGNORED, IGNORED, IGNORED, IGNORED], [9, 10, 11, IGNORED, IGNORED, IGNORED]]


def test_the_loss_does_not_see_what_stands_in_the_padding():
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 32,
    }
    model = LlamaForCausalLM(LlamaConfig(**sizes))
    row = [[3, 4, 5, 6]]
    losses = {round(next_token_loss(model, *tensors([row], 9, pad=pad)).item(), 6) for pad in (0, 7, 30)}
    assert len(losses) == 1


def test_a_model_that_knows_nothing_has_the_loss_of_a_uniform_guess():
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 32,
    }
    model = LlamaForCausalLM(LlamaConfig(**sizes))
    torch.nn.init.zeros_(model.lm_head.weight)
    assert next_token_loss(model, *tensors([[[1, 2, 3, 4]]], 4, pad=0)).item() == pytest.approx(math.log(32))


@pytest.mark.parametrize("name", ["eos_token", "pad_token"])
def test_a_tokenizer_without_end_or_padding_is_refused_by_name(name):
    words = Tokenizer(models.WordLevel({"<e>": 0, "<p>": 1}, unk_token="<e>"))
    tokens = {"eos_token": "<e>", "pad_token": "<p>"} | {name: None}
    with pytest.raises(InputError, match=f"no {name}"):
        check_tokenizer(PreTrainedTokenizerFast(tokenizer_object=words, **tokens))


def test_the_plan_says_the_batch_arithmetic_in_one_sentence():
    assert config().plan() == "32 rows x 128 tokens = 4,096 tokens a step; 100 steps read 409,600 tokens"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tokens": 0}, "tokens"),
        ({"batch_tokens": 64}, "batch_tokens"),
        ({"warmup": 0.7, "decay": 0.6}, "warmup"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"beta2": 1.5}, "beta2"),
    ],
)
def test_impossible_options_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        config(**options)
