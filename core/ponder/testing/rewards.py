"""The suite for rewards: pure, picklable, and never at a loss, whatever a model writes."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, TypeAlias

from ponder.crossing import CrossingError, pack, unpack
from ponder.errors import InputError, StageError
from ponder.nursery_main import judged
from ponder.testing.component import ComponentSuite
from ponder.testing.hostile import hostile_texts
from ponder.testing.outcome import brief, described, require, unchecked
from ponder.types import Completion, Example, Rollout
from ponder.workers import Limits, Verdict, WorkerPool

Case: TypeAlias = tuple[Example | str, Completion | str, Any]
"""An example (or its prompt), a completion (or its text), and the score: a number, None, or what compares equal to it."""

_CHAT: Final = Example([{"role": "user", "content": "What is 2 + 2?"}], "4")
_COMMON: Final = (
    "<think>2 + 2 = 4</think>\n<answer>4</answer>",
    "The answer is \\boxed{4}.",
    "5",
    "\u7b54\u6848\u662f 4\u3002",
)
_STRANGE_ANSWERS: Final = ("", " ", "\\frac{1}{", "\x00\ud800", "9^{9^{9^{9}}}", "four" * 10_000, "{" * 5000)


class RewardSuite(ComponentSuite):
    """Checks a reward. `cases` are examples with completions and the scores they should get."""

    kind = "reward"
    cases: ClassVar[Sequence[Case]] = ()
    bounds: ClassVar[tuple[float, float] | None] = None
    """The lowest and the highest score there is, where there are such."""
    limits: ClassVar[Limits] = Limits(workers=1)
    """What one completion may cost; the same as in a run."""

    def test_no_call_hangs_or_ends_its_process(self) -> None:
        reward = self.build()
        if not callable(reward):
            unchecked("it scores whole batches, in the trainer's process")
        harm = self._problem(reward)
        require(
            not harm,
            f"{harm}; return within {self.limits.cpu_seconds:g} s of processor time, and raise where something is wrong",
        )

    def test_the_cases_get_the_scores_that_are_given(self) -> None:
        if not self.cases:
            unchecked("no cases are given: write `cases = [(Example(...), 'a completion', 1.0)]`")
        reward = self.scoring()
        for rollout, (_, _, expected) in zip(self.rollouts(), self.cases, strict=True):
            value = _score(reward, rollout)
            is_right = value is None if expected is None else value is not None and value == expected
            require(is_right, f"{brief(rollout.completion.text)} should score {expected} and scores {value}")

    def test_a_score_is_a_finite_number_or_none(self) -> None:
        reward = self.scoring()
        for rollout in self.rollouts():
            value = _score(reward, rollout)
            status, _, problem = judged(value)
            require(
                status in ("ok", "abstained"),
                f"for {brief(rollout.completion.text)} {problem}; return a finite number, or None to abstain",
            )

    def test_the_same_call_gives_the_same_score(self) -> None:
        reward = self.scoring()
        for rollout in self.rollouts():
            first, second = _score(reward, rollout), _score(reward, rollout)
            require(
                _same(first, second),
                f"{brief(rollout.completion.text)} scores {first} and, asked again, {second}; let the score depend on example and "
                "completion alone: no randomness, no clock, no counters",
            )

    def test_the_order_of_calls_does_not_matter(self) -> None:
        rollouts = [*self.rollouts(), *self.rollouts()[:1]]
        forwards, backwards = self.scoring(), self.scoring()
        first = [_score(forwards, rollout) for rollout in rollouts]
        second = [_score(backwards, rollout) for rollout in reversed(rollouts)][::-1]
        for rollout, one, other in zip(rollouts, first, second, strict=True):
            require(
                _same(one, other),
                f"{brief(rollout.completion.text)} scores {one} after the completions before it, and {other} after those behind it; "
                "keep nothing from one call to the next",
            )

    def test_what_it_is_given_is_left_as_it_was(self) -> None:
        reward = self.scoring()
        for rollout in self.rollouts():
            given = copy.deepcopy(rollout)
            _score(reward, given)
            require(given == rollout, f"it changes its input: {brief(rollout)} became {brief(given)}; change a copy")

    def test_it_can_be_sent_to_another_process(self) -> None:
        reward = self.scoring()
        if not callable(reward):
            unchecked("it scores whole batches, in the trainer's process")
        try:
            sent = unpack(pack(reward))
        except CrossingError as error:
            raise AssertionError(
                f"it cannot be pickled: {error}. Define its class at the top of a module, and keep no open files, locks, models, "
                "compiled parsers or lambdas in it; load what it needs in `warm_up()` or when it is first called"
            ) from error
        for rollout in self.rollouts():
            here, there = _score(reward, rollout), _score(sent, rollout)
            require(_same(here, there), f"{brief(rollout.completion.text)} scores {here}, and {there} after pickling")

    def test_a_worker_process_gives_the_same_scores(self) -> None:
        reward, rollouts = self.scoring(), self.rollouts()
        for rollout, verdict in zip(rollouts, self.verdicts(rollouts), strict=True):
            expected = _score(reward, rollout)
            require(
                verdict.status in ("ok", "abstained") and _same(verdict.value, expected),
                f"{brief(rollout.completion.text)} scores {expected} here, and in a worker process {_told(verdict)}",
            )

    def test_hostile_text_gets_a_score_or_none_in_time(self) -> None:
        failed = [f"{name}: {_told(verdict)}" for name, verdict in self._hostile() if not _is_fine(verdict)]
        require(
            not failed,
            f"{len(failed)} of {len(hostile_texts())} hostile completions were not scored:\n  "
            + "\n  ".join(failed)
            + "\n"
            f"Abstain (return None) or score what cannot be read, and look at a bounded part of what is long: a completion may cost "
            f"{self.limits.cpu_seconds:g} s of processor time and {self.limits.memory_mb} MB. The texts are those of "
            "ponder.testing.hostile_texts()",
        )

    def test_strange_examples_do_not_break_it(self) -> None:
        example = self.rollouts()[0].example
        strange = [replace(example, answer=answer) for answer in _STRANGE_ANSWERS]
        strange += [replace(example, metadata={}), replace(example, prompt=""), replace(example, prompt=[])]
        completion = self.rollouts()[0].completion
        for given, verdict in zip(strange, self.verdicts([Rollout(e, completion, 0) for e in strange]), strict=True):
            require(
                _is_fine(verdict),
                f"with {brief(given)} it {_told(verdict)}; abstain (return None) where an example has not what it needs",
            )

    def test_it_takes_plain_prompts_and_chats(self) -> None:
        completions = [rollout.completion for rollout in self.rollouts()]
        for prompt in ("What is 2 + 2?", _CHAT.prompt):
            example = replace(self.rollouts()[0].example, prompt=prompt)
            for verdict in self.verdicts([Rollout(example, completion, 0) for completion in completions]):
                require(_is_fine(verdict), f"with the prompt {brief(prompt)} it {_told(verdict)}")

    def test_a_completion_that_was_cut_off_is_no_problem(self) -> None:
        cut = [
            replace(
                rollout,
                completion=replace(rollout.completion, text=rollout.completion.text[:7], finish_reason="length"),
            )
            for rollout in self.rollouts()
        ]
        for rollout, verdict in zip(cut, self.verdicts(cut), strict=True):
            require(_is_fine(verdict), f"the unfinished {brief(rollout.completion.text)} {_told(verdict)}")

    def test_without_an_answer_it_abstains_or_does_not_need_one(self) -> None:
        config = self.config()
        without = [replace(rollout, example=replace(rollout.example, answer=None)) for rollout in self.rollouts()]
        verdicts = self.verdicts(without)
        failed = next((verdict for verdict in verdicts if not _is_fine(verdict)), None)
        require(
            failed is None, f"for an example without an answer it {_told(failed) if failed else ''}; return None there"
        )
        if config.needs_answer:
            scored = next((verdict for verdict in verdicts if verdict.status == "ok"), None)
            require(
                scored is None,
                f"its options say needs_answer, and it {_told(scored) if scored else ''} where none is given",
            )
            return
        given = self.verdicts(self.rollouts())
        lost = [
            one for one, other in zip(given, verdicts, strict=True) if (one.status, other.status) == ("ok", "abstained")
        ]
        require(
            not lost,
            "it abstains where an example has no answer: write `needs_answer: ClassVar[bool] = True` in its options, so that a "
            "recipe with a task without answers is refused before it runs",
        )

    def test_no_score_is_outside_the_bounds(self) -> None:
        if self.bounds is None:
            unchecked("no bounds are given: write `bounds = (0.0, 1.0)` if its scores have such")
        low, high = self.bounds
        named = [
            *(
                (brief(r.completion.text), v)
                for r, v in zip(self.rollouts(), self.verdicts(self.rollouts()), strict=True)
            )
        ]
        for name, verdict in (*named, *self._hostile()):
            require(
                verdict.value is None or low <= verdict.value <= high,
                f"{name} scores {verdict.value}, which is not between {low:g} and {high:g}",
            )

    def rollouts(self) -> list[Rollout]:
        """The cases' examples and completions; common ones where no cases are given."""
        given: Sequence[Case] = self.cases or [(_CHAT, text, None) for text in _COMMON]
        return [
            Rollout(
                Example(example) if isinstance(example, str) else copy.deepcopy(example),
                Completion(completion) if isinstance(completion, str) else completion,
                group,
            )
            for group, (example, completion, _) in enumerate(given)
        ]

    def scoring(self) -> Any:
        """The reward, where it can score: not what asks a server that is not there, or would take this process with it."""
        reward = self.build()
        problem = self._problem(reward)
        if problem:
            unchecked(f"it cannot score here: {problem}")
        return reward

    def verdicts(self, rollouts: Sequence[Rollout]) -> list[Verdict]:
        """Scores from a worker process under the limits, as in a run; a reward of batches scores in this one."""
        reward = self.scoring()
        if not callable(reward):
            return _batch(reward, rollouts)
        return self._isolated(reward, rollouts)

    @classmethod
    def teardown_class(cls) -> None:
        """End the worker processes."""
        kept = cls.__dict__.get("_shared_pool")
        if kept is not None:
            kept[0].close()
        super().teardown_class()

    def _problem(self, reward: Any) -> str:
        """Why the reward cannot score in this process; empty where it can."""
        first = self.rollouts()[0]
        return self.shared("problem", lambda: self._harm(reward) if callable(reward) else _missing(reward, first))

    def _isolated(self, reward: Any, rollouts: Sequence[Rollout]) -> list[Verdict]:
        pool = self.shared("pool", lambda: self._pool(reward))
        return [row[0] for row in pool.score(rollouts)]

    def _harm(self, reward: Any) -> str:
        """What a call does from which only a process of its own can be saved; nothing of what cannot be sent to one."""
        with contextlib.suppress(AssertionError, InputError, StageError):
            for rollout in self.rollouts():
                (verdict,) = self._isolated(reward, [rollout])
                if verdict.status == "timeout" or verdict.problem.startswith("it ended its worker process"):
                    return f"for {brief(rollout.completion.text)} it {_told(verdict)}"
        return ""

    def _pool(self, reward: Any) -> WorkerPool:
        # Every text is to be tried, however many time out.
        limits = replace(self.limits, give_up_after=10**6)
        try:
            return WorkerPool({self.type: reward}, limits, self.registry().plugin_files)
        except InputError as error:
            raise AssertionError(str(error)) from error

    def _hostile(self) -> list[tuple[str, Verdict]]:
        def score() -> list[tuple[str, Verdict]]:
            example, texts = self.rollouts()[0].example, hostile_texts()
            rollouts = [Rollout(example, Completion(text), group) for group, text in enumerate(texts.values())]
            return list(zip(texts, self.verdicts(rollouts), strict=True))

        return self.shared("hostile", score)


