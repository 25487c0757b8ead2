"""The learning-rate schedule, the loss, and options that make no sense."""

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from ponder.errors import InputError
from ponder_pretraining import PretrainConfig
from ponder_pretraining.stage import learning_rate_share
from ponder_pretraining.training import check_tokenizer


def config(**options):
    return PretrainConfig(**{"policy": "base", "task": "web", "tokens": 409_600, **options})


def test_the_learning_rate_rises_stays_and_falls_to_its_final_share():
    schedule = [learning_rate_share(step, config(warmup=0.1, decay=0.4)) for step in range(100)]
    assert schedule[0] == pytest.approx(0.1)
    assert schedule[9:60] == [1.0] * 51
    assert schedule[60:] == sorted(schedule[60:], reverse=True)
    assert schedule[79] == pytest.approx(0.1 + 0.9 * 0.5)
    assert schedule[99] == pytest.approx(0.1)


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
