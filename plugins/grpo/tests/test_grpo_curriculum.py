"""What changes at given steps: rewards that join, parts of a mixture that join, a length limit that rises."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import RewardConfig
from ponder.errors import InputError
from ponder.rubric import NamedReward, Rubric, Score
from ponder.types import Completion, Example, Rollout
from ponder_grpo import DrGrpoLossConfig, GrpoConfig, GrpoLossConfig
from ponder_grpo.batch import make_batch
from ponder_grpo.config import LengthLimit
from ponder_grpo.losses import DrGrpoLoss, GrpoLoss
from ponder_grpo.phases import phases
from ponder_grpo.problems import examples_at

NO_KL = GrpoLoss(GrpoLossConfig(kl_coef=0))
LIMITS = [{"step": 1, "max_new_tokens": 3}, {"step": 4, "max_new_tokens": 9}]


def limits_of(limits):
    return [LengthLimit(**limit) for limit in limits]


@pytest.fixture
def architecture():
    return "qwen2"


def config(**options):
    return GrpoConfig(policy="base", task="all", rewards=["early", "polite"], **options)


class Share:
    """Scores the share of these letters, and notes what it was asked about."""

    def __init__(self, letters):
        self.letters = letters
        self.asked = []

    def score(self, rollouts):
        self.asked.append({str(rollout.example.metadata.get("task")) for rollout in rollouts})
        texts = [rollout.completion.text for rollout in rollouts]
        return [sum(letter in self.letters for letter in text) / max(len(text), 1) for text in texts]


@dataclass
class Mixture:
    """Sums, and from some place on chat."""

    sums: int = 8
    chat: int = 6

    def examples(self):
        for index in range(self.sums + self.chat):
            yield Example("abcdefghijklmnop"[index], "a", {"task": "sums" if index < self.sums else "chat"})


def rubric_of(rewards):
    """A rubric of core's from names, rewards and the parts that they are for."""

    def make(names):
        return Rubric(
            [NamedReward(name, 1.0, rewards[name], RewardConfig(tasks=PARTS.get(name, []))) for name in names]
        )

    return make


PARTS = {"polite": ["chat"], "right": ["sums"]}


@given(st.lists(st.integers(0, 30)), st.integers(1, 20))
def test_the_phase_of_a_step_is_the_last_one_that_has_begun(changes, steps):
    made = phases(changes, steps, lambda since: since)
    for step in range(steps):
        assert made.at(step) == max([0, *(change for change in changes if change <= step)])
    assert made.values == made.since


def test_a_reward_counts_from_its_first_step_and_is_not_asked_before(make_context, train):
    rewards = {"early": Share("abcd"), "polite": Share("ijkl")}
    context = make_context(NO_KL, make_rubric=rubric_of(rewards), task_object=Mixture(0, 8))
    train(context, steps=4, rewards=["early", "polite"], reward_from={"polite": 2})
    assert ["rewards/polite" in line for line in context.metrics()] == [False, False, True, True]
    assert (len(rewards["early"].asked), len(rewards["polite"].asked)) == (4, 2)
    totals = [line["reward"] for line in context.metrics()]
    parts = [line["rewards/early"] + line.get("rewards/polite", 0.0) for line in context.metrics()]
    assert totals == pytest.approx(parts)


def test_a_part_of_a_mixture_is_asked_from_its_first_step(make_context, train):
    reward = Share("abcd")
    context = make_context(NO_KL, make_rubric=rubric_of({"early": reward}), task_object=Mixture())
    train(context, steps=6, task_from={"chat": 3})
    assert reward.asked[:3] == [{"sums"}] * 3
    assert set().union(*reward.asked[3:]) == {"sums", "chat"}
    assert ["reward/chat" in line for line in context.metrics()][:3] == [False] * 3


@given(st.integers(0, 5), st.integers(0, 5))
def test_no_example_is_asked_before_its_part_begins(first, step):
    asked = examples_at(list(Mixture().examples()), {"chat": first}, step)
    assert len(asked) == (14 if step >= first else 8)


def test_each_part_of_a_mixture_is_scored_by_its_own_rewards(make_context, train):
    rewards = {"right": Share("abcd"), "polite": Share("ijkl"), "length": Share("mnop")}
    context = make_context(NO_KL, make_rubric=rubric_of(rewards), task_object=Mixture())
    train(context, steps=4, rewards=["right", "polite", "length"])
    assert set().union(*rewards["right"].asked) == {"sums"}
    assert set().union(*rewards["polite"].asked) == {"chat"}
    assert set().union(*rewards["length"].asked) == {"sums", "chat"}
    assert all(line["unscored"] == 0 for line in context.metrics())
    assert {"reward/sums", "reward/chat", "rewards/right", "rewards/polite"} <= context.metrics()[-1].keys()


