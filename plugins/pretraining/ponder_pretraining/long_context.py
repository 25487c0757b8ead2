"""What a longer context is worth: perplexity by position, and needles found in a haystack."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ponder.hf import token_logprobs
from ponder.hf_pretraining import IGNORED, NO_DOCUMENT, TokenBatch
from ponder.randomness import derive_seed

KEY: Final = 4
"""Tokens that announce a needle, and ask for it at the end."""
NEEDLE: Final = 4
"""Tokens that are to be found."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A policy at one moment."""

    perplexity: Sequence[float]
    """Of the tokens of each stretch of positions."""
    needles: Sequence[Sequence[float]]
    """Share of needles found, for each length and depth."""
    needle_logprobs: Sequence[Sequence[float]]
    """Mean log-probability of a needle's tokens, in nats."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The same texts for every measurement; a function of the documents and of a seed."""

    rows: Sequence[TokenBatch]
    """Packed rows, one by one, of the longest length."""
    width: int
    """Positions of a stretch."""
    lengths: Sequence[int]
    """Lengths in which needles are hidden."""
    depths: Sequence[float]
    """Where in the text, from 0, its beginning, to 1."""
    samples: int
    seed: int

    def measure(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Measurement:
        """Perplexity and needles of the model as it is."""
        was_training = model.training
        model.eval()
        with torch.inference_mode():
            perplexity = perplexity_by_position(model, self.rows, self.width)
            found = [
                [self._needles(model, tokenizer, length, depth) for depth in self.depths] for length in self.lengths
            ]
        model.train(was_training)
        shares, logprobs = ([[cell[place] for cell in row] for row in found] for place in (0, 1))
        return Measurement(perplexity, shares, logprobs)

    def _needles(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, length: int, depth: float
    ) -> tuple[float, float]:
        """The share of needles found at this length and depth, and the mean log-probability of their tokens."""
        found, logprob = 0, 0.0
        for sample in range(self.samples):
            rng = random.Random(derive_seed(self.seed, "needle", length, round(1000 * depth), sample))
            text = hide_needle(self._haystack(sample, length), needle_tokens(tokenizer, rng), length, depth)
            is_found, nats = find_needle(model, text)
            found += is_found
            logprob += nats
        return found / self.samples, logprob / self.samples

    def _haystack(self, sample: int, length: int) -> list[int]:
        """Documents to hide a needle in, beginning at another row for each sample, repeated if there are too few."""
        start = sample % len(self.rows)
        ordered = [*self.rows[start:], *self.rows[:start]]
        tokens = itertools.chain.from_iterable(row.inputs[row.documents.ne(NO_DOCUMENT)].tolist() for row in ordered)
        return list(itertools.islice(itertools.cycle(tokens), length))


def perplexity_by_position(model: PreTrainedModel, rows: Sequence[TokenBatch], width: int) -> list[float]:
    """Perplexity of the tokens predicted at positions 0 to width - 1, width to 2 width - 1, and so on."""
    stretches = -(-rows[0].inputs.shape[1] // width)
    nats, counts = torch.zeros(stretches, dtype=torch.float64), torch.zeros(stretches, dtype=torch.float64)
    for row in rows:
        inputs, labels = row.inputs.to(model.device), row.labels.to(model.device)
        logprobs = token_logprobs(model(input_ids=inputs, use_cache=False).logits, labels.clamp(min=0))
        counted = labels.ne(IGNORED)
        place = (torch.arange(inputs.shape[1]) // width).expand_as(row.inputs)[counted.cpu()]
        nats.index_add_(0, place, -logprobs[counted].double().cpu())
        counts.index_add_(0, place, torch.ones(len(place), dtype=torch.float64))
    # A stretch that holds nothing but padding has no perplexity.
    return [math.exp(total / count) if count else math.nan for total, count in zip(nats, counts, strict=True)]


def needle_tokens(tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> list[int]:
    """A key and a needle drawn from the policy's own ordinary tokens, so that models of any size and language can be asked."""
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    ordinary = sorted({*tokenizer.get_vocab().values()} - special)
    return rng.sample(ordinary, KEY + NEEDLE)


def hide_needle(haystack: Sequence[int], needle: Sequence[int], length: int, depth: float) -> list[int]:
    """A text of `length` tokens: the haystack with key and needle at `depth`, then the key again, then the needle."""
    room = length - 2 * len(needle)
    place = round(depth * room)
    straw = list(haystack[:room])
    return [*straw[:place], *needle, *straw[place:], *needle]


def find_needle(model: PreTrainedModel, text: Sequence[int]) -> tuple[bool, float]:
    """Whether greedy decoding after the last key writes the needle, and the mean log-probability of its tokens in nats.

    One forward pass tells: decoding writes the needle exactly when each of its tokens is the likeliest after those before it.
    """
    tokens = torch.tensor([text], device=model.device)
    logits: Tensor = model(input_ids=tokens[:, :-1], use_cache=False, logits_to_keep=NEEDLE).logits[0, -NEEDLE:]
    needle = tokens[0, -NEEDLE:]
    return bool(logits.argmax(-1).eq(needle).all()), float(token_logprobs(logits, needle).mean())


def probed_lengths(original: int, longest: int) -> list[int]:
    """The original length, its doublings, and the longest, as far as they have room for a needle and a question."""
    lengths = [*_doublings(original, longest), longest]
    return [length for length in lengths if length > 2 * (KEY + NEEDLE)]


def _doublings(length: int, end: int) -> Iterator[int]:
    while length < end:
        yield length
        length *= 2


def mean(values: Sequence[Any]) -> float:
    """The mean of what is a number; not a number when nothing is."""
    numbers = [float(value) for value in values if math.isfinite(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan
