"""Answers a second: our `accuracy`, in confined worker processes, beside TRL's `accuracy_reward`, in this process, on the same rows.

By kind of answer (integers, fractions, polynomials) and on a mix of equal parts. Both score each set in turn, and medians of the turns
are compared, so that what else the machine does touches both. Half of the answers are right. TRL's needs math-verify's own time limits,
which are on as they are in its trainer.

    python benchmarks/accuracy.py --rows 150 --repeats 3
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import time
from collections.abc import Callable, Sequence

from trl.rewards import accuracy_reward

from ponder import Completion, Example, Rollout
from ponder.rubric import Limits, NamedReward, Rubric
from ponder_rewards import AccuracyConfig
from ponder_rewards.accuracy import Accuracy

Row = tuple[str, str]


def integers(draw: random.Random) -> Row:
    """A reference and an equal integer."""
    value = draw.randint(-9999, 9999)
    return str(value), str(value)


def fractions(draw: random.Random) -> Row:
    """A reference and an equal fraction, not reduced."""
    above, below, times = draw.randint(1, 99), draw.randint(2, 99), draw.randint(2, 5)
    return rf"\frac{{{above}}}{{{below}}}", rf"\frac{{{times * above}}}{{{times * below}}}"


def polynomials(draw: random.Random) -> Row:
    """A product and what it is multiplied out."""
    a, b, c = (draw.randint(1, 12) for _ in range(3))
    return f"({a}x+{b})(x+{c})", f"{a}x^2+{a * c + b}x+{b * c}"


def others(draw: random.Random) -> Row:
    """What only the algebra behind both can compare."""
    a, b = draw.randint(2, 12), draw.randint(2, 9)
    return rf"{a}\sqrt{{{b}}}+\pi", rf"\pi+\sqrt{{{a * a * b}}}"


KINDS: dict[str, Callable[[random.Random], Row]] = {
    "integers": integers,
    "fractions": fractions,
    "polynomials": polynomials,
    "others": others,
}


def rows(kind: str, count: int) -> list[Row]:
    """Half of the answers right, half off by one."""
    draw = random.Random(kind)
    pairs = [KINDS[kind](draw) for _ in range(count)]
    return [(gold, answer if place % 2 else f"{answer}+1") for place, (gold, answer) in enumerate(pairs)]


def response(answer: str) -> str:
    """A short response with the answer in a box."""
    return f"<think>Let me see. {'So it goes. ' * 40}</think> The answer is $\\boxed{{{answer}}}$."


def seconds(
    score: Callable[[Sequence[Row]], list[float | None]], of: Sequence[Row]
) -> tuple[float, list[float | None]]:
    """How long scoring takes on the clock, and the scores."""
    began = time.perf_counter()
    scores = score(of)
    return time.perf_counter() - began, scores


def trl(of: Sequence[Row]) -> list[float | None]:
    """TRL's reward."""
    completions = [[{"role": "assistant", "content": response(answer)}] for _, answer in of]
    return list(accuracy_reward(completions, [f"${gold}$" for gold, _ in of]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=150, help="of each kind (default: 150)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    sets = {kind: rows(kind, arguments.rows) for kind in KINDS}
    sets["mix"] = [row for triple in zip(*(sets[kind] for kind in list(KINDS)[:3]), strict=True) for row in triple]
    rewards = [NamedReward("accuracy", 1.0, Accuracy(AccuracyConfig()), AccuracyConfig())]
    with Rubric(rewards, limits=Limits(workers=arguments.workers)) as rubric:

        def ours(of: Sequence[Row]) -> list[float | None]:
            rollouts = [Rollout(Example("q", gold), Completion(response(answer)), 0) for gold, answer in of]
            return [score.total for score in rubric.score(rollouts)]

        ours(sets["mix"][:4])
        trl(sets["mix"][:4])
        for kind, of in sets.items():
            turns = [(seconds(trl, of), seconds(ours, of)) for _ in range(arguments.repeats)]
            theirs, mine = (statistics.median(turn[which][0] for turn in turns) for which in (0, 1))
            same = sum(one == other for one, other in zip(turns[0][0][1], turns[0][1][1], strict=True))
            print(
                f"{kind:>12}: TRL {len(of) / theirs:7.0f}/s, ours {len(of) / mine:7.0f}/s, "
                f"{theirs / mine:6.2f} times as fast; the same verdict on {same} of {len(of)}"
            )


if __name__ == "__main__":
    main()
