"""What the sampler `fast` records of a DeepSeek-V3, replayed by `grpo`: over three distributions, in a real run."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from ponder import Example
from ponder.errors import InputError
from ponder.hf_routing import unpack_routing
from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.rubric import Score
from ponder.run import run_recipe
from ponder.types import Rollout
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.policy import DeepseekPolicy
from ponder_grpo import GrpoConfig, GrpoLossConfig
from ponder_grpo import engine as engine_module
from ponder_grpo.batch import make_batch
from ponder_grpo.experts import Experts
from ponder_grpo.forward import PlainPrompts, reader_of
from ponder_grpo.losses import GrpoLoss
from ponder_grpo.update import PassOptions, accumulate_gradients, completion_logprobs
from ponder_sampling import FastConfig
from ponder_sampling.fast import FastSampler

EXAMPLES = [Example("What is 4 + 5?"), Example("Tell me.")]
OPTIONS = PassOptions(0.8, 4096)


def options(**changes):
    return GrpoConfig(policy="base", task="sums", rewards=["any"], group_size=4, prompts_per_step=2, **changes)


def drawn_rows(policy, config, **sampling):
    """Rows of completions drawn with everything recorded."""
    sampler = FastSampler(
        FastConfig(temperature=0.8, max_new_tokens=6, record_routing=True, record_mask=True, **sampling)
    )
    answers = sampler.sample(policy, EXAMPLES, 4, seed=3)
    rollouts = [Rollout(EXAMPLES[group], said, group) for group, of in enumerate(answers) for said in of]
    scores = [Score(float(place % 2), {}, {}) for place in range(len(rollouts))]
    return make_batch(rollouts, scores, policy.tokenizer, config).rows


def disturb(policy):
    for name, buffer in policy.model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer += torch.linspace(2, -2, len(buffer))


@pytest.fixture
def policy():
    return DeepseekPolicy(DeepseekConfig(preset="tiny", init_std=0.3), seed=5)


def distance(rows, scored):
    return max(
        (scored[row.index] - torch.tensor(row.sampled_logprobs, dtype=torch.float32)).abs().max().item() for row in rows
    )


@pytest.mark.parametrize("plain", [False, True], ids=["shared prompts", "whole sequences"])
def test_replayed_log_probabilities_are_the_samplers_although_the_bias_has_changed(policy, plain, monkeypatch):
    rows = drawn_rows(policy, options(router_replay=True))
    disturb(policy)
    if plain:
        monkeypatch.setattr("ponder_grpo.forward.can_share_prompts", lambda model: False)
    replaying = reader_of(policy, Experts(policy.routers(), replays=True))
    own = reader_of(policy, Experts(policy.routers(), replays=False))
    assert distance(rows, completion_logprobs(replaying, rows, OPTIONS)) < 1e-5
    assert distance(rows, completion_logprobs(own, rows, OPTIONS)) > 1e-2


@pytest.mark.parametrize("budget", [16, 4096])
def test_agreement_is_whole_with_the_samplers_weights_and_less_after_a_change(policy, budget):
    rows = drawn_rows(policy, options())
    experts = Experts(policy.routers(), replays=False)
    completion_logprobs(reader_of(policy, experts), rows, PassOptions(0.8, budget))
    assert experts.take_agreement() == {"routing_agreement": 1.0}
    assert experts.take_agreement() == {}
    disturb(policy)
    completion_logprobs(reader_of(policy, experts), rows, PassOptions(0.8, budget))
    assert experts.take_agreement()["routing_agreement"] < 0.9


def test_the_gradient_reaches_the_routers_under_replay(policy):
    rows = drawn_rows(policy, options(router_replay=True))
    disturb(policy)
    reader = reader_of(policy, Experts(policy.routers(), replays=True))
    accumulate_gradients(reader, rows, GrpoLoss(GrpoLossConfig(kl_coef=0)), 6, OPTIONS)
    assert policy.model.model.layers[1].mlp.gate.weight.grad.any()


def test_under_a_kept_mask_probabilities_are_among_what_the_sampler_left(policy):
    rows = drawn_rows(policy, options(keep_sampling_mask=True), top_k=5)
    assert {count for row in rows for count in row.kept.counts} == {5}
    scored = completion_logprobs(reader_of(policy), rows, OPTIONS)
    assert distance(rows, scored) < 1e-5
    whole = completion_logprobs(reader_of(policy), [replace(row, kept=None) for row in rows], OPTIONS)
    assert all((scored[row.index] > whole[row.index]).all() for row in rows)


@pytest.mark.parametrize("plain", [False, True], ids=["shared prompts", "whole sequences"])
def test_nuclei_of_unequal_size_are_kept_exactly(policy, plain, monkeypatch):
    if plain:
        monkeypatch.setattr("ponder_grpo.forward.can_share_prompts", lambda model: False)
    rows = drawn_rows(policy, options(keep_sampling_mask=True), top_p=0.6)
    assert len({count for row in rows for count in row.kept.counts}) > 1
    assert isinstance(reader_of(policy)([[5]], 1.0), PlainPrompts) == plain
    assert distance(rows, completion_logprobs(reader_of(policy), rows, OPTIONS)) < 1e-5


def test_a_sampler_that_leaves_nothing_out_records_no_mask(policy):
    assert all(row.kept is None for row in drawn_rows(policy, options(keep_sampling_mask=True)))


def test_the_record_does_not_depend_on_the_rows_drawn_at_once(policy):
    config = options(router_replay=True)
    together, apart = drawn_rows(policy, config), drawn_rows(policy, config, max_rows=3)
    for one, other in zip(together, apart, strict=True):
        assert list(one.completion) == list(other.completion)
        assert torch.equal(unpack_routing(one.routing).sort(-1)[0], unpack_routing(other.routing).sort(-1)[0])


RECIPE = """
policies:
  base: {type: deepseek, preset: tiny, init_std: 0.3}
