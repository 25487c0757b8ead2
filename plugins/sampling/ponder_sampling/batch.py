"""The rows of a chunk that are still being decoded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ponder_sampling.completions import not_finite

LEAVING_SHARE = 8
"""Finished rows leave when they are at least one in this many: copying the cache then costs less than decoding them on."""


@dataclass(slots=True)
class Batch:
    """The rows still being decoded, and what all rows of the chunk have said so far."""

    rows: Tensor
    """[kept]: which rows of the chunk are being decoded."""
    open: Tensor
    """[kept], bool: those of them that have not ended."""
    keys: Tensor
    """[kept]: their random streams."""
    limits: Tensor
    """[kept]: how many tokens each may have."""
    deadline: int
    """The smallest of the limits: a row must not be decoded beyond its own."""
    eos: int
    tokens: Tensor
    """[rows of the chunk, steps]."""
    logprobs: Tensor
    """[rows of the chunk, steps]."""

    @classmethod
    def start(cls, keys: Tensor, limits: Tensor, eos: int) -> Batch:
        rows, steps = len(keys), int(limits.max())
        return cls(
            rows=torch.arange(rows, device=keys.device),
            open=torch.ones(rows, dtype=torch.bool, device=keys.device),
            keys=keys,
            limits=limits,
            deadline=int(limits.min()),
            eos=eos,
            tokens=torch.full((rows, steps), eos, device=keys.device),
            logprobs=torch.zeros(rows, steps, device=keys.device),
        )

    def record(self, step: int, tokens: Tensor, logprobs: Tensor) -> Tensor | None:
        """Write down a step's tokens; returns which rows [kept] stay when it is time for others to leave, None when it isn't.

        The one synchronisation of a step with the device.
        """
        self.tokens[self.rows, step] = tokens
        self.logprobs[self.rows, step] = logprobs
        self.open &= (tokens != self.eos) & (self.limits > step + 1)
        count, is_finite = torch.stack((self.open.sum(), logprobs.isfinite().all())).tolist()
        if not is_finite:
            raise not_finite()
        finished = len(self.rows) - count
        if finished * LEAVING_SHARE < len(self.rows) and step + 1 < self.deadline:
            return None
        return self._keep_open_rows()

    def _keep_open_rows(self) -> Tensor:
        staying = self.open.nonzero().squeeze(1)
        self.rows, self.keys, self.limits = self.rows[staying], self.keys[staying], self.limits[staying]
        self.open = self.open[staying]
        self.deadline = int(self.limits.min()) if len(staying) else 0
        return staying
