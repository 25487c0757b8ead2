"""The stage in real runs: it learns, its losses are TRL's, and what interrupts it changes nothing."""

import json
import math
import re
import typing
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from trl import GRPOConfig

from ponder import Completion, Example
from ponder.errors import InputError, StageError
from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder_trl import drawing
from ponder_trl.drawing import Drawer, Draws, Problems
from ponder_trl.grpo_config import WORDS, TrlGrpoConfig

PLUGIN = """
from ponder import Component, RewardConfig, hookimpl


def early(example, completion):
    letters = completion.token_ids
    return sum(token % 4 == 0 for token in letters) / max(1, len(letters))


@hookimpl
def ponder_rewards():
    yield Component("early", RewardConfig, lambda config: early)
"""

RECIPE = """
policies:
  base: {{type: deepseek, preset: tiny}}
tasks:
  sums: {{type: jsonl, path: rows.jsonl}}
samplers:
  short: {{type: fast, temperature: {temperature}, max_new_tokens: 6}}
rewards:
  early: {{type: early}}
stages:
  zero: {{type: trl_grpo, policy: base, task: sums, rewards: [early], sampler: short, {sizes}, learning_rate: 1.0e-2{options}}}
"""

SIZES = "steps: 3, prompts_per_step: 2, group_size: 4"
TWO_BY_TWO = ", minibatches: 2, epochs: 2, micro_batch_size: 2, beta: 0.05, warmup_steps: 2"
"""Four updates a step, in passes of two completions, with a reference policy."""


