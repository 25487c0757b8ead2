"""Policy `causal_lm`: any causal language model of transformers, pretrained or new, whole, with adapters, or quantised below them."""

from __future__ import annotations

from collections.abc import Iterator

from ponder import Component, Policy, hookimpl, lazy
from ponder_causal_lm.config import CausalLMConfig as CausalLMConfig


@hookimpl
def ponder_policies() -> Iterator[Component[Policy]]:
    """The policy of this plugin."""
    yield Component("causal_lm", CausalLMConfig, lazy("ponder_causal_lm.policy:CausalLMPolicy"))
