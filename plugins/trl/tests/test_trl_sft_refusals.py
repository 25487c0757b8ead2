"""Wrong data, wrong tokenizers, wrong options: told before the first step, with counts and with what to do."""

from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ponder import Example
from ponder.errors import InputError, PonderError
from ponder_trl import SftConfig
from ponder_trl.chat_templates import choose_chat_template
from ponder_trl.checks import (
    check_ends,
    check_prompts,
    check_tags,
    check_tokenizer,
    check_unknown,
    count,
    within_length,
)
from ponder_trl.conversations import Conversation


def config(**options):
    return SftConfig(**{"policy": "base", "task": "rows", **options})


def conversations(*lengths, end=0):
    return [Conversation(torch.tensor([*range(10, 9 + length), end], dtype=torch.int32), 1) for length in lengths]


def model(context=100):
    text = SimpleNamespace(max_position_embeddings=context)
    return SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text))


def word_tokenizer(**words):
    pieces = Tokenizer(models.WordLevel({"<eos>": 0, "<unk>": 1, **words}, unk_token="<unk>"))
    pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<eos>", unk_token="<unk>")


THOUGHT = Example("?", None, {"response": "<think> a </think> b"})


def test_a_tokenizer_that_cannot_express_the_tags_is_refused_with_the_count(tokenizer):
    with pytest.raises(InputError, match="'student' cannot express <think>, which 2 response"):
        check_tags(count([THOUGHT, THOUGHT, Example("?", "2")]), word_tokenizer(a=2, b=3), "student", print)


def test_tags_in_several_tokens_are_told_with_counts(tokenizer):
    said = []
    plain = PreTrainedTokenizerFast(tokenizer_object=_without_tags(tokenizer), eos_token="<eos>")
    check_tags(count([THOUGHT] * 3 + [Example("?", "2")]), plain, "student", said.append)
    assert said == [
        "the tokenizer of policy 'student' cuts <think> into 7 tokens (3 responses) and </think> into 8 tokens (3 responses): "
        "they are learnt piece by piece, as plain text"
    ]


def test_tags_that_are_tokens_or_do_not_occur_are_nothing_to_tell(tokenizer):
    said = []
    check_tags(count([THOUGHT]), tokenizer, "student", said.append)
    check_tags(count([Example("?", "2")]), word_tokenizer(), "student", said.append)
    assert said == []


def test_plain_prompts_under_a_chat_template_are_counted():
    said = []
    counts = count([Example("?", "2"), Example("!", "3"), Example([{"role": "user", "content": "?"}], "2")])
    check_prompts(counts, config(), said.append)
    check_prompts(counts, config(chat_template="r1"), said.append)
    assert len(said) == 1
    assert said[0].startswith("task 'rows': 2 prompts are plain text, which no chat template concerns, r1 neither")


def test_characters_that_the_tokenizer_does_not_know_are_counted(tokenizer):
    said = []
    check_unknown(conversations(3, end=1) + conversations(4), word_tokenizer(), said.append)
    check_unknown(conversations(3, end=1), tokenizer, said.append)
    assert said == ["1 of 2 conversations hold characters that the tokenizer reads as '<unk>'"]


@pytest.mark.parametrize("name", ["eos_token", "pad_token"])
def test_a_tokenizer_without_end_or_padding_is_refused_by_name(name):
    tokens = {"eos_token": "<e>", "pad_token": "<p>"} | {name: None}
    with pytest.raises(InputError, match=f"policy 'base' has no {name}"):
        check_tokenizer(SimpleNamespace(**tokens), "base")


def test_a_conversation_whose_end_is_missing_or_masked_is_refused():
    masked = Conversation(torch.tensor([5, 0], dtype=torch.int32), 2)
    with pytest.raises(InputError, match="in 2 of 4 conversations the end of the sequence is missing or masked"):
        check_ends([*conversations(3, 4), *conversations(3, end=7), masked], 0, "rows")