def test_rewards_of_one_part_do_not_move_the_advantages_of_another(tokenizer):
    options = GrpoConfig(policy="base", task="all", rewards=["right"], group_size=2, prompts_per_step=2)
    rollouts = [
        Rollout(Example("ab" if i < 2 else "cd"), Completion("a", (2, 0), (-1.0, -1.0)), i // 2) for i in range(4)
    ]

    def advantages(totals):
        batch = make_batch(rollouts, [Score(total, {}, {}) for total in totals], tokenizer, options)
        return [row.advantage for row in batch.rows]

    for others in ([7.5, 4.5], [0.3, 0.1]):
        assert advantages([1.0, 0.0, *others]) == pytest.approx([1.0, -1.0, 1.0, -1.0])


def test_a_raised_limit_lengthens_completions_from_its_step_on(make_context, train):
    context = make_context(NO_KL)
    context.sampler_object.max_new_tokens = 1
    train(context, steps=6, length_limits=limits_of(LIMITS))
    assert [line["length_limit"] for line in context.metrics()] == [1, 3, 3, 3, 9, 9]
    lengths = [line["response_length"] for line in context.metrics()]
    assert lengths[0] == 1 < lengths[1] <= 3 < lengths[4]


def test_a_limit_at_step_0_takes_the_place_of_the_samplers_own(make_context, train):
    context = make_context(NO_KL)
    train(context, length_limits=limits_of([{"step": 0, "max_new_tokens": 2}]))
    assert {line["length_limit"] for line in context.metrics()} == {2}


def test_dr_grpo_divides_by_the_limit_in_force(make_context, train):
    losses = []

    class Watched(DrGrpoLoss):
        def __call__(self, inputs):
            losses.append(inputs.max_tokens)
            return super().__call__(inputs)

    train(make_context(Watched(DrGrpoLossConfig())), steps=5, length_limits=limits_of(LIMITS), advantage="mean")
    assert list(dict.fromkeys(losses)) == [6, 3, 9]


def test_a_run_interrupted_in_any_phase_ends_as_the_uninterrupted_one(check_resumption):
    rewards = {"early": Share("abcd"), "polite": Share("ijkl")}
    check_resumption(
        NO_KL,
        (1, 3, 4),
        {
            "steps": 6,
            "rewards": ["early", "polite"],
            "reward_from": {"polite": 2},
            "task_from": {"chat": 3},
            "length_limits": limits_of(LIMITS),
        },
        make_rubric=rubric_of(rewards),
        task_object=Mixture(),
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"reward_from": {"kind": 3}}, "reward_from names 'kind', which is not one of the rewards: early, polite"),
        ({"reward_from": {"polite": 400}}, "reward_from: 'polite' begins at step 400, but the steps are 0 to 399"),
        ({"reward_from": {"polite": -1}}, "begins at step -1"),
        ({"reward_from": {"early": 5, "polite": 3}}, "leaves the steps before 3 without any reward"),
        ({"task_from": {"chat": 400}}, "task_from: 'chat' begins at step 400"),
        ({"length_limits": limits_of(LIMITS[::-1])}, r"length_limits must rise from step to step.*\[4, 1\]"),
        ({"length_limits": limits_of(LIMITS[:1] * 2)}, r"length_limits must rise"),
        ({"compute_factor": 0.0}, "compute_factor must be greater than 0"),
    ],
)
def test_an_impossible_schedule_is_refused_by_name(options, match):
    with pytest.raises(ValueError, match=match):
        config(**options)


@pytest.mark.parametrize("limit", [{"step": -1, "max_new_tokens": 4}, {"step": 0, "max_new_tokens": 0}])
def test_an_impossible_limit_is_refused(limit):
    with pytest.raises(ValueError, match="must be at least"):
        limits_of([limit])


def test_a_limit_behind_the_last_step_is_a_curriculum_not_reached(make_context, train):
    context = make_context(NO_KL)
    train(context, length_limits=limits_of([{"step": 512, "max_new_tokens": 64}]))
    assert {line["length_limit"] for line in context.metrics()} == {6}


@pytest.mark.parametrize(
    ("first_steps", "mixture", "match"),
    [
        ({"poems": 2}, Mixture(), "task_from names 'poems'.*known: chat, sums"),
        ({"sums": 2}, Mixture(8, 3), "leaves 3 examples of task 'letters' for the first steps, but a step takes 4"),
    ],
)
def test_parts_that_are_not_there_or_leave_too_little_are_refused(make_context, train, first_steps, mixture, match):
    context = make_context(NO_KL, task_object=mixture)
    context.make_policy = None
    with pytest.raises(InputError, match=match):
        train(context, task_from=first_steps)


def test_task_from_without_a_mixture_is_refused(make_context, train):
    with pytest.raises(InputError, match=r"no example of task 'letters' is from such a part.*there are none"):
        train(make_context(NO_KL), task_from={"chat": 1})
