"""Whether what is left is enough: an error with the whole funnel when it is nothing, a warning when it is little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ponder.errors import StageError

if TYPE_CHECKING:
    from ponder_rejection_sampling.funnel import Funnel, Step
    from ponder_rejection_sampling.selection import Selection

LOW_YIELD: Final = 0.05
_SHOWN: Final = 200

_REMEDIES: Final = {
    "finished": "give the sampler a larger max_new_tokens",
    "correct": "train the policy further, give it easier prompts, draw more completions of each, or lower correct_at",
    "format": "take `format` out of `filters` if the policy is not to write think tags",
    "mixed_language": "check `language`, or raise language_tolerance",
    "long_paragraphs": "raise paragraph_words",
    "code_blocks": "take `code_blocks` out of `filters`",
    "repetition": "raise repetition_share",
    "duplicates": "draw at a higher temperature",
    "rewritten": "set rewrite to none, or put `format` into `filters` to see what is malformed",
    "keep_per_prompt": "raise keep_per_prompt",
}


def check_yield(stage: str, selection: Selection) -> str | None:
    """A warning when less than LOW_YIELD of the completions are kept, else None; raises StageError when none is."""
    funnel = selection.funnel
    worst = max(funnel.tested(), key=lambda step: step.removed)
    if not funnel.kept:
        raise StageError(_nothing_kept(stage, selection, worst))
    if funnel.kept >= LOW_YIELD * funnel.sampled:
        return None
    return (
        f"stage {stage!r} keeps only {funnel.kept:,} of {funnel.sampled:,} completions ({funnel.kept / funnel.sampled:.1%}); "
        f"{worst.step} removed the most, {worst.removed:,}: {_REMEDIES[worst.step]}"
    )


def _nothing_kept(stage: str, selection: Selection, worst: Step) -> str:
    funnel = selection.funnel
    table = "\n".join(funnel.lines())
    return (
        f"stage {stage!r} keeps none of {funnel.sampled:,} completions of {funnel.prompts:,} prompts.\n{table}\n"
        f"{_blame(funnel, worst)}{_example(selection, worst)}\nAll completions are kept in the journal: the same command draws "
        "none of them again. With changed options the stage starts anew; what earlier stages made stays"
    )


def _blame(funnel: Funnel, worst: Step) -> str:
    last = next(step for step in funnel.tested() if step.removed and not step.kept)
    most = (
        f"{worst.step} removed the most, {worst.removed:,} of {worst.removed + worst.kept:,}: {_REMEDIES[worst.step]}."
    )
    if last.step == worst.step:
        return most
    return f"{most} {last.step} removed all {last.removed:,} that were left: {_REMEDIES[last.step]}."


def _example(selection: Selection, worst: Step) -> str:
    text = selection.first_removed.get(worst.step)
    return "" if text is None else f" The first response it removed: {text[:_SHOWN]!r}"
