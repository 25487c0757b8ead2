"""A weighted sum of named rewards, with the breakdown kept."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard, cast

from ponder.components import RewardConfig
from ponder.confinement import MISSING, Tier, available_tier
from ponder.errors import InputError, PonderError, StageError
from ponder.interfaces import BatchReward, Reward
from ponder.metrics import statistics_of
from ponder.nursery_main import judged
from ponder.scopes import TASK_KEY, scoped_batch_reward, scoped_reward
from ponder.suggestions import shown
from ponder.types import Example, Rollout
from ponder.workers import Limits, Verdict, WorkerPool

__all__ = ["Limits", "NamedReward", "Rubric", "Score"]

_FAILURES = ("timeout", "error")
_LAST_LINES = 6
_CONFINED = (
    "\n(A reward that scores one sample may not write, start processes or use the network, and may read little more than Python "
    "modules: open files in its `warm_up`, or make it a BatchReward.)"
)
_logger = logging.getLogger("ponder")


@dataclass(frozen=True, slots=True)
class NamedReward:
    """A reward as a recipe has it: under a name, with a weight, made from these options."""

    name: str
    weight: float
    reward: Reward | BatchReward
    config: RewardConfig = field(default_factory=RewardConfig)


@dataclass(frozen=True, slots=True)
class Score:
    """What the rewards said about one rollout."""

    total: float | None
    """The weighted sum over the rewards that did not abstain; None when all did."""
    parts: Mapping[str, float | None]
    """Each reward's own score, not yet weighted; None where it abstained, failed or took too long."""
    statuses: Mapping[str, str]
    """For each reward "ok", "abstained", "timeout" or "error"."""