tasks:
  sums: {type: reasoning_gym, dataset: chain_sum, size: 16}
rewards:
  any: {type: language_consistency, language: en}
  format: {type: format}
samplers:
  fast: {type: fast, top_p: 0.9, max_new_tokens: 8}
stages:
  reason:
    {type: grpo, policy: base, task: sums, rewards: [any, format], sampler: fast, group_size: 4, prompts_per_step: 4, steps: 4,
     learning_rate: 0.01, probes: 0, checkpoint_every: 2, minibatches: 2, router_replay: true, keep_sampling_mask: true, balance: 0.01}
"""


class Told(Display):
    def __init__(self):
        super().__init__()
        self.said = []

    def say(self, message):
        self.said.append(message)


def run(folder, name="runs", *overrides):
    path = folder / "replay.yaml"
    path.write_text(RECIPE)
    registry, display = load_registry(), Told()
    outcome = run_recipe(load_recipe(path, overrides, registry), registry, folder / name, display)
    return outcome.stages[0].directory, display.said


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_killed_run_with_replay_mask_and_balance_ends_with_the_same_bits(tmp_path, monkeypatch):
    straight, said = run(tmp_path, "straight")
    assert any("biases move by 0.01 after each update (balance), and the experts" in line for line in said)
    rows = lines(straight)
    assert all(row["routing_agreement"] > 0.99 for row in rows)
    assert all(row["sampler_gap"] < 1e-5 for row in rows if "sampler_gap" in row)
    assert rows[0]["load_violation_max"] > 0
    real, calls = engine_module.clip_gradients, []

    def dies_in_step_3(*arguments):
        calls.append(None)
        if len(calls) == 6:
            raise RuntimeError("power cut")
        return real(*arguments)

    monkeypatch.setattr(engine_module, "clip_gradients", dies_in_step_3)
    with pytest.raises(Exception, match="power cut"):
        run(tmp_path, "broken")
    monkeypatch.setattr(engine_module, "clip_gradients", real)
    resumed, _ = run(tmp_path, "broken")
    for name in ("metrics.jsonl", "expert_loads.jsonl"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes()
    weights, expected = (load_file(folder / "policy" / "model.safetensors") for folder in (resumed, straight))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert weights["model.layers.1.mlp.gate.e_score_correction_bias"].any()


def test_by_default_the_biases_stay_and_a_line_says_so(tmp_path):
    off = ("router_replay=false", "keep_sampling_mask=false", "balance=0", "steps=1")
    directory, said = run(tmp_path, "runs", *(f"stages.reason.{option}" for option in off))
    assert any("its balancing is off, the routers' biases stay as they are (balance: 0)" in line for line in said)
    weights = load_file(directory / "policy" / "model.safetensors")
    assert not weights["model.layers.1.mlp.gate.e_score_correction_bias"].any()
    assert "routing_agreement" not in lines(directory)[0]


def test_agreement_is_measured_without_replay_where_the_recipe_has_it_recorded(tmp_path):
    off = ("router_replay=false", "keep_sampling_mask=false", "balance=0", "steps=1")
    recorded = "samplers.fast.record_routing=true"
    directory, _ = run(tmp_path, "runs", *(f"stages.reason.{option}" for option in off), recorded)
    assert lines(directory)[0]["routing_agreement"] == 1.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["policies.base={type: causal_lm, preset: qwen2_mini}", "stages.reason.router_replay=false"],
            "balance is for mixtures of experts",
        ),
        (
            ["policies.base={type: causal_lm, preset: qwen2_mini}", "stages.reason.balance=0"],
            "router_replay is for mixtures of experts",
        ),
        (["samplers.fast={type: generate}"], "router_replay needs a sampler that records, such as `fast`"),
        (
            ["samplers.fast={type: generate}", "stages.reason.router_replay=false"],
            "keep_sampling_mask needs a sampler that records, such as `fast`",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, "runs", *overrides)