@pytest.fixture
def run(tmp_path, write_rows):
    def run(runs="runs", *, options="", sizes=SIZES, rows=8, temperature=1.0):
        write_rows([{"prompt": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(rows)])
        (tmp_path / "plugin.py").write_text(PLUGIN)
        (tmp_path / "small.yaml").write_text(RECIPE.format(options=options, sizes=sizes, temperature=temperature))
        registry = load_registry([tmp_path / "plugin.py"])
        with torch.random.fork_rng():
            recipe = load_recipe(tmp_path / "small.yaml", [], registry)
            outcome = run_recipe(recipe, registry, tmp_path / runs, Display())
        return outcome.stages[-1].directory

    return run


def result(directory):
    return json.loads((directory / "result.json").read_text())["metrics"]


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def same_weights(first, second):
    weights, expected = (load_file(each / "policy" / "model.safetensors") for each in (first, second))
    return all(torch.equal(weights[name], expected[name]) for name in expected)


def test_the_reward_rises(run):
    rewards = [
        line["reward"]
        for line in lines(run(sizes="steps: 14, prompts_per_step: 2, group_size: 16", options=", beta: 0.0"))
    ]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.15


def test_metrics_are_named_as_those_of_grpo(run):
    directory = run(options=TWO_BY_TWO)
    curve = lines(directory)
    assert [line["step"] for line in curve] == list(range(12))
    drawn = {"reward", "rewards/early", "response_length", "truncated", "groups_without_signal"}
    assert [drawn <= line.keys() for line in curve] == [True, False, False, False] * 3
    assert all(
        {"loss", "grad_norm", "learning_rate", "entropy", "kl", "clip_fraction"} <= line.keys() for line in curve
    )
    assert curve[0]["kl"] == 0.0 < curve[-1]["kl"]
    assert [line["learning_rate"] for line in curve[:3]] == [5e-3, 1e-2, 1e-2]
    assert 0 <= result(directory)["reward"] <= 1
    assert not (directory / "reference").exists()


@pytest.mark.parametrize("stop_at", [2, 3, 4])
def test_an_interrupted_stage_goes_on_to_the_same_weights_and_metrics(run, monkeypatch, stop_at):
    options = TWO_BY_TWO + ", checkpoint_every: 1"
    straight = run("straight", options=options)
    real = drawing.measures_of
    calls = []

    def dies(logs):
        calls.append(None)
        if len(calls) == stop_at + 1:
            raise RuntimeError("power cut")
        return real(logs)

    monkeypatch.setattr("ponder_trl.trl_grpo.measures_of", dies)
    with pytest.raises(Exception, match="power cut"):
        run("broken", options=options)
    monkeypatch.setattr("ponder_trl.trl_grpo.measures_of", real)
    drawn = []
    sample = Drawer._sample
    monkeypatch.setattr(Drawer, "_sample", lambda self, step: drawn.append(step) or sample(self, step))
    resumed = run("broken", options=options)
    assert drawn == ([1, 2] if stop_at < 4 else [2])  # what had been drawn is in the journal
    assert (resumed / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    assert result(resumed) == result(straight)
    assert same_weights(resumed, straight)


def test_the_loss_does_not_depend_on_the_size_of_a_pass(run):
    whole, cut = (lines(run(name, options=f", micro_batch_size: {size}"))[0] for name, size in (("a", 8), ("b", 2)))
    assert cut["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    assert cut["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-3)


def test_trls_variants_change_the_loss(run):
    losses = {
        variant: lines(run(variant, options=f", minibatches: 2, trl: {{loss_type: {variant}}}"))[1]["loss"]
        for variant in ("grpo", "cispo")
    }
    assert losses["grpo"] != losses["cispo"]


DOCUMENTED = re.search(r" loss_type \(`str`.*?(?=\n {8}\w+ \()", GRPOConfig.__doc__, re.DOTALL)[0]
LOSSES = re.findall(r'- `"(\w+)"`', DOCUMENTED)
"""What TRL's own documentation names."""


@pytest.mark.parametrize(
    "loss", [pytest.param(loss, marks=() if loss == "vespo" else pytest.mark.slow) for loss in LOSSES]
)
def test_every_loss_that_trl_documents_takes_its_steps(run, loss):
    level = ", importance_sampling_level: sequence" if loss == "luspo" else ""
    curve = lines(
        run(
            sizes="steps: 1, prompts_per_step: 2, group_size: 4",
            options=f", minibatches: 2, trl: {{loss_type: {loss}{level}}}",
        )
    )
    assert len(curve) == 2
    assert all(math.isfinite(line["loss"]) and line["grad_norm"] > 0 and not line["skipped"] for line in curve)


def test_the_losses_that_recipes_may_name_are_those_that_trl_documents():
    assert set(typing.get_args(WORDS["loss_type"])) == set(LOSSES)


def test_trl_is_told_the_samplers_length_limit(run, monkeypatch):
    told = []
    monkeypatch.setattr("ponder_trl.trl_grpo.GRPOConfig", lambda **given: told.append(given) or GRPOConfig(**given))
    run()
    assert [given["max_completion_length"] for given in told] == [6]


@pytest.mark.parametrize(
    ("section", "match"),
    [
        ("loss_type: nonsense", r"stages.zero.trl.loss_type: expects grpo \| .* \| vespo, not 'nonsense'"),
        ("importance_sampling_level: word", r"trl.importance_sampling_level: expects token \| sequence, not 'word'"),
        ("epsilon_high: abc, delta: 3.0", r"trl.epsilon_high: expects float \| null, not 'abc'$"),
    ],
)
def test_a_value_that_trl_does_not_take_is_refused_with_what_it_takes(run, section, match):
    with pytest.raises(InputError, match=match):
        run(options=f", trl: {{{section}}}")


def test_what_ponder_does_itself_is_refused(run):
    with pytest.raises(InputError, match=r"trl.use_vllm: is set by the component itself"):
        run(options=", trl: {use_vllm: true}")


def test_a_greedy_sampler_is_refused(run):
    with pytest.raises(InputError, match="must be above 0"):
        run(temperature=0.0)


def test_a_task_that_cannot_fill_a_step_is_refused(run):
    with pytest.raises(InputError, match="has 1 examples, but a step takes 2"):
        run(rows=1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"group_size": 1}, "group_size must be at least 2"),
        ({"minibatches": 3}, "must divide the 512 completions"),
        ({"beta": -1.0}, "beta must be at least 0"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"rewards": []}, "at least one reward"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        config(**options)


def config(**options):
    return TrlGrpoConfig(**{"policy": "base", "task": "sums", "rewards": ["early"], "sampler": "short", **options})


def test_the_plan_says_what_is_drawn():
    assert config(steps=2).plan() == (
        "32 prompts x 16 completions = 512 completions a step, in 1 update; 2 steps draw 1,024 completions"
    )


def test_every_epoch_asks_every_problem_once():
    problems = Problems([Example(str(n)) for n in range(6)], seed=3)
    asked = [example.prompt for step in range(3) for example in problems.of_step(step, 4)]
    assert sorted(asked[:6]) == sorted(asked[6:]) == [str(n) for n in range(6)]


class Scripted:
    temperature = 1.0

    def __init__(self, groups):
        self.groups = groups

    def sample(self, policy, examples, n, seed):
        return self.groups


class NoJournal(dict):
    def append(self, key, value):
        self[key] = value


def make_draws(tokenizer, groups):
    rubric = SimpleNamespace(
        score=lambda rollouts: [SimpleNamespace(total=None, parts={}, statuses={}) for _ in rollouts],
        metrics=lambda scores: {"unscored": float(len(scores))},
    )
    drawer = Drawer(
        config=config(group_size=2, prompts_per_step=1),
        context=SimpleNamespace(timing=lambda numbers: None, seed=1),
        policy=SimpleNamespace(tokenizer=tokenizer),
        sampler=Scripted(groups),
        rubric=rubric,
        journal=NoJournal(),
        problems=Problems([Example("ab")], 1),
    )
    return Draws(drawer, updates_per_step=1)


AT_START = SimpleNamespace(state=SimpleNamespace(global_step=0))


def test_empty_completions_without_log_probabilities_reach_trl_as_an_end_of_sequence(tokenizer):
    draws = make_draws(tokenizer, [[Completion(""), Completion("c", (7, 0), (-1.0, -1.0))]])
    given = draws.give(["0", "0"], AT_START)
    assert given["completion_ids"] == [[tokenizer.eos_token_id], [7, 0]]
    assert given["logprobs"] is None
    assert given["score"] == [None, None]
    assert draws.tokens == 2 * len(tokenizer("ab")["input_ids"]) + 3


def test_a_sampler_that_gives_too_few_completions_is_named(tokenizer):
    with pytest.raises(StageError, match=r"asked for 2 completions of each of 1 prompts and gave 1 groups of \[1\]"):
        make_draws(tokenizer, [[Completion("")]]).give(["0", "0"], AT_START)
