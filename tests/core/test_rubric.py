import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest

from ponder import Completion, Example, RewardConfig, Rollout
from ponder.errors import InputError, StageError
from ponder.rubric import Limits, NamedReward, Rubric, Score

LIMITS = Limits(workers=1, cpu_seconds=0.3, wall_seconds=0.6)


@dataclass(frozen=True, kw_only=True)
class ComparingConfig(RewardConfig):
    needs_answer: ClassVar[bool] = True


def correct(example: Example, completion: Completion) -> float | None:
    return None if example.answer is None else float(example.answer in completion.text)


def formatted(example: Example, completion: Completion) -> float:
    return float(completion.text.startswith("<think>"))


def english(example: Example, completion: Completion) -> float | None:
    words = completion.text.split("|")[1:]
    return float(words[0]) if words else None


def broken(example: Example, completion: Completion) -> float:
    raise KeyError("\x1b[31mno such field")


def broken_on_x(example: Example, completion: Completion) -> float:
    if completion.text == "x":
        raise ValueError("an x")
    return 1.0


class Doubles:
    """A batch reward: what it returns is fixed beforehand."""

    def __init__(self, *values: object) -> None:
        self.values = values

    def score(self, rollouts: Sequence[Rollout]) -> Sequence[float | None]:
        return self.values  # type: ignore[return-value]


class Unreachable:
    def score(self, rollouts: Sequence[Rollout]) -> Sequence[float | None]:
        raise ConnectionError("the judge is down")


def rollouts(*texts: str, answer: str | None = "4") -> list[Rollout]:
    return [Rollout(Example("q", answer), Completion(text), 0) for text in texts]


def test_totals_are_the_weighted_sums_of_the_first_stage_of_r1() -> None:
    rewards = [NamedReward(reward.__name__, 1.0, reward) for reward in (correct, formatted, english)]
    with Rubric(rewards, limits=LIMITS) as rubric:
        scores = rubric.score(rollouts("<think>4|0.9", "<think>5|1.0", "4|0.5"))
    assert [score.total for score in scores] == [2.9, 2.0, 1.5]


def test_weights_multiply_and_the_breakdown_is_kept_unweighted() -> None:
    rewards = [NamedReward("right", 2.0, correct), NamedReward("form", 0.5, formatted)]
    with Rubric(rewards, limits=LIMITS) as rubric:
        (score,) = rubric.score(rollouts("<think>4"))
    assert score == Score(2.5, {"right": 1.0, "form": 1.0}, {"right": "ok", "form": "ok"})


def test_a_reward_that_abstains_leaves_the_sum_to_the_others() -> None:
    rewards = [NamedReward("right", 1.0, correct), NamedReward("form", 0.5, formatted)]
    with Rubric(rewards, limits=LIMITS) as rubric:
        (score,) = rubric.score(rollouts("<think>4", answer=None))
    assert (score.total, score.statuses["right"]) == (0.5, "abstained")


def test_a_total_is_none_when_every_reward_abstains() -> None:
    with Rubric([NamedReward("right", 1.0, correct)], limits=LIMITS) as rubric:
        scores = rubric.score(rollouts("4", answer=None))
        assert scores[0].total is None
        assert rubric.metrics(scores)["unscored"] == 1.0


def test_metrics_average_what_was_scored_and_count_what_failed() -> None:
    with Rubric([NamedReward("picky", 2.0, broken_on_x)], limits=LIMITS, say=lambda _: None) as rubric:
        metrics = rubric.metrics(rubric.score(rollouts("a", "x", "b", "c")))
    assert metrics == {
        "reward": 2.0,
        "rewards/picky": 1.0,
        "rewards/picky/timeout": 0.0,
        "rewards/picky/error": 1.0,
        "unscored": 1.0,
    }


def test_the_first_traceback_is_shown_once() -> None:
    said: list[str] = []
    with Rubric([NamedReward("picky", 1.0, broken_on_x)], limits=LIMITS, say=said.append) as rubric:
        rubric.score(rollouts("a", "x", "x"))
        rubric.score(rollouts("a", "x"))
    assert len(said) == 1
    assert "reward 'picky'" in said[0]
    assert "ValueError: an x" in said[0]


def test_a_reward_that_fails_on_a_whole_batch_ends_the_stage_with_its_name_and_traceback() -> None:
    with (
        Rubric([NamedReward("fields", 1.0, broken)], limits=LIMITS, say=lambda _: None) as rubric,
        pytest.raises(StageError) as caught,
    ):
        rubric.score(rollouts("a", "b", "c"))
    message = str(caught.value)
    assert "reward 'fields'" in message
    assert "test_rubric" in message
    assert "none of the 3 rollouts" in message
    assert "KeyError" in message
    assert "\x1b" not in message


def test_a_reward_that_has_worked_survives_a_small_batch_of_failures() -> None:
    with Rubric([NamedReward("picky", 1.0, broken_on_x)], limits=LIMITS, say=lambda _: None) as rubric:
        rubric.score(rollouts("a"))
        assert rubric.score(rollouts("x", "x"))[0].statuses == {"picky": "error"}
        with pytest.raises(StageError):
            rubric.score(rollouts(*["x"] * 16))


