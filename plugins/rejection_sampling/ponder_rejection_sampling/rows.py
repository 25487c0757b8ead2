"""The rows of `data.jsonl`: what was said, and where it is from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ponder import Example, Sampler
from ponder.errors import InputError
from ponder.text import question_language

if TYPE_CHECKING:
    from ponder.context import StageContext
    from ponder_rejection_sampling import RejectionSamplingConfig
    from ponder_rejection_sampling.candidates import Candidate

Row: TypeAlias = dict[str, Any]

_OWN_COLUMNS: Final = ("prompt", "answer", "response", "provenance")


Source: TypeAlias = Mapping[str, str | None]
"""Where completions come from: the policy's name, and the fingerprint of the stage that made it, if a stage did; or the name of a
sampler with a model of its own, and what it says of that."""


def source_of(context: StageContext, config: RejectionSamplingConfig, sampler: Sampler) -> Source:
    """The policy: what an earlier stage made, or a policy as it begins; or else the sampler's own model."""
    if config.policy is None:
        return {"sampler": config.sampler, **getattr(sampler, "source", {})}
    try:
        return {"policy": config.policy, "fingerprint": context.stage(config.policy).fingerprint}
    except InputError:
        return {"policy": config.policy, "fingerprint": None}


def kept_row(candidate: Candidate, source: Source, seed: int) -> Row:
    """The row of a completion that is kept; the example's own metadata become columns."""
    example, drawn = candidate.example, candidate.drawn
    return {
        "prompt": example.prompt,
        "answer": example.answer,
        "response": candidate.response,
        **_metadata(example),
        "language": question_language(example),
        "provenance": {
            **source,
            "prompt_id": prompt_id(example),
            "sample": candidate.sample,
            "seed": seed,
            "scores": dict(drawn.scores),
            "tokens": drawn.tokens,
        },
    }


def appended_rows(context: StageContext, names: Sequence[str]) -> list[Row]:
    """The examples of these tasks as rows, as they are.

    Raises InputError when one has no examples, or some of them neither a `response` in their metadata nor an answer.
    """
    return [row for name in names for row in _rows_of(context, name)]


def prompt_id(example: Example) -> str:
    """The first 12 hexadecimal digits of a digest of the prompt."""
    canonical = json.dumps(example.prompt, default=dict, sort_keys=True)
    return hashlib.blake2b(canonical.encode("ascii"), digest_size=6).hexdigest()


def _rows_of(context: StageContext, name: str) -> Iterator[Row]:
    examples = list(context.task(name).examples())
    if not examples:
        raise InputError(f"stage {context.name!r}: task {name!r} in `also` has no examples; take it out, or mend it")
    silent = [number for number, example in enumerate(examples) if not _response(example)]
    if silent:
        raise InputError(
            f"stage {context.name!r}: {len(silent):,} of the {len(examples):,} examples of task {name!r} in `also` have neither "
            f"a `response` nor an answer, so there is nothing to learn from them; the first is example {silent[0]:,}"
        )
    for example in examples:
        yield {
            "prompt": example.prompt,
            "answer": example.answer,
            "response": _response(example),
            **_metadata(example),
            "provenance": {"task": name, "prompt_id": prompt_id(example)},
        }


def _response(example: Example) -> str | None:
    response = example.metadata.get("response")
    return response if isinstance(response, str) else example.answer


def _metadata(example: Example) -> Row:
    return {name: value for name, value in example.metadata.items() if name not in _OWN_COLUMNS}
