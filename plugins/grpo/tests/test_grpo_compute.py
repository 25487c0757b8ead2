"""Operations are counted as they are done, and a stage ends when it has spent what it was given."""

import pytest

from ponder.errors import InputError
from ponder.hf import active_parameters
from ponder.types import Completion
from ponder_grpo import GrpoLossConfig
from ponder_grpo.compute import Budget, tokens_passed
from ponder_grpo.losses import GrpoLoss
from ponder_grpo.rows import Row

NO_KL = GrpoLoss(GrpoLossConfig(kl_coef=0))
WITH_KL = GrpoLoss(GrpoLossConfig(kl_coef=0.05))


@pytest.fixture
def architecture():
    return "qwen2"


EARLY = Completion("ab", (2, 3, 0), (-1.0, -1.0, -1.0))
LATE = Completion("pp", (17, 17), (-1.0, -1.0), "length")


class Scripted:
    """Half of a group is `EARLY`, which scores 1, half is `other`."""

    temperature = 1.0

    def __init__(self, other=LATE):
        self.completions = [EARLY, EARLY, other, other]

    def sample(self, policy, examples, n, seed):
        return [self.completions[:n] for _ in examples]


def flops(context):
    return [line["flops"] for line in context.metrics()]


# A step asks 4 prompts and reads each once; the letters' task repeats prompts of 2, 3 and 4 tokens, 36 in a round of 12.
COMPLETION_TOKENS = 4 * (3 + 3 + 2 + 2)
ROUND = 3


