"""Incremental decoding of any transformers causal language model, for policies without a decoder of their own."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersDecoder:
    """A `Decoder` over a transformers cache.

    Prompts are kept left-padded: all rows then grow at the same end, the last column holds every row's newest token, and the
    distance between two cache slots is the distance between their positions, which sliding windows rely on.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._one_logit = _takes_logits_to_keep(model)
        self._cache = _reserved_cache(model, 0)
        self._mask = torch.empty(0)
        self._positions = torch.empty(0)
        self._padded = False

    def prefill(self, input_ids: Tensor, lengths: Tensor, capacity: int) -> Tensor:
        """Read prompts [rows, longest], right-padded, of `lengths` [rows]; returns logits [rows, vocab] after each."""
        longest = input_ids.shape[1]
        columns = torch.arange(longest, device=input_ids.device)
        pads = (longest - lengths)[:, None]
        left_padded = input_ids.gather(1, (columns - pads) % longest)
        self._cache = _reserved_cache(self._model, longest + capacity)
        self._mask = torch.ones(len(input_ids), longest + capacity, dtype=torch.int64, device=input_ids.device)
        self._mask[:, :longest] = columns >= pads
        self._positions = lengths.clone()
        self._padded = bool((lengths < longest).any())
        return self._forward(left_padded, (columns - pads).clamp_(min=0))

    def select(self, rows: Tensor) -> None:
        """Keep these rows [kept] of the cache, in this order, repeats allowed."""
        self._cache.reorder_cache(rows)
        self._mask = self._mask[rows]
        self._positions = self._positions[rows]
        self._padded = not bool(self._mask[:, 0].all())

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to each row: [rows] -> logits [rows, vocab]."""
        positions = self._positions[:, None]
        self._positions = self._positions + 1
        return self._forward(tokens[:, None], positions)

    def _forward(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        seen = self._cache.get_seq_length() + input_ids.shape[1]
        output = self._model(
            input_ids=input_ids,
            attention_mask=self._mask[:, :seen] if self._padded else None,
            position_ids=position_ids,
            past_key_values=self._cache,
            use_cache=True,
            **({"logits_to_keep": 1} if self._one_logit else {}),
        )
        return output.logits[:, -1]


def _takes_logits_to_keep(model: PreTrainedModel) -> bool:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters


def _reserved_cache(model: PreTrainedModel, slots: int) -> DynamicCache:
    """The cache that the model asks for, with room set aside for `slots` tokens where it keeps all of them."""
    cache = DynamicCache(config=model.config)
    cache.layers = [_ReservedLayer(slots) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _ReservedLayer(DynamicLayer):
    """A dynamic layer that writes new tokens in place; transformers' own copies the whole layer at every step."""

    keys: Tensor
    """[rows, heads, tokens so far, width], a view of what is reserved."""
    values: Tensor
    """The same."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._all_keys, self._all_values = self._reserve(key_states), self._reserve(value_states)
            start = 0
        else:
            start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        self._all_keys[:, :, start:end] = key_states
        self._all_values[:, :, start:end] = value_states
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._all_keys, self.keys = self._rearrange(self._all_keys, self.keys, beam_idx)
        self._all_values, self.values = self._rearrange(self._all_values, self.values, beam_idx)

    def _reserve(self, states: Tensor) -> Tensor:
        rows, heads, _, width = states.shape
        return states.new_empty(rows, heads, self._slots, width)

    def _rearrange(self, reserved: Tensor, seen: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        chosen = seen.index_select(0, rows)
        reserved = reserved[: len(rows)] if len(rows) <= len(reserved) else self._reserve(chosen)
        reserved[:, :, : chosen.shape[2]] = chosen
        return reserved, reserved[:, :, : chosen.shape[2]]
