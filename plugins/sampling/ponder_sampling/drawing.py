"""Random numbers that depend only on what they are for, and the choice of a token by them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ponder.randomness import derive_seed
from ponder_sampling import SamplingConfig

NUCLEUS_GUESS = 64
"""Tokens looked at first for a nucleus; only when they hold too little probability is the whole vocabulary sorted."""

# SplitMix64 (Steele, Lea and Flood 2014), its constants as signed 64-bit numbers.
_INCREMENT = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def row_keys(seed: int, rows: Iterable[tuple[int, int]]) -> Tensor:
    """The random streams [rows] of completions, each given as (example index, sample index)."""
    return torch.tensor([derive_seed(seed, example, sample) for example, sample in rows], dtype=torch.int64)


def uniforms(keys: Tensor, position: int | Tensor) -> Tensor:
    """Uniform float64 numbers in [0, 1), one for each stream of `keys` [rows], at `position`, one or [rows], of the streams.

    Counter-based: number t of a stream is SplitMix64's output t, reached without the ones before it.
    """
    bits = keys + (torch.as_tensor(position, device=keys.device) + 1) * _INCREMENT
    bits = (bits ^ _shifted(bits, 30)) * _MIX_1
    bits = (bits ^ _shifted(bits, 27)) * _MIX_2
    bits = bits ^ _shifted(bits, 31)
    return _shifted(bits, 11).double() * 2.0**-53


def _shifted(bits: Tensor, count: int) -> Tensor:
    # torch shifts signed numbers arithmetically; the mask makes it a logical shift.
    return (bits >> count) & ((1 << (64 - count)) - 1)


def draw(logits: Tensor, numbers: Tensor, options: SamplingConfig) -> tuple[Tensor, Tensor]:
    """Choose a token for each row of `logits` [rows, vocab] by its uniform number [rows].

    Returns the tokens [rows] and their log-probabilities [rows]: float32, in nats, under the untruncated softmax at the
    sampling temperature (at temperature 1 when it is 0). A row whose logits are not finite gets a non-finite one.
    """
    scaled = logits.float() if options.temperature in (0.0, 1.0) else logits.float() / options.temperature
    logprobs = scaled.log_softmax(-1)
    if options.temperature == 0:
        tokens = logprobs.argmax(-1)
    else:
        tokens = _inverse_cdf(truncate(logprobs.exp(), options), numbers)
    return tokens, logprobs.gather(1, tokens[:, None]).squeeze(1)


def _inverse_cdf(weights: Tensor, numbers: Tensor) -> Tensor:
    # In float64 the sum over a large vocabulary stays exact enough for its rarest tokens.
    cumulative = weights.double().cumsum_(-1)
    targets = numbers[:, None] * cumulative[:, -1:]
    # "right" passes over tokens of weight zero; the clamp only matters to rows of NaN, which the callers refuse.
    return torch.searchsorted(cumulative, targets, right=True).squeeze(1).clamp_(max=weights.shape[-1] - 1)


def truncate(probabilities: Tensor, options: SamplingConfig) -> Tensor:
    """The probabilities [rows, vocab] with all but the top-k, and of these all but the top-p, set to zero; not renormalised."""
    vocabulary = probabilities.shape[-1]
    kept = min(options.top_k or vocabulary, vocabulary)
    if options.top_p < 1:
        return _nucleus(probabilities, kept, options.top_p)
    if kept < vocabulary:
        values, tokens = probabilities.topk(kept)
        return torch.zeros_like(probabilities).scatter_(1, tokens, values)
    return probabilities


def _nucleus(probabilities: Tensor, kept: int, top_p: float) -> Tensor:
    has_top_k = kept < probabilities.shape[-1]
    guess = kept if has_top_k else min(kept, NUCLEUS_GUESS)
    values, tokens = probabilities.topk(guess)
    if guess < kept and bool((values.sum(-1) < top_p).any()):
        values, tokens = probabilities.topk(kept)
    total = values.sum(-1, keepdim=True) if has_top_k else 1.0
    before = values.cumsum(-1) - values
    return torch.zeros_like(probabilities).scatter_(1, tokens, values * (before < top_p * total))
