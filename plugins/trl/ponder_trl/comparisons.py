"""From a task to what a reward model learns from: pairs of responses, or responses with labels, as token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder import Example
from ponder.errors import InputError
from ponder.randomness import derive_seed, permutation
from ponder.text import readable_prompt
from ponder_trl.reward_configs import RewardModelConfig
from ponder_trl.shown import shown_part, shown_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses to one prompt, or one response with a label."""

    prompt: str
    """What the examples of one prompt have in common."""
    better: Sequence[int]
    """Token ids of the prompt with the chosen response, or with the labelled one."""
    worse: Sequence[int] = ()
    """Token ids of the prompt with the rejected response; empty for a labelled one."""
    label: float = 1.0
    """1 or 0, of a labelled response."""

    @property
    def tokens(self) -> int:
        """Tokens that the model reads."""
        return len(self.better) + len(self.worse)


@dataclass(frozen=True, slots=True)
class Comparisons:
    """What is trained on, what is measured with, and what was left out, in words with counts."""

    train: Sequence[Comparison]
    held_out: Sequence[Comparison]
    left_out: Mapping[str, int]


def check_rows(examples: Sequence[Example], config: RewardModelConfig) -> None:
    """Raise InputError for rows that are no comparisons, naming each problem with the numbers of its rows, from 1."""
    if not examples:
        raise InputError(f"task {config.task!r} has no examples to train a reward model on")
    problem_of = _pair_problem if config.kind == "pairwise" else _label_problem
    found: dict[str, list[int]] = {}
    for number, example in enumerate(examples, start=1):
        problem = problem_of(example)
        if problem:
            found.setdefault(problem, []).append(number)
    if not found and config.kind == "pointwise" and len({float(example.metadata["label"]) for example in examples}) < 2:
        found["have the same label, so that there is nothing to tell apart"] = list(range(1, len(examples) + 1))
    if found:
        lines = [f"{len(rows)} of {len(examples)} rows {problem}: {_rows(rows)}" for problem, rows in found.items()]
        columns = "`chosen` and `rejected`" if config.kind == "pairwise" else "`response` and `label`"
        raise InputError(
            f"task {config.task!r} cannot train a reward model with `kind: {config.kind}`, which reads the columns {columns}\n  "
            + "\n  ".join(lines)
        )


def make_comparisons(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, config: RewardModelConfig, limit: int, seed: int
) -> Comparisons:
    """The comparisons of checked rows, those that cannot be used left out, and a share of the rest held out.

    Raises:
        InputError: fewer than two comparisons are left, or those that are held out are all there is.
    """
    left_out: dict[str, int] = {}
    usable = list(_usable(examples, tokenizer, config, limit, left_out))
    if config.balance_lengths:
        balanced = balance_lengths(usable, seed)
        left_out["make one length of response win more often"] = len(usable) - len(balanced)
        usable = balanced
    if len(usable) < 2:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
        raise InputError(
            f"task {config.task!r}: {len(usable)} of {len(examples)} rows can be used, and a reward model needs at least two, "
            f"one to train on and one to measure with{' (' + reasons + ')' if reasons else ''}"
        )
    train, held_out = split_by_prompt(usable, config.held_out_share, seed)
    return Comparisons(train, held_out, {reason: count for reason, count in left_out.items() if count})


def length_bias(comparisons: Iterable[Comparison]) -> float | None:
    """The share of pairs whose chosen response is the longer one, among those of unequal length; None when there are none."""
    unequal = [pair for pair in comparisons if pair.worse and len(pair.better) != len(pair.worse)]
    return sum(len(pair.better) > len(pair.worse) for pair in unequal) / len(unequal) if unequal else None


def balance_lengths(pairs: Sequence[Comparison], seed: int) -> list[Comparison]:
    """The pairs without as many, drawn at random, as one of longer and shorter has more than the other; the order stays."""
    longer = [place for place, pair in enumerate(pairs) if len(pair.better) > len(pair.worse)]
    shorter = [place for place, pair in enumerate(pairs) if len(pair.better) < len(pair.worse)]
    more = max(longer, shorter, key=len)
    order = permutation(len(more), seed, "balance lengths")
    dropped = {more[index] for index in order[: abs(len(longer) - len(shorter))]}
    return [pair for place, pair in enumerate(pairs) if place not in dropped]


def split_by_prompt(
    comparisons: Sequence[Comparison], share: float, seed: int
) -> tuple[list[Comparison], list[Comparison]]:
    """What is trained on, and this share (at least one, never all) that is held out.

    Prompts are held out as a whole, at most one of them in part: a model must not be measured on what it has seen.
    """
    turn: Callable[[Comparison], int] = lambda comparison: derive_seed(seed, "held out", comparison.prompt)  # noqa: E731
    order = sorted(range(len(comparisons)), key=lambda place: (turn(comparisons[place]), place))
    count = min(max(1, round(share * len(comparisons))), len(comparisons) - 1)
    held_out = set(order[:count])
    return (
        [comparison for place, comparison in enumerate(comparisons) if place not in held_out],
        [comparison for place, comparison in enumerate(comparisons) if place in held_out],
    )


def _usable(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    config: RewardModelConfig,
    limit: int,
    left_out: dict[str, int],
) -> Iterable[Comparison]:
    for example in examples:
        parts = [shown_part(example, text, config.sees) for text in _texts(example, config)]
        tokens = [shown_tokens(tokenizer, example, part) for part in parts if part]
        if len(tokens) < len(parts):
            reason = "have a response without a summary, which is all the model sees"
        elif len(parts) == 2 and parts[0] == parts[1]:
            reason = "have responses that differ only in their reasoning, which the model does not see"
        elif max(map(len, tokens)) > limit:
            reason = f"are longer than {limit} tokens"
        else:
            label = float(example.metadata["label"]) if config.kind == "pointwise" else 1.0
            yield Comparison(readable_prompt(example.prompt), tokens[0], tokens[1] if len(tokens) > 1 else (), label)
            continue
        left_out[reason] = left_out.get(reason, 0) + 1


def _texts(example: Example, config: RewardModelConfig) -> list[str]:
    names = ("chosen", "rejected") if config.kind == "pairwise" else ("response",)
    return [example.metadata[name] for name in names]


def _pair_problem(example: Example) -> str | None:
    problem = _text_problem(example, "chosen") or _text_problem(example, "rejected")
    if problem is None and example.metadata["chosen"].strip() == example.metadata["rejected"].strip():
        return "have the same text as `chosen` and as `rejected`"
    return problem


def _label_problem(example: Example) -> str | None:
    problem = _text_problem(example, "response")
    if problem is None and example.metadata.get("label") not in (0, 1):
        return "have no `label` that is 1 (good) or 0 (bad)"
    return problem


def _text_problem(example: Example, column: str) -> str | None:
    if column not in example.metadata:
        return f"have no column `{column}`"
    text = example.metadata[column]
    if not isinstance(text, str):
        return f"have a `{column}` that is no text"
    return None if text.strip() else f"have an empty `{column}`"


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:SHOWN_ROWS])
    return f"row {shown}{' ...' if len(numbers) > SHOWN_ROWS else ''}"
