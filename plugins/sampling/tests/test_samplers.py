"""The samplers `generate` and `fast`: what both promise, and what `fast` saves."""

from __future__ import annotations

import pytest
import torch

from ponder import Example
from ponder.components import Component
from ponder.errors import InputError, StageError
from ponder_sampling import FastConfig, GenerateConfig, ponder_samplers
from ponder_sampling.fast import FastSampler
from ponder_sampling.generate import GenerateSampler

EXAMPLES = [Example("What is 3 + 4?"), Example("Hi"), Example("1+1=2; 2+2="), Example("Hi")]
BOTH = pytest.mark.parametrize("make", ["fast", "generate"])


def build(name: str, rows: int = 512, **options):
    if name == "fast":
        return FastSampler(FastConfig(max_rows=rows, **options))
    return GenerateSampler(GenerateConfig(batch_size=rows, **options))


def _token_ids(groups):
    return [[completion.token_ids for completion in group] for group in groups]


def test_the_samplers_are_offered_by_name() -> None:
    offered = {component.name: component for component in ponder_samplers()}
    assert set(offered) == {"generate", "fast", "openai", "vllm"}
    assert all(isinstance(component, Component) for component in offered.values())
    assert offered["fast"].make(FastConfig(temperature=0.5)).temperature == 0.5


@BOTH
@pytest.mark.parametrize("architecture", ["deepseek_v3", "qwen2", "llama"])
def test_log_probabilities_equal_a_full_forward_at_the_temperature(make_policy, make: str, architecture: str) -> None:
    policy = make_policy(architecture)
    groups = build(make, temperature=0.7, top_p=0.9, max_new_tokens=12).sample(policy, EXAMPLES, 3, seed=1)
    policy.model.eval()
    for example, group in zip(EXAMPLES, groups, strict=True):
        prompt = policy.tokenizer(example.prompt, add_special_tokens=False)["input_ids"]
        for completion in group:
            whole = torch.tensor([[*prompt, *completion.token_ids]])
            with torch.no_grad():
                logits = policy.model(input_ids=whole).logits[0, len(prompt) - 1 : -1]
            expected = (logits / 0.7).log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
            assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-5)


@BOTH
@pytest.mark.parametrize("rows", [1, 5])
def test_the_same_seed_says_the_same_whatever_is_in_the_batch(make_policy, make: str, rows: int) -> None:
    policy = make_policy("deepseek_v3")
    whole = build(make, max_new_tokens=16).sample(policy, EXAMPLES, 3, seed=5)
    in_turns = build(make, rows, max_new_tokens=16).sample(policy, EXAMPLES, 3, seed=5)
    first_alone = build(make, max_new_tokens=16).sample(policy, EXAMPLES[:1], 2, seed=5)
    assert _token_ids(in_turns) == _token_ids(whole)
    assert _token_ids(first_alone) == [_token_ids(whole)[0][:2]]


@BOTH
def test_the_same_call_gives_the_same_bits(make_policy, make: str) -> None:
    policy, sampler = make_policy("deepseek_v3"), build(make, max_new_tokens=16)
    assert sampler.sample(policy, EXAMPLES, 4, seed=2) == sampler.sample(policy, EXAMPLES, 4, seed=2)


@BOTH
def test_another_seed_another_sample_and_an_equal_prompt_draw_anew(make_policy, make: str) -> None:
    policy, sampler = make_policy(), build(make, max_new_tokens=16)
    groups = sampler.sample(policy, EXAMPLES, 2, seed=2)
    texts = [completion.text for group in groups for completion in group]
    assert len(set(texts)) == len(texts)
    assert sampler.sample(policy, EXAMPLES, 2, seed=3)[0] != groups[0]


def test_a_longer_limit_only_adds_to_a_completion(make_policy) -> None:
    policy = make_policy()
    short = build("fast", max_new_tokens=5).sample(policy, EXAMPLES, 2, seed=2)
    long = build("fast", max_new_tokens=20).sample(policy, EXAMPLES, 2, seed=2)
    cut = [[completion.token_ids[:5] for completion in group] for group in long]
    assert _token_ids(short) == cut


