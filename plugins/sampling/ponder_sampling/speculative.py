"""Self-speculative decoding: the policy guesses tokens ahead, and one pass of its model tells how many of them are right.

Leviathan et al. (2023) accept a guess so that the tokens follow the model's distribution. Here the coupling is by random numbers
instead: each token is drawn from the model's own logits by the number that its place in the stream has, a guess is drawn from
the module's logits by the same number, and it is right if it is that token (drafter-invariant decoding, Daliri et al. 2025).
So guesses change how many passes a text takes, never the text; module and model agree the more often, the more alike they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ponder.hf import DraftingDecoder
from ponder_sampling import SamplingConfig
from ponder_sampling.batch import LEAVING_SHARE
from ponder_sampling.completions import not_finite
from ponder_sampling.drawing import draw, uniforms


@dataclass(slots=True)
class Guesses:
    """How often the policy guessed, and how often it was right."""

    made: int = 0
    right: int = 0


def decode_ahead(
    decoder: DraftingDecoder, logits: Tensor, rows: SpeculativeRows, options: SamplingConfig
) -> Iterator[None]:
    """Decode `rows` from the logits [rows, vocab] after their prompts; yields after each pass of the model."""

    def choose(logits: Tensor, number: int) -> Tensor:
        return draw(logits, uniforms(rows.keys, rows.drawn + number), options)[0]

    tokens, logprobs = rows.draw(logits[:, None], options)
    counts = rows.accept(tokens, tokens[:, :0])
    while True:
        staying = rows.record(tokens, logprobs, counts)
        yield
        if staying is not None:
            if not len(staying):
                return
            decoder.select(staying)
        guesses = decoder.draft(rows.newest, choose)
        logits = decoder.verify(torch.cat((rows.newest[:, None], guesses), dim=1))
        tokens, logprobs = rows.draw(logits, options)
        counts = rows.accept(tokens, guesses)
        decoder.keep(counts)


@dataclass(slots=True)
class SpeculativeRows:
    """The rows still being decoded, each at its own place, and what all rows of the chunk have said so far."""

    rows: Tensor
    """[kept]: which rows of the chunk are being decoded."""
    open: Tensor
    """[kept], bool: those of them that have not ended."""
    keys: Tensor
    """[kept]: their random streams."""
    limits: Tensor
    """[kept]: how many tokens each may have."""
    newest: Tensor
    """[kept]: its last token."""
    eos: int
    tokens: Tensor
    """[rows of the chunk, steps]; what stands behind a row's tokens means nothing."""
    logprobs: Tensor
    """[rows of the chunk, steps]."""
    lengths: Tensor
    """[rows of the chunk]: how many tokens each has."""
    guesses: Guesses

    @classmethod
    def start(cls, keys: Tensor, limits: Tensor, eos: int, depth: int, guesses: Guesses) -> SpeculativeRows:
        """For completions of at most `limits` [rows] tokens, `depth` of which are guessed at a time."""
        count, steps = len(keys), int(limits.max()) + depth + 1
        return cls(
            rows=torch.arange(count, device=keys.device),
            open=torch.ones(count, dtype=torch.bool, device=keys.device),
            keys=keys,
            limits=limits,
            newest=torch.zeros_like(limits),
            eos=eos,
            tokens=torch.full((count, steps), eos, device=keys.device),
            logprobs=torch.zeros(count, steps, device=keys.device),
            lengths=torch.zeros_like(limits),
            guesses=guesses,
        )

    @property
    def drawn(self) -> Tensor:
        """[kept]: how many tokens each of the rows being decoded has."""
        return self.lengths[self.rows]

    def draw(self, logits: Tensor, options: SamplingConfig) -> tuple[Tensor, Tensor]:
        """Each row's next tokens and their log-probabilities, [kept, new], from logits [kept, new, vocab]."""
        numbers = uniforms(self.keys[:, None], self._places(logits.shape[1]))
        tokens, logprobs = draw(logits.flatten(0, 1), numbers.flatten(), options)
        return tokens.view(numbers.shape), logprobs.view(numbers.shape)

    def accept(self, tokens: Tensor, guesses: Tensor) -> Tensor:
        """How many of `tokens` [kept, new] count, [kept]: those behind right `guesses` [kept, new - 1], up to the row's end."""
        right = (tokens[:, :-1] == guesses).cumprod(1).sum(1)
        is_end = tokens == self.eos
        up_to_end = torch.where(is_end.any(1), is_end.int().argmax(1) + 1, tokens.shape[1])
        counts = torch.minimum(torch.minimum(right + 1, up_to_end), self.limits - self.drawn)
        return torch.where(self.open, counts, 0)

    def record(self, tokens: Tensor, logprobs: Tensor, counts: Tensor) -> Tensor | None:
        """Write down the first `counts` of each row's tokens; returns which rows [kept] stay if it is time for others to leave.

        The one synchronisation of a pass with the device.
        """
        places, rows = self._places(tokens.shape[1]), self.rows[:, None]
        self.tokens[rows, places] = tokens
        self.logprobs[rows, places] = logprobs
        self.lengths[self.rows] += counts
        self.newest = torch.where(self.open, tokens.gather(1, (counts - 1).clamp_(min=0)[:, None])[:, 0], self.newest)
        were_open = self.open
        self.open = were_open & (self.newest != self.eos) & (self.drawn < self.limits)
        numbers = torch.stack((were_open.sum(), counts.sum(), self.open.sum(), logprobs.isfinite().all()))
        guessing, drawn, going_on, is_finite = numbers.tolist()
        if not is_finite:
            raise not_finite()
        self.guesses.made += guessing * (tokens.shape[1] - 1)
        self.guesses.right += drawn - guessing
        return self._keep_open_rows() if (len(self.rows) - going_on) * LEAVING_SHARE >= len(self.rows) else None

    def _places(self, new: int) -> Tensor:
        return self.drawn[:, None] + torch.arange(new, device=self.rows.device)

    def _keep_open_rows(self) -> Tensor:
        staying = self.open.nonzero().squeeze(1)
        for name in ("rows", "open", "keys", "limits", "newest"):
            setattr(self, name, getattr(self, name)[staying])
        return staying
