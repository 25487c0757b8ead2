"""Samplers that ask a model of their own: which stages take them, and what these stages do without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, Final

from ponder.components import Kind
from ponder.entries import Entry

_NO_OPTION: Final = object()


def policies_amiss(entries: Mapping[Kind, Mapping[str, Entry]]) -> Iterator[tuple[str, str]]:
    """For each stage whose policy and sampler do not go together, the stage and what is wrong.

    A stage whose option `policy` may be left out takes a sampler with a model of its own in its place; one that needs its policy
    takes no such sampler.
    """
    for stage in entries["stage"].values():
        for reference in stage.references:
            if reference.kind == "sampler":
                sampler = entries["sampler"][reference.name]
                fault = _fault(stage, sampler)
                if fault:
                    yield stage.name, fault


def has_own_model(config: Any) -> bool:
    """Whether a sampler with these options, or of this type of options, asks a model of its own."""
    return bool(getattr(config, "own_model", False))


def is_policy_to_draw_from(option: Field[Any]) -> bool:
    """Whether an option names the policy that only a sampler with a model of its own can stand in for."""
    return option.name == "policy" and option.metadata.get("ref") == "policy"


def takes_own_models(config: type) -> bool:
    """Whether a stage with these options does without a policy when its sampler has a model of its own."""
    return any(is_policy_to_draw_from(option) and option.metadata["default"] is None for option in fields(config))


def _fault(stage: Entry, sampler: Entry) -> str:
    default = next(
        (field.metadata.get("default") for field in fields(stage.config) if field.name == "policy"), _NO_OPTION
    )
    policy, named = getattr(stage.config, "policy", None), f"sampler '{sampler.name}' ({sampler.type})"
    if default is _NO_OPTION:
        return ""
    if not has_own_model(sampler.config):
        return "" if policy else f"names no policy, and {named} draws from one; add `policy: NAME`"
    if default is MISSING:
        return (
            f"learns from what its policy says, and {named} asks another model; take a sampler that draws from the policy, "
            "or let a stage such as rejection_sampling write its answers down and learn from those"
        )
    return (
        f"names policy '{policy}', which {named} would not ask, since it has a model of its own; leave one of them out"
        if policy
        else ""
    )
