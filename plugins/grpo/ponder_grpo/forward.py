"""The model-facing part: log-probabilities of completions, with the forward pass of a prompt shared by its group.

The prompts run once, keeping their graph. Their key/value cache and the logits after their last token become leaves, on which
completions run in micro-batches that backpropagate one by one. What gathers in the leaves goes through the prompts at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from ponder.hf import token_logprobs
from ponder.hf_routing import pad_routing
from ponder.interfaces import Policy
from ponder_grpo.experts import Experts
from ponder_grpo.rows import pad

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the sampler recorded of some completions, in their order; None for what it did not, or what is not asked for."""

    experts: Sequence[Tensor] | None = None
    """For each [tokens, layers, chosen]: of the prompt and the completion but its last token."""
    kept: Tensor | None = None
    """[rows, longest, most]: the tokens that probabilities are among, -1 where there are fewer."""


class PromptPass(Protocol):
    """Prompts that a model has read, ready to score completions."""

    def logprobs(
        self, prompts: Sequence[int], completions: Sequence[Sequence[int]], recorded: Recorded = ...
    ) -> Tensor:
        """Log-probabilities [rows, longest], nats, 0 behind a completion's end; row i answers prompt `prompts[i]`.

        Only a pass that was read in the usual way is given what was recorded.
        """
        ...

    def backward(self) -> None:
        """Pass on to the weights what the completions' backward passes have left at the prompts."""
        ...


PromptReader: TypeAlias = Callable[..., PromptPass]
"""Reads prompts (token ids, none empty) at a temperature; `recorded` are the experts [tokens, layers, chosen] of each, if known."""

NOTHING = Recorded()


def reader_of(policy: Policy, experts: Experts | None = None) -> PromptReader:
    """The policy's own `read_prompts`, if it knows a faster way to score completions, or the one that fits any causal LM."""
    own: PromptReader | None = getattr(policy, "read_prompts", None)
    return own or partial(read_prompts, policy.model, experts=experts)


def read_prompts(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    temperature: float,
    *,
    experts: Experts | None = None,
    recorded: Sequence[Tensor] | None = None,
) -> PromptPass:
    """Read prompts once for all their completions, or row by row if the model's cache is not plain tensors."""
    if can_share_prompts(model):
        return SharedPrompts(model, prompts, temperature, experts, recorded)
    return PlainPrompts(model, prompts, temperature, experts)


def policy_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    temperature: float = 1.0,
) -> Tensor:
    """Log-probabilities [rows, longest], nats, of `completions` after the prompts of the same index, in one piece."""
    return read_prompts(model, prompts, temperature).logprobs(range(len(prompts)), completions)


def can_share_prompts(model: PreTrainedModel) -> bool:
    """Whether the model's cache holds one pair of tensors for each layer that can be repeated to rows."""
    if model.training and getattr(model, "is_activation_checkpointing", False):
        return False
    cache = DynamicCache(config=model.config)
    return bool(cache.layers) and all(type(layer) is DynamicLayer for layer in cache.layers)


