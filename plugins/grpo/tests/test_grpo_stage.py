"""The stage from its first prompt to the saved policy."""

import json

import pytest
import torch
from safetensors.torch import load_file

from ponder.errors import InputError, StageError
from ponder.types import Completion, Example, LossOutput
from ponder_grpo import DapoLossConfig, DrGrpoLossConfig, GrpoConfig, GrpoLossConfig
from ponder_grpo import engine as engine_module
from ponder_grpo import reference as reference_module
from ponder_grpo.losses import DapoLoss, DrGrpoLoss, GrpoLoss
from ponder_grpo.replay import main, replay
from ponder_grpo.stage import GrpoStage

NO_KL = GrpoLoss(GrpoLossConfig(kl_coef=0))
WITH_KL = GrpoLoss(GrpoLossConfig(kl_coef=0.05))
QWEN = pytest.mark.parametrize("architecture", ["qwen2"])


def config(**options):
    small = {"group_size": 4, "prompts_per_step": 4, "steps": 3, "learning_rate": 0.01, "probes": 2, "probe_every": 2}
    # Scripted samplers tell whatever log-probabilities.
    small["max_sampler_gap"] = 100.0
    named = {"policy": "base", "task": "letters", "rewards": ["early"], "sampler": "fast", "loss": "grpo"}
    return GrpoConfig(**{**named, **small, **options})


def run(context, **options):
    return GrpoStage(config(**options)).run(context)