def _missing(reward: Any, rollout: Rollout) -> str:
    """Why a reward of batches cannot score anything: a server that is not there, of which a StageError tells."""
    try:
        reward.score([rollout])
    except StageError as error:
        return str(error)
    except Exception:
        return ""
    return ""


def _score(reward: Any, rollout: Rollout) -> Any:
    try:
        if callable(reward):
            return reward(rollout.example, rollout.completion)
        (value,) = reward.score([rollout])
    except Exception as error:
        raise AssertionError(
            f"for {brief(rollout.completion.text)} it raises {described(error)}; return None to abstain"
        ) from error
    return value


def _batch(reward: Any, rollouts: Sequence[Rollout]) -> list[Verdict]:
    try:
        values = list(reward.score(rollouts))
    except Exception as error:
        raise AssertionError(
            f"a batch of {len(rollouts)} raises {described(error)}; abstain from single ones"
        ) from error
    require(len(values) == len(rollouts), f"`score` returned {len(values)} scores for {len(rollouts)} rollouts")
    return [Verdict(*judged(value)) for value in values]


def _is_fine(verdict: Verdict) -> bool:
    return verdict.status in ("ok", "abstained")


def _told(verdict: Verdict) -> str:
    """A verdict as the end of a sentence that begins with the reward."""
    if verdict.status == "ok":
        return f"scores {verdict.value}"
    if verdict.status == "abstained":
        return "abstains"
    last = (verdict.problem.strip().splitlines() or [""])[-1]
    return f"{'takes too long' if verdict.status == 'timeout' else 'fails'}: {last[:200]}"


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one == other) or (math.isnan(one) and math.isnan(other))
