"""Sampling with a server that is there already: what is asked, what is handed over, and what happens when it fails."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, LoraModel

from ponder import Example
from ponder.errors import InputError, StageError
from ponder.randomness import derive_seed
from ponder_sampling import VllmConfig
from ponder_sampling.vllm import VllmSampler

EXAMPLES = [Example("What is 3 + 4?"), Example("Hi"), Example("1+1=2; 2+2=")]
UNIFORM = -math.log(263)


@pytest.fixture
def make_sampler(stub, tmp_path):
    made = []

    def make(**options) -> VllmSampler:
        defaults = {
            "url": stub.url,
            "max_new_tokens": 12,
            "exchange": str(tmp_path / "exchange"),
            "patience_seconds": 3.0,
        }
        made.append(VllmSampler(VllmConfig(**{**defaults, **options})))
        return made[-1]

    yield make
    for sampler in made:
        sampler.close()


def bodies(stub, path: str = "/v1/completions") -> list:
    return [body for asked, body in stub.asked if asked == path]


def drawn(stub, seed: int, count: int, n: int) -> list:
    """The requests for completions, without those that serve to compare log-probabilities."""
    seeds = {derive_seed(seed, example, sample) for example in range(count) for sample in range(n)}
    return [body for body in bodies(stub) if body["seed"] in seeds]


def with_adapters(policy, **options):
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **options)
    LoraModel(policy.model, {"default": config}, "default")
    return policy


def test_completions_are_the_servers_tokens_and_log_probabilities_in_order(stub, make_sampler, make_uniform) -> None:
    policy = make_uniform()
    groups = make_sampler().sample(policy, EXAMPLES, 3, seed=5)
    assert [len(group) for group in groups] == [3, 3, 3]
    for completion in (one for group in groups for one in group):
        assert completion.logprobs == pytest.approx([UNIFORM] * len(completion.token_ids))
        assert completion.finish_reason == ("stop" if completion.token_ids[-1] == 1 else "length")
        assert completion.policy_version == policy.version
    assert len({one.token_ids for group in groups for one in group}) == 9
    assert groups == make_sampler(concurrency=1).sample(policy, EXAMPLES, 3, seed=5)


def test_prompts_go_as_token_ids_and_each_completion_has_a_seed_of_its_own(stub, make_sampler, make_uniform) -> None:
    policy = make_uniform()
    make_sampler(temperature=0.7, top_p=0.9, top_k=5).sample(policy, EXAMPLES, 2, seed=5)
    asked = drawn(stub, 5, 3, 2)
    assert len({body["seed"] for body in asked}) == len(asked) == 6
    [first] = [body for body in asked if body["seed"] == derive_seed(5, 0, 0)]
    assert first["prompt"] == policy.tokenizer(EXAMPLES[0].prompt)["input_ids"]
    assert (first["temperature"], first["top_p"], first["top_k"], first["stop_token_ids"]) == (0.7, 0.9, 5, [1])


def test_no_log_probabilities_are_better_than_those_of_a_truncated_distribution(make_sampler, make_uniform) -> None:
    for options, known in (
        ({"temperature": 0.7, "top_p": 0.9}, False),
        ({"top_p": 0.9}, True),
        ({"temperature": 0.7}, True),
    ):
        [[completion]] = make_sampler(**options).sample(make_uniform(), EXAMPLES[:1], 1, seed=0)
        assert bool(completion.logprobs) is known


def test_weights_are_handed_over_when_the_version_changes_and_only_then(stub, make_sampler, make_uniform) -> None:
    policy, sampler = make_uniform(), make_sampler()
    for version in (1, 1, 2):
        if version > policy.version - 3:
            policy.version = version + 3
        with torch.no_grad():
            policy.model.model.norm.weight.fill_(version)
        sampler.sample(policy, EXAMPLES, 1, seed=0)
    assert len(stub.loaded) == len(set(stub.loaded)) == 2
    assert [path for path, _ in stub.asked].count("/reset_prefix_cache") == 2
    assert sampler.statistics()["hand_overs"] == 2
    assert sampler.statistics() == {}


def test_a_server_that_remembers_earlier_weights_is_handed_the_weights_again(stub, make_sampler, make_uniform) -> None:
    sampler, stub.resets = make_sampler(), [False]
    sampler.sample(make_uniform(), EXAMPLES, 1, seed=0)
    assert len(stub.loaded) == 2
    assert sampler.statistics()["server_failures"] == 1


def test_buffers_such_as_the_routing_bias_are_handed_over(
    stub, make_sampler, make_uniform, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("ponder_sampling.vllm.check_servable", lambda policy: None)
    policy, sampler = make_uniform("deepseek_v3"), make_sampler()
    sampler.sample(policy, EXAMPLES, 1, seed=0)
    policy.version += 1
    policy.model.model.layers[1].mlp.gate.e_score_correction_bias += 0.5
    sampler.sample(policy, EXAMPLES, 1, seed=0)
    policy.save(tmp_path / "expected")
    expected = hashlib.sha256((tmp_path / "expected/model.safetensors").read_bytes()).hexdigest()
    assert stub.loaded[-1] == expected != stub.loaded[0]


def test_adapters_go_alone_under_new_names_and_the_old_ones_leave(stub, make_sampler, make_uniform) -> None:
    policy, sampler = with_adapters(make_uniform()), make_sampler(push="adapter")
    sampler.sample(policy, EXAMPLES, 1, seed=0)
    [first] = stub.adapters
    policy.version += 1
    sampler.sample(policy, EXAMPLES, 1, seed=0)
    [second] = stub.adapters
    assert first != second == bodies(stub)[-1]["model"]
    assert stub.loaded == []
    written = Path(bodies(stub, "/v1/load_lora_adapter")[-1]["lora_path"])
    assert {path.name for path in written.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


def test_adapters_alone_need_adapters_that_vllm_knows(make_sampler, make_uniform) -> None:
    with pytest.raises(InputError, match="has no LoRA adapters"):
        make_sampler(push="adapter").sample(make_uniform(), EXAMPLES, 1, seed=0)
    with pytest.raises(InputError, match="DoRA"):
        make_sampler(push="adapter").sample(with_adapters(make_uniform(), use_dora=True), EXAMPLES, 1, seed=0)


def test_nothing_is_handed_over_when_nothing_is_to_be(stub, make_sampler, make_uniform) -> None:
    make_sampler(push="never").sample(make_uniform(), EXAMPLES, 1, seed=0)
    assert stub.loaded == stub.adapters == []
    assert len(bodies(stub)) == 6


def test_log_probabilities_that_are_not_the_trainers_end_the_stage(stub, make_sampler, make_uniform) -> None:
    sampler, stub.offset = make_sampler(max_gap=0.2), -0.1
    sampler.sample(make_uniform(), EXAMPLES, 1, seed=0)
    assert sampler.statistics()["vllm_gap"] == pytest.approx(0.1, abs=1e-3)
    stub.offset = -0.3
    with pytest.raises(StageError, match=r"is -5\.872 and the trainer's -5\.572, 0\.3 nats apart \(max_gap is 0\.2\)"):
        make_sampler(max_gap=0.2).sample(make_uniform(), EXAMPLES, 1, seed=0)


@pytest.mark.parametrize("fault", [503, 500, 429, "<html>", '{"choices": []}'])
def test_an_answer_that_fails_is_asked_for_again_and_nothing_else_is(stub, make_sampler, make_uniform, fault) -> None:
    policy, sampler = make_uniform(), make_sampler(concurrency=1)
    expected = sampler.sample(policy, EXAMPLES, 2, seed=1)
    stub.asked.clear()
    # The first four are answered: the fault is met in the midst of a rollout.
    complete, count = stub._complete, iter(range(100))
    stub._complete = lambda body: stub.faults.append(fault) or complete(body) if next(count) == 3 else complete(body)
    assert sampler.sample(policy, EXAMPLES, 2, seed=1) == expected
    assert len(drawn(stub, 1, 3, 2)) == 7
    assert sampler.statistics()["server_failures"] == 1


def test_a_server_that_stays_away_ends_the_stage_with_what_it_said(stub, make_sampler, make_uniform) -> None:
    stub.faults = [503] * 1000
    with pytest.raises(
        StageError, match=r"no answer for 0\.3 s \(patience_seconds\): status 503: overloaded; start it again"
    ):
        make_sampler(patience_seconds=0.3).sample(make_uniform(), EXAMPLES, 2, seed=1)
    with pytest.raises(StageError, match="does not answer /health"):
        make_sampler(url="http://127.0.0.1:9", patience_seconds=0.1).sample(make_uniform(), EXAMPLES, 1, seed=1)


def test_what_a_server_refuses_ends_the_stage_with_its_words(stub, make_sampler, make_uniform) -> None:
    stub.faults = [400]
    with pytest.raises(StageError, match="/v1/completions answers 400: overloaded"):
        make_sampler().sample(make_uniform(), EXAMPLES, 1, seed=1)
    stub.answer, answer = (lambda path, body: (404, {}) if "rpc" in path else answer(path, body)), stub.answer
    with pytest.raises(StageError, match=r"collective_rpc answers 404.*VLLM_SERVER_DEV_MODE=1"):
        make_sampler().sample(make_uniform(), EXAMPLES, 1, seed=1)


def test_a_prompt_longer_than_the_servers_context_is_refused_as_one_longer_than_the_models(
    stub, make_sampler, make_uniform
) -> None:
    stub.context = 20
    sampler = make_sampler()
    [[completion]] = sampler.sample(make_uniform(), [Example("x" * 15)], 1, seed=0)
    assert len(completion.token_ids) <= 5
    with pytest.raises(InputError, match=r"prompt 1 .* has 20 tokens and the model's context holds 20.*shorten"):
        sampler.sample(make_uniform(), [Example("x"), Example("x" * 20)], 1, seed=0)
    with pytest.raises(InputError, match="context holds 64"):
        make_sampler().sample(make_uniform(), [Example("x" * 64)], 1, seed=0)


def test_a_deepseek_that_would_end_the_engine_is_refused_before_the_server_is_asked(
    stub, make_sampler, make_policy
) -> None:
    policy = make_policy("deepseek_v3")
    with pytest.raises(InputError, match=r"kv_lora_rank 512 and qk_rope_head_dim 64 alone, .* 16 and 8: .*type: fast"):
        make_sampler().sample(policy, EXAMPLES, 1, seed=0)
    policy.model.config.kv_lora_rank, policy.model.config.qk_rope_head_dim = 512, 64
    policy.model.config.topk_method = "greedy"
    with pytest.raises(InputError, match=r"noaux_tc alone, .*'greedy'.*type: fast"):
        make_sampler().sample(policy, EXAMPLES, 1, seed=0)
    assert stub.asked == []


def test_no_examples_ask_nothing(stub, make_sampler, make_uniform) -> None:
    assert make_sampler().sample(make_uniform(), [], 4, seed=0) == []
    assert make_sampler().sample(make_uniform(), EXAMPLES, 0, seed=0) == [[], [], []]
    assert stub.asked == []


def test_the_files_of_an_exchange_leave_with_the_sampler(make_sampler, make_uniform, tmp_path) -> None:
    sampler = make_sampler()
    sampler.sample(make_uniform(), EXAMPLES, 1, seed=0)
    assert list((tmp_path / "exchange").iterdir())
    sampler.close()
    assert not list((tmp_path / "exchange").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8000"}, "url must be like"),
        ({"url": "http://name:word@host"}, "without a user name"),
        ({"url": "http://host", "engine": {"dtype": "float32"}}, "engine is for a server that the run starts"),
        ({"temperature": 0.001}, "at least 0.01"),
        ({"max_gap": 0.0}, "max_gap must be above 0"),
        ({"restarts": -1}, "restarts must be 0 or more"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VllmConfig(**options)