def weights(result):
    return load_file(result.policy / "model.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_reward_rises(make_context):
    context = make_context(NO_KL)
    run(context, steps=12, group_size=8, learning_rate=0.02)
    rewards = [line["reward"] for line in context.metrics()]
    assert rewards[-1] > rewards[0] + 0.3


# The reference is refreshed before step 3 and checkpoints stand behind steps 1 and 3: a run that goes on at step 4 has
# to find the refreshed reference in its checkpoint.
MANY_UPDATES = {
    "steps": 6,
    "minibatches": 2,
    "epochs": 2,
    "reference_refresh": 12,
    "checkpoint_every": 2,
    "table_every": 2,
    "warmup_steps": 2,
    "schedule": "linear",
    "micro_batch_tokens": 64,
}


@pytest.mark.slow
def test_an_interrupted_run_ends_bit_for_bit_as_an_uninterrupted_one(make_context):
    whole = make_context(WITH_KL, run="whole")
    expected = run(whole, **MANY_UPDATES)
    for stop_at in (1, 2, 3, 5):
        killed = make_context(WITH_KL, run=f"killed-{stop_at}", stop_at=stop_at)
        with pytest.raises(KeyboardInterrupt):
            run(killed, **MANY_UPDATES)
        resumed = make_context(WITH_KL, run=f"killed-{stop_at}")
        result = run(resumed, **MANY_UPDATES)
        assert same(weights(result), weights(expected))
        for name in ("metrics.jsonl", "rollouts.jsonl", "probes.jsonl"):
            assert (resumed.directory / name).read_bytes() == (whole.directory / name).read_bytes()
        assert result.metrics == expected.metrics


@QWEN
def test_a_resumed_run_reads_what_was_drawn_and_scored_from_the_journal(make_context):
    killed = make_context(NO_KL, stop_at=1)
    with pytest.raises(KeyboardInterrupt):
        run(killed)
    resumed = make_context(NO_KL)
    run(resumed)
    # Steps 0 and 1 and the probe of step 0 are there; step 2, its probe and the last probe are not.
    assert len(resumed.sampler_object.calls) == resumed.rubric_object.calls == 3


@QWEN
def test_the_journal_holds_the_rollouts_before_anything_is_learnt(make_context, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine_module.Engine, "learn", fail)
    context = make_context(NO_KL)
    with pytest.raises(KeyboardInterrupt):
        run(context)
    assert context.journal().keys() == ["probe-0", "step-0"]


@QWEN
def test_the_seed_of_every_draw_depends_on_the_step_alone(make_context):
    first, second = make_context(NO_KL, run="a"), make_context(DapoLoss(DapoLossConfig()), run="b")
    run(first)
    run(second, learning_rate=0.1)
    assert first.sampler_object.calls == second.sampler_object.calls
    assert len(set(first.sampler_object.calls)) == 3 + 1  # one seed a step, and one for all probes


@QWEN
def test_metrics_have_a_line_for_every_step(make_context):
    context = make_context(WITH_KL)
    result = run(context)
    lines = context.metrics()
    assert [line["step"] for line in lines] == [0, 1, 2]
    expected = {"reward", "response_length", "truncated", "groups_without_signal", "loss", "kl", "clip_fraction"}
    assert expected | {"grad_norm", "learning_rate", "entropy", "reflection_rate", "ratio_drift"} <= lines[0].keys()
    assert result.metrics["reward"] == pytest.approx(sum(line["reward"] for line in lines) / 3)
    assert lines[0]["sampler_gap"] < 1e-4
    assert all("seconds/train" in timing and "seconds/sample" in timing for timing in context.timings)


@QWEN
def test_probes_are_the_same_problems_at_every_turn_and_at_the_end(make_context):
    context = make_context(NO_KL)
    run(context, steps=5)
    rows = [json.loads(line) for line in (context.directory / "probes.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 0, 2, 2, 4, 4, 5, 5]
    assert len({row["prompt"] for row in rows[::2]}) == 1
    assert {path.name for path in context.artifacts} == {"rollouts.jsonl", "probes.jsonl"}


@QWEN
def test_a_few_rollouts_of_some_steps_are_kept_to_read(make_context):
    context = make_context(NO_KL)
    run(context, steps=5, table_every=3)
    rows = [json.loads(line) for line in (context.directory / "rollouts.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0] * 4 + [3] * 4 + [4] * 4
    assert {"prompt", "answer", "completion", "tokens", "finish_reason", "score", "rewards/early"} <= rows[0].keys()


class NotFinite:
    """Gives a NaN loss in the updates it is told."""

    def __init__(self, updates, gradient_only=False):
        self.updates, self.gradient_only, self.calls = updates, gradient_only, 0

    def __call__(self, inputs):
        self.calls += 1
        output = NO_KL(inputs)
        if self.calls - 1 not in self.updates:
            return output
        if not self.gradient_only:
            return LossOutput(output.loss * float("nan"), output.metrics)
        # Zero in value, infinite in slope.
        return LossOutput(output.loss + (inputs.logprobs[0, 0] * 0).clamp(min=0).sqrt(), output.metrics)


@QWEN
@pytest.mark.parametrize("gradient_only", [False, True])
def test_a_non_finite_update_leaves_the_weights_untouched_and_is_counted(make_context, gradient_only):
    context = make_context(NotFinite({0, 1, 2}, gradient_only))
    before = context.make_policy().model.state_dict()
    result = run(context)
    assert all(torch.equal(weights(result)[name], before[name]) for name in weights(result))
    assert [line["skipped_updates"] for line in context.metrics()] == [1.0] * 3
    assert "loss" not in context.metrics()[0]


@QWEN
def test_a_non_finite_update_is_kept_once_with_the_weights_to_be_replayed(make_context):
    context = make_context(NotFinite({1, 2}))
    run(context)
    (kept,) = context.directory.glob("not_finite_*")
    assert kept.name == "not_finite_000001"
    assert f"python -m ponder_grpo.replay {kept}" in context.said[-1]
    found = list(replay(kept))
    assert len(found) == 16 and all(row.is_finite for row in found)
    assert main([str(kept)]) == 0


@QWEN
def test_a_replay_names_the_row_that_is_not_finite(make_context, capsys):
    context = make_context(NotFinite({0}))
    run(context, steps=1)
    (kept,) = context.directory.glob("not_finite_*")
    batch = json.loads((kept / "batch.json").read_text())
    batch["rows"][3]["advantage"] = float("inf")
    (kept / "batch.json").write_text(json.dumps(batch))
    assert main([str(kept)]) == 1
    marked = [line for line in capsys.readouterr().out.splitlines() if "<- not finite" in line]
    assert [line.split(":")[0] for line in marked] == ["row 3"]


def test_a_directory_without_an_update_cannot_be_replayed(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "holds no kept update" in capsys.readouterr().err


@QWEN
def test_all_completions_of_a_step_are_kept_on_demand(make_context):
    context = make_context(NO_KL)
    run(context, steps=1, table_rows="all")
    rows = [json.loads(line) for line in (context.directory / "rollouts.jsonl").read_text().splitlines()]
    assert [row["group"] for row in rows] == [place // 4 for place in range(16)]


@QWEN
def test_too_many_non_finite_updates_in_a_row_end_the_stage(make_context):
    with pytest.raises(StageError, match="2 updates in a row"):
        run(make_context(NotFinite({1, 2})), max_skipped=2)


@QWEN
def test_a_good_update_begins_the_count_of_bad_ones_anew(make_context):
    result = run(make_context(NotFinite({0, 2})), max_skipped=2)
    assert result.metrics["skipped_updates"] == pytest.approx(2 / 3)


@QWEN
def test_equal_rewards_teach_nothing_are_counted_and_explained(make_context):
    context = make_context(NO_KL)
    context.rubric_object.reward = lambda completion: 1.0
    before = context.make_policy().model.state_dict()
    result = run(context, steps=20, probes=0)
    assert all(torch.equal(weights(result)[name], before[name]) for name in weights(result))
    assert {line["groups_without_signal"] for line in context.metrics()} == {1.0}
    assert len(context.said) == 1
    assert "too easy or too hard" in context.said[0]


@QWEN
def test_groups_of_one_text_are_explained_by_the_temperature(make_context):
    context = make_context(NO_KL)
    context.sampler_object.temperature = 1e-4
    run(context, steps=20, probes=0)
    assert "raise the sampler's temperature" in context.said[-1]


@QWEN
def test_completions_without_any_score_are_explained_by_the_rewards(make_context):
    context = make_context(NO_KL)
    context.rubric_object.reward = lambda completion: None
    run(context, steps=20, probes=0)
    assert "no completion got a score" in context.said[0]


class Scripted:
    """A sampler that says what it is told."""

    temperature = 1.0

    def __init__(self, completions):
        self.completions = completions

    def sample(self, policy, examples, n, seed):
        return [[self.completions[index % len(self.completions)] for index in range(n)] for _ in examples]


EMPTY = Completion("", (), ())


@QWEN
@pytest.mark.parametrize("others", [[], [Completion("ab", (2, 3, 0), (-1.0, -2.0, -3.0))]])
def test_empty_completions_are_learnt_from_without_an_error(make_context, others):
    context = make_context(WITH_KL, sampler_object=Scripted([EMPTY, *others]))
    run(context)
    assert context.metrics()[0]["empty"] == (0.5 if others else 1.0)


@QWEN
def test_a_sampler_without_log_probabilities_is_made_up_for(make_context):
    with_them, without = make_context(WITH_KL, run="a"), make_context(WITH_KL, run="b")
    without.sampler_object.gives_logprobs = False
    first, second = run(with_them, minibatches=2), run(without, minibatches=2)
    for name, tensor in weights(first).items():
        torch.testing.assert_close(weights(second)[name], tensor, rtol=0, atol=1e-3)
    assert "entropy" not in without.metrics()[0]


@QWEN
def test_a_sampler_with_other_log_probabilities_is_told_of(make_context):
    context = make_context(
        NO_KL, sampler_object=Scripted([Completion("a", (2, 0), (-9.0, -9.0)), Completion("p", (17, 0), (-9.0, -9.0))])
    )
    run(context)
    assert "nats a token away" in context.said[0]


@QWEN
@pytest.mark.parametrize("minibatches", [1, 2])
def test_under_an_importance_cap_tokens_that_the_sampler_thought_unlikely_weigh_the_cap(make_context, minibatches):
    unlikely = [Completion("a", (2, 0), (-40.0, -40.0)), Completion("p", (17, 0), (-40.0, -40.0))]
    context = make_context(NO_KL, sampler_object=Scripted(unlikely))
    run(context, importance_cap=2.0, minibatches=minibatches)
    line = context.metrics()[0]
    assert (line["importance"], line["importance_capped"]) == (pytest.approx(2.0), 1.0)
    assert line["sampler_gap"] > 1


class OneGroupLearns(Scripted):
    """Only the first of the prompts has answers that differ."""

    def sample(self, policy, examples, n, seed):
        first, *others = super().sample(policy, examples, n, seed)
        return [first, *([self.completions[0]] * n for _ in others)]


@QWEN
def test_the_gap_is_measured_whichever_minibatch_is_the_first_to_have_a_signal(make_context):
    context = make_context(NO_KL, sampler_object=OneGroupLearns([Completion("a", (2, 0), (-9.0, -9.0)), EMPTY]))
    run(context, minibatches=4, steps=6)
    lines = context.metrics()
    assert {line["updates"] for line in lines} == {1.0}
    assert all("sampler_gap" in line for line in lines)


@QWEN
def test_an_importance_cap_needs_the_samplers_log_probabilities(make_context):
    silent = [Completion("a", (2, 0), ()), Completion("p", (17, 0), ())]
    with pytest.raises(StageError, match="importance_cap compares with the sampler's log-probabilities"):
        run(make_context(NO_KL, sampler_object=Scripted(silent)), importance_cap=2.0)


@QWEN
def test_a_sampler_with_the_log_probabilities_of_another_policy_stops_the_stage(make_context):
    wrong = [Completion("a", (2, 0), (-9.0, -9.0)), Completion("p", (17, 0), (-9.0, -9.0))]
    with pytest.raises(StageError, match=r"nats a token away from the trainer's \(max_sampler_gap is 0\.5\)"):
        run(make_context(NO_KL, sampler_object=Scripted(wrong)), max_sampler_gap=0.5)


@QWEN
@pytest.mark.parametrize(
    ("completions", "match"),
    [
        ([Completion("a", (2, 0), (-1.0,))], "1 log-probabilities for 2 tokens"),
        ([Completion("a", (2, 0), (-1.0, -1.0), policy_version=41)], "version 41"),
    ],
)
def test_a_sampler_that_breaks_its_contract_is_named(make_context, completions, match):
    with pytest.raises(StageError, match=match):
        run(make_context(NO_KL, sampler_object=Scripted(completions)))


@QWEN
def test_a_sampler_that_gives_too_few_completions_is_refused(make_context):
    class Short(Scripted):
        def sample(self, policy, examples, n, seed):
            return super().sample(policy, examples, n - 1, seed)

    with pytest.raises(StageError, match="asked for 1 completions of each of 2 prompts"):
        run(make_context(NO_KL, sampler_object=Short([EMPTY])))


class Examples:
    def __init__(self, *examples):
        self._examples = examples

    def examples(self):
        return iter(self._examples)


@QWEN
@pytest.mark.parametrize(
    ("examples", "match"),
    [
        ([], "'letters' has no examples"),
        ([Example("a")] * 3, "only 3, but a step takes 4"),
        ([Example("a")] * 3 + [Example("")] * 2, "2 of 5 examples have an empty prompt .index 3, 4"),
    ],
)
def test_a_task_that_cannot_be_learnt_from_is_refused_before_the_model_is_loaded(make_context, examples, match):
    context = make_context(NO_KL, task_object=Examples(*examples))
    context.make_policy = None
    with pytest.raises(InputError, match=match):
        run(context)


@QWEN
def test_prompts_that_fill_the_context_are_counted_before_the_first_step(make_context):
    examples = [Example("a"), Example("b" * 127), *[Example("c" * 128)] * 3]
    match = r"'letters': 3 of 5 examples .* context of 128 tokens.* the first is example 2, with 128 tokens"
    context = make_context(NO_KL, task_object=Examples(*examples))
    context.sampler_object.sample = None
    with pytest.raises(InputError, match=match):
        run(context)


@QWEN
def test_a_greedy_sampler_is_refused(make_context):
    context = make_context(NO_KL)
    context.sampler_object.temperature = 0.0
    with pytest.raises(InputError, match="must be above 0"):
        run(context)


@QWEN
def test_without_a_kl_term_no_reference_policy_is_loaded(make_context):
    loaded = []
    context = make_context(NO_KL)
    make = context.make_policy
    context.make_policy = lambda: loaded.append(1) or make()
    run(context)
    assert len(loaded) == 1


def count_reference_passes(monkeypatch):
    passes = []
    real = reference_module.Reference.logprobs
    monkeypatch.setattr(
        reference_module.Reference,
        "logprobs",
        lambda self, rows, options: passes.append(1) or real(self, rows, options),
    )
    return passes


@QWEN
def test_the_reference_pass_is_skipped_where_the_reference_is_the_policy(make_context, monkeypatch):
    passes = count_reference_passes(monkeypatch)
    run(make_context(WITH_KL), steps=5, reference_refresh=2)
    # Equal to the policy in step 0, and after the refreshes before steps 2 and 4.
    assert len(passes) == 2


@QWEN
def test_a_refreshed_reference_is_the_policy_as_it_was_before_the_step(make_context):
    make = make_context(WITH_KL).make_policy
    policy, frozen = make(), make()
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.5)
    reference = reference_module.Reference(frozen, policy, config(reference_refresh=2))
    reference.prepare(1)
    assert not same(frozen.model.state_dict(), policy.model.state_dict())
    reference.prepare(2)
    assert same(frozen.model.state_dict(), policy.model.state_dict())
    with torch.no_grad():
        next(policy.model.parameters()).add_(1.0)
    assert not same(frozen.model.state_dict(), policy.model.state_dict())


@QWEN
def test_another_reference_policy_is_used_from_the_first_step(make_context, monkeypatch):
    passes = count_reference_passes(monkeypatch)
    run(make_context(WITH_KL), reference="teacher", reference_refresh=0)
    assert len(passes) == 3


@QWEN
def test_a_reference_with_another_vocabulary_is_refused(make_context):
    context = make_context(WITH_KL)
    made = []

    def make():
        policy = make_original()
        if made:
            policy.tokenizer.add_tokens(["<new>"])
        made.append(policy)
        return policy

    make_original, context.make_policy = context.make_policy, make
    with pytest.raises(InputError, match="vocabularies differ"):
        run(context, reference="teacher")


@QWEN
def test_truncated_completions_can_be_left_out(make_context):
    finished = Completion("aa", (2, 2, 0), (-1.0, -1.0, -1.0))
    cut_off = Completion("pp", (17, 17), (-1.0, -1.0), "length")
    context = make_context(NO_KL, sampler_object=Scripted([finished, cut_off]))
    run(context, truncated="mask")
    assert {line["groups_without_signal"] for line in context.metrics()} == {1.0}
    assert context.metrics()[0]["truncated"] == 0.5


@QWEN
def test_dr_grpo_takes_the_length_limit_from_the_sampler(make_context):
    context = make_context(DrGrpoLoss(DrGrpoLossConfig()))
    run(context, advantage="mean")
    assert context.metrics()[0]["grad_norm"] > 0


@QWEN
def test_every_update_raises_the_version_of_the_policy(make_context):
    context = make_context(NO_KL)
    made = []
    make = context.make_policy
    context.make_policy = lambda: made.append(make()) or made[-1]
    run(context, minibatches=2, epochs=2)
    assert made[0].version == sum(line["updates"] for line in context.metrics()) > 3


@QWEN
def test_the_step_does_not_depend_on_the_micro_batch_size(make_context):
    results = [
        weights(run(make_context(WITH_KL, run=str(budget)), steps=1, micro_batch_tokens=budget, learning_rate=1e-3))
        for budget in (16, 4096)
    ]
    for name, tensor in results[0].items():
        # Adam's first step is the sign of the gradient times the rate: where a gradient is all rounding, so is its sign.
        assert ((results[1][name] - tensor).abs() < 1e-5).float().mean() > 0.97