def test_too_long_conversations_are_left_out_with_their_count():
    said = []
    kept = within_length(conversations(5, 9, 30), model(), config(max_length=9), said.append)
    assert [len(conversation) for conversation in kept] == [5, 9]
    assert said == ["1 of 3 conversations are longer than 9 tokens (the longest: 30) and left out"]


def test_the_policys_context_is_a_limit_of_its_own():
    assert len(within_length(conversations(5, 9), model(context=6), config(max_length=50), lambda _: None)) == 1
    assert len(within_length(conversations(5, 9), model(context=None), config(), lambda _: None)) == 2


@pytest.mark.parametrize(("limit", "what"), [(9, "refuse"), (3, "drop")])
def test_too_long_conversations_are_refused_if_so_wished_or_if_none_is_left(limit, what):
    with pytest.raises(InputError, match=f"of 2 conversations are longer than {limit} tokens.*raise max_length"):
        within_length(conversations(5, 30), model(), config(max_length=limit, too_long=what), print)


def test_a_chat_template_that_the_policy_does_not_offer_is_refused_with_those_that_it_does():
    with pytest.raises(InputError, match=r"policy 'base' has no chat template 'r2': it offers r1, r1_zero"):
        choose_chat_template(SimpleNamespace(chat_templates={"r1": "", "r1_zero": ""}), config(chat_template="r2"))
    with pytest.raises(InputError, match="it offers none by name; a template of your own goes into chat_template_file"):
        choose_chat_template(SimpleNamespace(), config(chat_template="r2"))


def test_a_template_that_fails_on_a_question_is_refused_before_training(tokenizer, tmp_path):
    path = tmp_path / "broken.jinja"
    path.write_text("\n{{ raise_exception('no system message') }}")
    with pytest.raises(InputError, match=r"broken.jinja, line 2: the template fails.*no system message"):
        choose_chat_template(SimpleNamespace(tokenizer=tokenizer), config(chat_template_file=path))


def test_a_file_that_is_no_jinja_is_refused_with_the_options(tmp_path):
    path = tmp_path / "broken.jinja"
    path.write_text("{% for message in messages %}")
    with pytest.raises(InputError, match=r"chat_template_file .*broken.jinja, line 1: this is not a Jinja template"):
        config(chat_template_file=path)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"min_learning_rate_ratio": 1.5}, "min_learning_rate_ratio"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"max_length": 0}, "max_length"),
        ({"chat_template": "r1", "chat_template_file": "x.jinja"}, "chat_template"),
    ],
)
def test_impossible_options_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        config(**options)


def test_the_plan_says_what_a_step_is():
    assert config().plan() == (
        "2 epochs in steps of 64 conversations; learning rate from 5e-06 along a cosine to 5e-07"
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{max_lenght: 3}", r"no such field"),
        ("{packing: true}", "set by the component itself"),
        ("{save_strategy: steps}", "set by the component itself"),
        ("{loss_type: mean}", r"trl.loss_type: expects nll \| dft \| chunked_nll, not 'mean'"),
        ("{neftune_noise_alpha: much}", r"trl.neftune_noise_alpha: expects float \| null, not 'much'"),
        ("{torch_compile_backend: odd}", "refuses its options"),
    ],
)
def test_options_that_trl_does_not_have_or_that_are_not_its_to_set_are_refused(run_sft, section, message):
    with pytest.raises(PonderError, match=message):
        run_sft(options=f", trl: {section}")


def test_rows_without_responses_stop_the_run_with_their_count(run_sft):
    with pytest.raises(InputError, match=r"task 'rows': 3 row\(s\) that cannot be learnt from\n  row 1: neither"):
        run_sft(rows=[{"prompt": "1+1?"}] * 3)


def _without_tags(tokenizer):
    pieces = Tokenizer(models.BPE({t: i for t, i in tokenizer.get_vocab().items() if "think" not in t}, []))
    pieces.pre_tokenizer = tokenizer.backend_tokenizer.pre_tokenizer
    pieces.decoder = tokenizer.backend_tokenizer.decoder
    return pieces
