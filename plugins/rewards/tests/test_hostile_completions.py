"""All per-sample rewards on completions that were written to break them: nothing crashes, hangs, or scores by it."""

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import pytest

import ponder_rewards
from ponder import Completion, Example, Rollout
from ponder.plugins import Registry
from ponder.rubric import Limits, NamedReward, Rubric, Score

LIMITS = Limits(workers=2, cpu_seconds=1.0, give_up_after=1000)
CANARY = Path("/tmp/hostile-canary")
GOOD = "<think>Two and two is four.</think> <answer>4</answer>"


def _texts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile_texts", Path(__file__).with_name("hostile_texts.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TEXTS = _texts()


def rewards() -> list[NamedReward]:
    """Every reward of the plugin that needs no options and scores one sample."""
    registry = Registry()
    registry.register(ponder_rewards, "rewards")
    found = []
    for name in ("accuracy", "format", "language_consistency"):
        component = registry.find("reward", name)
        config = component.config()
        found.append(NamedReward(name, 1.0, component.make(config), config))
    return found


def scored(texts: list[str]) -> list[Score]:
    rollouts = [Rollout(Example("2 + 2?", "4"), Completion(text), 0) for text in texts]
    with Rubric(rewards(), limits=LIMITS, say=lambda _: None) as rubric:
        return rubric.score(rollouts)


def test_the_set_is_large_and_has_no_repeats() -> None:
    assert len(set(TEXTS.hostile())) == len(TEXTS.hostile()) > 300


@pytest.mark.slow
def test_no_hostile_completion_crashes_hangs_or_is_called_right() -> None:
    # A fifth of them: benchmarks/hostile.py goes through all.
    attacks = TEXTS.hostile()[::5]
    scores = scored([text for attack in attacks for text in (attack, GOOD)])
    _are_sane(scores)
    # A neighbour is right whatever came before it.
    assert [score.parts["accuracy"] for score in scores[1::2]] == [1.0] * len(attacks)
    rewarded = [
        attack[:80] for attack, score in zip(attacks, scores[::2], strict=True) if score.parts["accuracy"] == 1.0
    ]
    assert rewarded == []
    assert not CANARY.exists()


def test_mutations_leave_every_score_finite_or_absent() -> None:
    _are_sane(scored(list(TEXTS.mutated(60, seed=1, longest=2_000))))
    assert not CANARY.exists()


def _are_sane(scores: list[Score]) -> None:
    statuses = {status for score in scores for status in score.statuses.values()}
    assert statuses <= {"ok", "abstained", "timeout"}
    assert all(part is None or math.isfinite(part) for score in scores for part in score.parts.values())