class Rubric:
    """Scores rollouts with all its rewards. A context manager: leaving it ends the worker processes.

    A reward that scores one sample runs in worker processes under `limits`; a BatchReward (it has `score` and is not itself
    callable) runs in this process. The workers are confined as far as the machine can (`tier`): they may neither write nor reach
    the network, and read little more than Python modules, so a reward opens what else it needs in its `warm_up`. A reward that fails or takes too long on a sample abstains there, is counted, and its
    first problem is shown through `say`. A reward may have a method `warm_up()`: it is called once, before any sample is
    timed, in the process that the workers are copies of. Weights count as they are: a total is not divided by their sum.
    """

    def __init__(
        self,
        rewards: Sequence[NamedReward],
        *,
        limits: Limits | None = None,
        plugin_files: Sequence[Path] = (),
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.names = tuple(reward.name for reward in rewards)
        if len(set(self.names)) != len(self.names):
            raise InputError(f"two rewards of one rubric have the same name: {', '.join(self.names)}")
        self._rewards = tuple(rewards)
        self.tier: Tier = available_tier()
        """How far this machine lets the processes that score be confined."""
        self._say = say or _logger.warning
        limits = limits or Limits()
        singles = {
            named.name: scoped_reward(cast(Reward, named.reward), named.config.tasks)
            for named in rewards
            if not _is_batch(named.reward)
        }
        _check_confinement([named for named in rewards if named.name in singles], self.tier)
        self._pool = WorkerPool(singles, limits, plugin_files)
        self._singles = tuple(singles)
        self._health = {reward.name: _Health() for reward in rewards}
        self._give_up_after = limits.give_up_after
        if singles and self.tier < Tier.FILES:
            self._say(f"rewards are scored without {MISSING[Tier(self.tier + 1)]}")
        self._background: ThreadPoolExecutor | None = None

    def __enter__(self) -> Rubric:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def rewards(self) -> tuple[NamedReward, ...]:
        """The rewards in order, with their options."""
        return self._rewards

    def check(self, examples: Sequence[Example], task: str) -> None:
        """Raise InputError when a reward compares with reference answers and no example of the task has one.

        The same when a reward is for a part of a mixture that no example is from.
        """
        if not examples:
            return
        self._check_scopes(examples, task)
        if any(example.answer is not None for example in examples):
            return
        needing = [reward.name for reward in self._rewards if getattr(reward.config, "needs_answer", False)]
        if needing:
            raise InputError(
                f"reward {needing[0]!r} compares with a reference answer, but none of the {len(examples)} examples of task "
                f"{task!r} has one: give its examples an answer, or take the reward out of this stage"
            )

    def _check_scopes(self, examples: Sequence[Example], task: str) -> None:
        have = {str(example.metadata[TASK_KEY]) for example in examples if TASK_KEY in example.metadata}
        for reward in self._rewards:
            absent = [name for name in reward.config.tasks if name not in have]
            if absent:
                raise InputError(
                    f"reward {reward.name!r} is for the part {absent[0]!r} of a mixture, but no example of task {task!r} is "
                    f"from such a part; parts: {', '.join(sorted(have)) or 'none'}"
                )

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """The scores of the rollouts, in order.

        Raises StageError when a reward failed on every rollout of the batch, since training on would be training without it.
        """
        verdicts = self._verdicts(rollouts)
        for reward in self._rewards:
            self._watch(reward, verdicts[reward.name])
            self._tell_unreadable(reward, rollouts, verdicts[reward.name])
        return [self._combined({name: verdicts[name][row] for name in self.names}) for row in range(len(rollouts))]

    def submit(self, rollouts: Sequence[Rollout]) -> Future[list[Score]]:
        """Begin to score and return at once; `result()` waits for what `score` would return. Batches go one by one."""
        if self._background is None:
            self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ponder-rubric")
        return self._background.submit(self.score, rollouts)

    def metrics(self, scores: Sequence[Score]) -> dict[str, float]:
        """Means of the total and of each reward over what was scored, and counts of time-outs, errors and unscored rollouts."""
        totals = [score.total for score in scores if score.total is not None]
        metrics = {"reward": _mean(totals)} if totals else {}
        for name in self.names:
            parts = [part for score in scores if (part := score.parts[name]) is not None]
            if parts:
                metrics[f"rewards/{name}"] = _mean(parts)
            for failure in _FAILURES:
                metrics[f"rewards/{name}/{failure}"] = float(sum(score.statuses[name] == failure for score in scores))
        return {**metrics, "unscored": float(len(scores) - len(totals))}

    def statistics(self) -> dict[str, float]:
        """What the rewards that run in this process say about their work since they were last asked; see `BatchReward`."""
        return {
            f"rewards/{named.name}/{name}": value
            for named in self._rewards
            if _is_batch(named.reward)
            for name, value in statistics_of(named.reward).items()
        }

    def close(self) -> None:
        """End the worker processes."""
        if self._background:
            self._background.shutdown(cancel_futures=True)
            self._background = None
        self._pool.close()

    def _verdicts(self, rollouts: Sequence[Rollout]) -> dict[str, list[Verdict]]:
        rows = self._pool.score(rollouts)
        found = {name: [row[place] for row in rows] for place, name in enumerate(self._singles)}
        for named in self._rewards:
            if _is_batch(named.reward):
                found[named.name] = _batch_verdicts(named, rollouts)
        return found

    def _combined(self, verdicts: Mapping[str, Verdict]) -> Score:
        parts = {name: verdict.value for name, verdict in verdicts.items()}
        weighted = [reward.weight * part for reward in self._rewards if (part := parts[reward.name]) is not None]
        statuses = {name: verdict.status for name, verdict in verdicts.items()}
        return Score(sum(weighted) if weighted else None, parts, statuses)

    def _watch(self, reward: NamedReward, verdicts: Sequence[Verdict]) -> None:
        """Show a reward's first problem; stop when it fails on everything.

        A reward that has worked before is given up only after a row of failures, so that a few hostile completions which
        make up a small batch do not end a run.
        """
        health = self._health[reward.name]
        failed = [verdict for verdict in verdicts if verdict.status in _FAILURES]
        if failed and not health.problem:
            health.problem = _printable(failed[0].problem)
            hint = _CONFINED if "\nPermissionError" in health.problem and not _is_batch(reward.reward) else ""
            self._say(f"reward {reward.name!r} ({_origin(reward.reward)}) {_what(failed[0])}: {health.problem}{hint}")
        if len(failed) < len(verdicts):
            health.worked, health.failures = True, 0
        health.failures += len(failed)
        if verdicts and len(failed) == len(verdicts) and not (health.worked and health.failures < self._give_up_after):
            raise StageError(_nothing_scored(reward, verdicts))

    def _tell_unreadable(self, reward: NamedReward, rollouts: Sequence[Rollout], verdicts: Sequence[Verdict]) -> None:
        """Say, once in a run, that a reward abstains on examples whose answers it should compare with."""
        health, tasks = self._health[reward.name], reward.config.tasks
        if health.is_unreadable_told or not getattr(reward.config, "needs_answer", False):
            return
        answers = [
            rollout.example.answer
            for rollout, verdict in zip(rollouts, verdicts, strict=True)
            if verdict.status == "abstained"
            and rollout.example.answer is not None
            and (not tasks or rollout.example.metadata.get(TASK_KEY) in tasks)
        ]
        if answers:
            health.is_unreadable_told = True
            self._say(
                f"reward {reward.name!r} abstains where it cannot read the reference answer: on {len(set(answers))} of this batch's "
                f"answers, the first is {shown(answers[0])}; such examples are not learnt from"
            )


@dataclass(slots=True)
class _Health:
    worked: bool = False
    failures: int = 0
    """Since it last worked."""
    problem: str = ""
    is_unreadable_told: bool = False


def _check_confinement(rewards: Sequence[NamedReward], tier: Tier) -> None:
    for named in rewards:
        wanted = Tier.NONE if named.config.confinement == "any" else Tier[named.config.confinement.upper()]
        if wanted > tier:
            raise InputError(
                f"reward {named.name!r} is to be scored with confinement {named.config.confinement!r}, which this machine lacks: "
                f"{MISSING[Tier(tier + 1)]}. Run it elsewhere, or ask for less"
            )


def _is_batch(reward: Reward | BatchReward) -> TypeGuard[BatchReward]:
    return not callable(reward)


def _batch_verdicts(named: NamedReward, rollouts: Sequence[Rollout]) -> list[Verdict]:
    assert _is_batch(named.reward)
    if not rollouts:
        return []
    try:
        values = list(scoped_batch_reward(named.reward, named.config.tasks).score(rollouts))
    except PonderError:
        raise
    except Exception:
        return [Verdict("error", problem=traceback.format_exc())] * len(rollouts)
    if len(values) != len(rollouts):
        raise StageError(
            f"reward {named.name!r} ({_origin(named.reward)}) returned {len(values)} scores for {len(rollouts)} rollouts: "
            "`score` must return one number or None for each"
        )
    return [Verdict(*judged(value)) for value in values]


def _nothing_scored(reward: NamedReward, verdicts: Sequence[Verdict]) -> str:
    timeouts = sum(verdict.status == "timeout" for verdict in verdicts)
    hint = " (what takes long to load should load with its module, or in its `warm_up`)" if timeouts else ""
    last = "\n".join(_printable(verdicts[0].problem).splitlines()[-_LAST_LINES:])
    return (
        f"reward {reward.name!r} ({_origin(reward.reward)}) scored none of the {len(verdicts)} rollouts of a batch: "
        f"{timeouts} time-outs{hint}, {len(verdicts) - timeouts} errors. Mend the reward or take it out of the stage; the same "
        f"command then continues. The first problem was:\n{last}"
    )


def _what(verdict: Verdict) -> str:
    return "took too long" if verdict.status == "timeout" else "failed"


def _origin(reward: Any) -> str:
    """The plugin a reward is from: the file it was loaded from when it is no installed package, else its full name."""
    named = reward if hasattr(reward, "__qualname__") else type(reward)
    package = named.__module__.partition(".")[0]
    file = getattr(sys.modules.get(named.__module__), "__file__", None)
    installed = "." in named.__module__ or package in sys.stdlib_module_names or file is None
    return f"{named.__module__}.{named.__qualname__}" if installed else f"{named.__qualname__} in {file}"


def _printable(text: str) -> str:
    """The text without what could steer a terminal."""
    return re.sub(r"[^\n\t -~\u00a0-\ud7ff\ue000-\U0010ffff]", "\ufffd", text).strip()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