class SharedPrompts:
    """One forward pass for prompts; completions attend to its cache."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        temperature: float,
        experts: Experts | None = None,
        recorded: Sequence[Tensor] | None = None,
    ) -> None:
        self._model = model
        self._temperature = temperature
        self._experts = experts
        tokens, self._mask = pad(prompts, model.device)
        self._lengths = self._mask.sum(1)
        cache = DynamicCache(config=model.config)
        # Behind a prompt's end stands padding, which causality already hides from it: no mask, and the fast kernel.
        with _watched(experts, self._mask, recorded):
            output = model(
                input_ids=tokens,
                position_ids=torch.arange(tokens.shape[1], device=model.device)[None].expand(len(prompts), -1),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=self._lengths[:, None] - 1,
            )
        self._made = [output.logits[:, 0], *(state for layer in cache.layers for state in (layer.keys, layer.values))]
        self._leaves = [state.detach().requires_grad_(state.requires_grad) for state in self._made]

    def logprobs(
        self, prompts: Sequence[int], completions: Sequence[Sequence[int]], recorded: Recorded = NOTHING
    ) -> Tensor:
        """See `PromptPass`."""
        tokens, mask = pad(completions, self._model.device)
        rows = torch.as_tensor(prompts, device=self._model.device)
        filled = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
        if tokens.shape[1] == 0:
            return filled
        kept = recorded.kept
        first_kept = None if kept is None else kept[:, 0]
        first = token_logprobs(self._leaves[0][rows], tokens[:, 0], self._temperature, first_kept)
        filled = torch.where(mask[:, :1], first[:, None], 0.0)
        if tokens.shape[1] == 1:
            return filled
        return torch.cat([filled, self._later_logprobs(rows, tokens, mask, recorded)], dim=1)

    def backward(self) -> None:
        """See `PromptPass`."""
        reached = [
            (made, leaf.grad) for made, leaf in zip(self._made, self._leaves, strict=True) if leaf.grad is not None
        ]
        if reached:
            torch.autograd.backward([made for made, _ in reached], [gradient for _, gradient in reached])

    def _later_logprobs(self, rows: Tensor, tokens: Tensor, mask: Tensor, recorded: Recorded) -> Tensor:
        """Those of every completion's tokens but the first: each is predicted by the completion token before it."""
        predicts = mask[:, 1:]
        with _watched(self._experts, predicts, self._behind_prompts(rows, recorded.experts)):
            output = self._model(
                input_ids=tokens[:, :-1],
                attention_mask=torch.cat([self._mask[rows], predicts], dim=1),
                position_ids=self._lengths[rows, None] + torch.arange(predicts.shape[1], device=tokens.device),
                past_key_values=self._repeated(rows),
                use_cache=True,
                logits_to_keep=predicts,
            )
        kept = None if recorded.kept is None else recorded.kept[:, 1:][predicts]
        scored = token_logprobs(output.logits, tokens[:, 1:][predicts], self._temperature, kept)
        return scored.new_zeros(predicts.shape).masked_scatter(predicts, scored)

    def _behind_prompts(self, rows: Tensor, experts: Sequence[Tensor] | None) -> list[Tensor] | None:
        lengths = self._lengths[rows].tolist()
        return None if experts is None else [of[length:] for of, length in zip(experts, lengths, strict=True)]

    def _repeated(self, rows: Tensor) -> DynamicCache:
        cache = DynamicCache(config=self._model.config)
        states = iter(self._leaves[1:])
        for layer, keys, values in zip(cache.layers, states, states, strict=True):
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys[rows], values[rows]
        return cache


class PlainPrompts:
    """The whole sequence of every row: for models whose cache cannot be shared, and to compare with."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        temperature: float,
        experts: Experts | None = None,
    ) -> None:
        self._model = model
        self._temperature = temperature
        self._prompts = prompts
        self._experts = experts

    def logprobs(
        self, prompts: Sequence[int], completions: Sequence[Sequence[int]], recorded: Recorded = NOTHING
    ) -> Tensor:
        """See `PromptPass`."""
        device = self._model.device
        sequences = [
            [*self._prompts[index], *completion] for index, completion in zip(prompts, completions, strict=True)
        ]
        tokens, mask = pad(sequences, device)
        targets, counted = pad(completions, device)
        before = torch.tensor([len(self._prompts[index]) for index in prompts], device=device)[:, None]
        places = torch.arange(tokens.shape[1], device=device)
        predicts = (places >= before - 1) & (places < mask.sum(1, keepdim=True) - 1)
        with _watched(self._experts, mask, recorded.experts):
            output = self._model(
                input_ids=tokens,
                attention_mask=mask.long(),
                position_ids=places[None].expand(len(sequences), -1),
                use_cache=False,
                logits_to_keep=predicts,
            )
        kept = None if recorded.kept is None else recorded.kept[counted]
        scored = token_logprobs(output.logits, targets[counted], self._temperature, kept)
        return scored.new_zeros(counted.shape).masked_scatter(counted, scored)

    def backward(self) -> None:
        """Nothing is left to do: each row's backward pass went through its own prompt."""


def _watched(experts: Experts | None, mask: Tensor, recorded: Sequence[Tensor] | None) -> AbstractContextManager[None]:
    """Around a forward pass on tokens of which those in `mask` [rows, length] are real."""
    if experts is None:
        return nullcontext()
    return experts.forward(mask, None if recorded is None else pad_routing(recorded, mask.shape[1]))