def test_batch_rewards_score_all_rollouts_in_this_process() -> None:
    rewards = [NamedReward("judge", 1.0, Doubles(0.5, None, float("nan")))]
    with Rubric(rewards, limits=LIMITS, say=lambda _: None) as rubric:
        scores = rubric.score(rollouts("a", "b", "c"))
    assert [score.parts["judge"] for score in scores] == [0.5, None, None]
    assert [score.statuses["judge"] for score in scores] == ["ok", "abstained", "error"]


def test_a_batch_reward_with_too_few_scores_is_named() -> None:
    with (
        Rubric([NamedReward("judge", 1.0, Doubles(0.5))], limits=LIMITS) as rubric,
        pytest.raises(StageError, match=r"reward 'judge' \(.*Doubles.* returned 1 scores for 2 rollouts"),
    ):
        rubric.score(rollouts("a", "b"))


def test_a_batch_reward_that_raises_is_an_error_of_the_whole_batch() -> None:
    with (
        Rubric([NamedReward("judge", 1.0, Unreachable())], limits=LIMITS, say=lambda _: None) as rubric,
        pytest.raises(StageError, match="the judge is down"),
    ):
        rubric.score(rollouts("a", "b"))


def test_a_reward_that_compares_refuses_a_task_without_answers() -> None:
    rubric = Rubric([NamedReward("right", 1.0, correct, ComparingConfig())])
    with pytest.raises(InputError, match=r"reward 'right'.*none of the 2 examples of task 'poems'"):
        rubric.check([Example("a"), Example("b")], "poems")


def test_a_task_with_some_answers_passes_the_check() -> None:
    rubric = Rubric([NamedReward("right", 1.0, correct, ComparingConfig()), NamedReward("form", 1.0, formatted)])
    rubric.check([Example("a"), Example("b", "4")], "sums")


def test_rewards_without_answers_pass_any_task() -> None:
    Rubric([NamedReward("form", 1.0, formatted)]).check([Example("a")], "poems")


def test_two_rewards_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="same name"):
        Rubric([NamedReward("form", 1.0, formatted), NamedReward("form", 1.0, correct)])


def test_an_empty_batch_has_no_scores() -> None:
    with Rubric([NamedReward("form", 1.0, formatted), NamedReward("judge", 1.0, Doubles())]) as rubric:
        assert rubric.score([]) == []
        assert rubric.metrics([])["unscored"] == 0.0


def test_scoring_again_gives_the_same_scores() -> None:
    batch = rollouts(*(f"<think>{number}|{number / 50}" for number in range(50)))
    rewards = [NamedReward(reward.__name__, 1.0, reward) for reward in (correct, formatted, english)]
    with Rubric(rewards, limits=LIMITS) as one, Rubric(rewards, limits=Limits(workers=2)) as two:
        assert one.score(batch) == one.score(batch) == two.score(batch)


def test_submitted_batches_are_scored_in_the_background() -> None:
    with Rubric([NamedReward("right", 1.0, correct)], limits=LIMITS) as rubric:
        handles = [rubric.submit(rollouts(text)) for text in ("4", "5")]
        assert [handle.result(timeout=30)[0].total for handle in handles] == [1.0, 0.0]


def test_trivial_rewards_are_not_slowed_down() -> None:
    batch = rollouts(*["<think>4"] * 2000)
    with Rubric([NamedReward("form", 1.0, formatted)], limits=Limits(workers=2)) as rubric:
        # Our own share alone, and the best of five: what is measured depends on what else the machine does.
        assert 2000 / min(processor_seconds(lambda: rubric.score(batch)) for _ in range(5)) > 3000


def processor_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def reads_numbers(example: Example, completion: Completion) -> float | None:
    return float(completion.text == example.answer) if (example.answer or "").isdigit() else None


def test_reference_answers_that_a_reward_cannot_read_are_told_once() -> None:
    said: list[str] = []
    comparing = NamedReward("accuracy", 1.0, reads_numbers, ComparingConfig())
    with Rubric([comparing], limits=LIMITS, say=said.append) as rubric:
        rubric.score(rollouts("4"))
        assert said == []
        rubric.score([*rollouts("4"), *rollouts("4", "5", answer="\\frac{1}{")])
        rubric.score(rollouts("4", answer="\\frac{1}{"))
    assert len(said) == 1
    assert "reward 'accuracy' abstains where it cannot read the reference answer: on 1 of this batch's" in said[0]


def test_an_abstention_outside_a_rewards_own_tasks_is_nothing_to_tell() -> None:
    said: list[str] = []
    scoped = NamedReward("accuracy", 1.0, reads_numbers, ComparingConfig(tasks=["sums"]))
    with Rubric([scoped], limits=LIMITS, say=said.append) as rubric:
        rubric.score([Rollout(Example("q", "blue", {"task": "chat"}), Completion("4"), 0)])
    assert said == []