def test_a_prompt_counts_once_for_its_group():
    rows = [Row(index=i, group=i // 2, prompt=[5] * (3 + i // 2), completion=[5] * i) for i in range(4)]
    assert tokens_passed(rows) == 3 + 4 + 0 + 1 + 2 + 3


def test_drawing_costs_two_and_learning_six_operations_a_parameter_and_token(make_context, train):
    context = make_context(NO_KL, sampler_object=Scripted())
    result = train(context, steps=ROUND)
    parameters = active_parameters(context.make_policy().model)
    tokens = 36 + ROUND * COMPLETION_TOKENS
    assert result.metrics["flops"] == flops(context)[-1] == (2 + 6) * parameters * tokens


def test_completions_that_teach_nothing_cost_their_drawing_alone(make_context, train):
    context = make_context(NO_KL, sampler_object=Scripted(EARLY))
    parameters = active_parameters(context.make_policy().model)
    assert train(context, steps=ROUND).metrics["flops"] == 2 * parameters * (36 + ROUND * 4 * 4 * 3)


def test_every_epoch_costs_as_much_as_the_first(make_context, train):
    context = make_context(NO_KL, sampler_object=Scripted())
    result = train(context, steps=ROUND, epochs=2)
    parameters = active_parameters(context.make_policy().model)
    assert result.metrics["flops"] == (2 + 2 * 6) * parameters * (36 + ROUND * COMPLETION_TOKENS)


def test_the_reference_costs_two_operations_where_it_is_run(make_context, train):
    with_kl, without = (make_context(loss, run=name, sampler_object=Scripted()) for name, loss in LOSSES.items())
    more = train(with_kl, steps=ROUND).metrics["flops"] - train(without, steps=ROUND).metrics["flops"]
    parameters = active_parameters(with_kl.make_policy().model)
    # In the first step the reference is the policy.
    first = flops(with_kl)[0] / (8 * parameters)
    assert more == 2 * parameters * (36 + ROUND * COMPLETION_TOKENS - first)


LOSSES = {"with": WITH_KL, "without": NO_KL}


def test_probes_are_measurements_and_not_counted(make_context, train):
    with_probes, without = (make_context(NO_KL, run=name) for name in "ab")
    assert train(with_probes, probes=2).metrics["flops"] == train(without).metrics["flops"]


def spend_of(make_context, train, steps):
    context = make_context(NO_KL, run="measured", sampler_object=Scripted())
    train(context, steps=steps)
    return flops(context)


def test_the_stage_ends_after_the_step_that_reaches_its_budget(make_context, train):
    spent = spend_of(make_context, train, 2)
    earlier = {"data": {"flops": spent[0]}, "student": {"flops": 1.0}}
    context = make_context(NO_KL, sampler_object=Scripted(), earlier=earlier)
    result = train(context, steps=9, compute_of=["data", "student"])
    assert [line["compute_share"] for line in context.metrics()] == [s / (spent[0] + 1) for s in spent]
    assert (result.metrics["steps"], result.metrics["flops"]) == (2, spent[1])
    assert result.metrics["compute_share"] == spent[1] / (spent[0] + 1)
    assert "ended after 2 of 9 steps, with its compute spent" in context.said[-1]
    assert "1 x data, student" in context.said[-1]


def test_a_budget_met_to_the_operation_is_spent(make_context, train):
    spent = spend_of(make_context, train, 2)
    context = make_context(NO_KL, sampler_object=Scripted(), earlier={"data": {"flops": spent[1] / 2}})
    assert train(context, steps=9, compute_of=["data"], compute_factor=2.0).metrics["steps"] == 2


def test_steps_end_a_stage_that_has_compute_left(make_context, train):
    context = make_context(NO_KL, sampler_object=Scripted(), earlier={"data": {"flops": 1e12}})
    result = train(context, compute_of=["data"])
    assert result.metrics["steps"] == 3
    assert result.metrics["compute_share"] < 1
    assert "ended with its 3 steps, before its compute was spent" in context.said[-1]
    assert "raise steps" in context.said[-1]


def test_the_last_step_of_a_spent_budget_is_kept_to_read_and_probed(make_context, train):
    spent = spend_of(make_context, train, 2)
    context = make_context(NO_KL, sampler_object=Scripted(), earlier={"data": {"flops": spent[1]}})
    train(context, steps=9, compute_of=["data"], probes=1)
    assert '"step": 1' in (context.directory / "rollouts.jsonl").read_text()
    assert '"step": 2' in (context.directory / "probes.jsonl").read_text()
    assert context.expected_steps == 2


def test_without_a_budget_nothing_is_said_or_measured_of_one(make_context, train):
    context = make_context(NO_KL)
    assert "compute_share" not in train(context).metrics
    assert context.said == []
    assert not Budget(None).is_spent(10**18)


def test_the_steps_that_compute_is_left_for_are_told_from_those_done():
    assert Budget(1000.0).expected_steps(100, 3, 500) == 30
    assert Budget(1000.0).expected_steps(110, 3, 500) == 28
    assert Budget(1000.0).expected_steps(100, 3, 20) == 20
    assert Budget(None).expected_steps(100, 3, 20) == 20


@pytest.mark.parametrize(
    ("metrics", "match"),
    [({"loss": 1.0}, "compute_of names stage 'data', which counted no FLOPs"), ({"flops": 0.0}, "spent no compute")],
)
def test_a_budget_of_nothing_is_refused_before_the_model_is_loaded(make_context, train, metrics, match):
    context = make_context(NO_KL, earlier={"data": metrics})
    context.make_policy = None
    with pytest.raises(InputError, match=match):
        train(context, compute_of=["data"])


def test_a_run_interrupted_under_a_budget_ends_where_the_uninterrupted_one_does(make_context, train, check_resumption):
    measured = make_context(NO_KL, run="measured")
    train(measured, steps=5)
    budget = {"data": {"flops": flops(measured)[4]}}
    whole = check_resumption(NO_KL, (1, 2, 4), {"steps": 9, "compute_of": ["data"]}, earlier=budget)
    assert len(whole.metrics()) == 5


def test_a_run_interrupted_behind_its_last_paid_step_does_no_other(make_context, train):
    spent = spend_of(make_context, train, 2)
    options = {"steps": 9, "compute_of": ["data"], "checkpoint_every": 1}
    parts = {"sampler_object": Scripted(), "earlier": {"data": {"flops": spent[1]}}}
    killed = make_context(NO_KL, **parts)
    killed.artifact = lambda path: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train(killed, **options)
    resumed = make_context(NO_KL, **parts)
    assert train(resumed, **options).metrics["steps"] == 2
    assert len(resumed.metrics()) == 2