@pytest.mark.parametrize("architecture", ["deepseek_v3", "qwen2", "llama"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_generate_and_fast_say_the_same(make_policy, architecture: str, temperature: float) -> None:
    policy, options = make_policy(architecture), {"temperature": temperature, "max_new_tokens": 16}
    fast = build("fast", **options).sample(policy, EXAMPLES, 2, seed=4)
    generate = build("generate", **options).sample(policy, EXAMPLES, 2, seed=4)
    assert _token_ids(fast) == _token_ids(generate)
    assert [c.text for group in fast for c in group] == [c.text for group in generate for c in group]


def test_greedy_takes_the_likeliest_token_each_time(make_policy) -> None:
    policy = make_policy("qwen2")
    [[completion]] = build("fast", temperature=0.0, max_new_tokens=8).sample(policy, EXAMPLES[:1], 1, seed=0)
    token_ids = policy.tokenizer(EXAMPLES[0].prompt)["input_ids"]
    for token in completion.token_ids:
        with torch.no_grad():
            assert policy.model(input_ids=torch.tensor([token_ids])).logits[0, -1].argmax() == token
        token_ids = [*token_ids, token]


@BOTH
def test_training_mode_and_configs_are_as_before(make_policy, make: str) -> None:
    policy = make_policy()
    policy.model.train()
    policy.model.model.layers[0].eval()
    policy.model.config.use_cache = False
    policy.model.generation_config.repetition_penalty = 1.5
    before = policy.model.generation_config
    modes = [module.training for module in policy.model.modules()]
    build(make, max_new_tokens=4).sample(policy, EXAMPLES, 1, seed=0)
    assert [module.training for module in policy.model.modules()] == modes
    assert policy.model.config.use_cache is False
    assert policy.model.generation_config is before
    assert before.repetition_penalty == 1.5


def test_a_repetition_penalty_of_the_generation_config_does_not_bend_the_distribution(make_policy) -> None:
    policy, sampler = make_policy(), build("generate", max_new_tokens=16)
    plain = sampler.sample(policy, EXAMPLES, 2, seed=0)
    policy.model.generation_config.repetition_penalty = 1.5
    assert sampler.sample(policy, EXAMPLES, 2, seed=0) == plain


@BOTH
def test_every_completion_carries_the_policy_version(make_policy, make: str) -> None:
    policy = make_policy()
    policy.version = 17
    [[completion]] = build(make, max_new_tokens=2).sample(policy, EXAMPLES[:1], 1, seed=0)
    assert completion.policy_version == 17


def test_a_prompt_is_prefilled_once_for_all_its_completions(make_scripted) -> None:
    policy = make_scripted({"a": list("one"), "b": list("two")})
    build("fast").sample(policy, [Example("a"), Example("b"), Example("a")], 4, seed=0)
    assert policy.script.prefilled == [2]


def test_max_rows_bounds_how_many_are_decoded_at_once(make_scripted) -> None:
    policy = make_scripted({"a": list("one"), "b": list("two")})
    groups = build("fast", 3).sample(policy, [Example("a"), Example("b")], 4, seed=0)
    assert max(policy.script.stepped) == 3
    assert [[c.text for c in group] for group in groups] == [["one"] * 4, ["two"] * 4]


def test_finished_rows_leave_the_batch(make_scripted) -> None:
    policy = make_scripted({"a": ["1"], "b": list("123"), "c": list("12345")})
    groups = build("fast").sample(policy, [Example("a"), Example("b"), Example("c")], 2, seed=0)
    assert policy.script.stepped == [6, 4, 4, 2, 2]
    assert [group[1].text for group in groups] == ["1", "123", "12345"]


def test_a_few_finished_rows_wait_for_others(make_scripted) -> None:
    policy = make_scripted({"a": ["1"], "b": list("123")})
    build("fast").sample(policy, [Example("a")] + [Example("b")] * 8, 1, seed=0)
    assert policy.script.stepped == [9, 9, 9]


def test_an_empty_completion_is_one_token_and_no_text(make_scripted) -> None:
    policy = make_scripted({"a": []})
    [[completion]] = build("fast").sample(policy, [Example("a")], 1, seed=0)
    assert (completion.text, completion.token_ids, completion.finish_reason) == ("", (1,), "stop")
    assert len(completion.logprobs) == 1


def test_a_completion_that_was_cut_says_so(make_scripted) -> None:
    policy = make_scripted({"a": list("12345")})
    [[completion]] = build("fast", max_new_tokens=3).sample(policy, [Example("a")], 1, seed=0)
    assert (completion.text, completion.finish_reason) == ("123", "length")


@pytest.mark.parametrize("special", [False, True])
def test_text_keeps_the_tags_and_drops_the_control_tokens(make_scripted, make_tokenizer, special: bool) -> None:
    policy = make_scripted({"a": ["<think>", "1", "</think>", "<pad>", "<answer>", "2", "</answer>", "<bos>"]})
    policy.tokenizer = make_tokenizer(tags_are_special=special)
    [[completion]] = build("fast").sample(policy, [Example("a")], 1, seed=0)
    assert completion.text == "<think>1</think><answer>2</answer>"
    assert len(completion.token_ids) == 9


@BOTH
def test_what_the_template_prefills_belongs_to_the_text_alone(make_policy, make: str) -> None:
    policy = make_policy()
    policy.tokenizer.chat_template = "{{ messages[0]['content'] }}{% if add_generation_prompt %}<think>\n{% endif %}"
    [[completion]] = build(make, max_new_tokens=3).sample(policy, [Example([{"role": "user", "content": "Hi"}])], 1, 0)
    assert completion.text.startswith("<think>\n")
    assert len(completion.token_ids) == 3


@BOTH
def test_a_completion_ends_where_the_context_ends(make_policy, make: str) -> None:
    policy = make_policy()
    policy.tokenizer.add_special_tokens({"eos_token": "<answer>"})
    groups = build(make, max_new_tokens=30).sample(policy, [Example("x" * 60), Example("y" * 50)], 4, seed=0)
    for room, group in zip([4, 14], groups, strict=True):
        assert max(len(completion.token_ids) for completion in group) <= room
        assert all(c.finish_reason == "length" for c in group if len(c.token_ids) == room and c.token_ids[-1] != 5)


def test_rows_leave_when_their_context_ends_so_that_none_is_decoded_beyond_it(make_scripted) -> None:
    policy = make_scripted({"a": list("1" * 40), "b": list("2" * 40)})
    examples = [Example("a" + "x" * 60)] + [Example("b")] * 20
    build("fast", max_new_tokens=10).sample(policy, examples, 1, seed=0)
    assert policy.script.stepped == [21] * 2 + [20] * 7
    assert policy.script.capacity == 10


@BOTH
@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt 1 of the batch .* has no tokens.*leave it out"),
        ("x" * 64, "has 64 tokens and the model's context holds 64.*shorten"),
    ],
)
def test_a_prompt_without_tokens_or_room_is_refused(make_policy, make: str, prompt: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(make).sample(make_policy(), [Example("Hi"), Example(prompt)], 2, seed=0)


def test_a_prompt_with_a_token_that_the_model_does_not_know_is_refused(make_policy) -> None:
    policy = make_policy()
    policy.tokenizer.add_tokens(["<new>"])
    with pytest.raises(InputError, match=r"prompt 0 .*'Hi <new>'.* token id 263, but the model knows 263.*resize"):
        build("fast").sample(policy, [Example("Hi <new>")], 1, seed=0)


def test_a_vocabulary_narrower_than_the_embeddings_is_fine(make_policy) -> None:
    policy = make_policy()
    policy.model.resize_token_embeddings(300)
    groups = build("fast", max_new_tokens=20).sample(policy, EXAMPLES, 4, seed=0)
    assert max(max(c.token_ids) for group in groups for c in group) >= len(policy.tokenizer)


@BOTH
@pytest.mark.parametrize("name", ["eos", "pad"])
def test_a_tokenizer_without_eos_or_pad_is_refused(make_policy, make: str, name: str) -> None:
    policy = make_policy()
    setattr(policy.tokenizer, f"{name}_token", None)
    with pytest.raises(InputError, match=f"no {name} token.*tokenizer_config.json"):
        build(make).sample(policy, EXAMPLES, 1, seed=0)


@BOTH
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_end_the_stage(make_policy, make: str, value: float) -> None:
    policy = make_policy()
    with torch.no_grad():
        policy.model.lm_head.weight[3, 3] = value
    with pytest.raises(StageError, match="weights or logits are not finite"):
        build(make, max_new_tokens=4).sample(policy, EXAMPLES, 2, seed=0)


@BOTH
def test_no_examples_and_no_samples_are_no_completions(make_policy, make: str) -> None:
    policy = make_policy()
    assert build(make).sample(policy, [], 4, seed=0) == []
    assert build(make).sample(policy, EXAMPLES, 0, seed=0) == [[], [], [], []]


@pytest.mark.parametrize(("config", "option"), [(FastConfig, "max_rows"), (GenerateConfig, "batch_size")])
def test_a_batch_of_no_rows_is_refused(config: type, option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be at least 1"):
        config(**{option: 0})
