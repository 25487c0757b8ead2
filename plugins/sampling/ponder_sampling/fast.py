"""The sampler `fast`: one prefill for all completions of a prompt, and a batch that shrinks as completions end."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ponder import Policy
from ponder.hf import Decoder
from ponder_sampling import FastConfig
from ponder_sampling.chunks import ChunkedSampler, Draws
from ponder_sampling.completions import not_finite, sampling_mode
from ponder_sampling.drawing import draw, uniforms
from ponder_sampling.prompts import PromptTokens
from ponder_sampling.recording import Recorder, recording
from ponder_sampling.transformers_decoder import TransformersDecoder

LEAVING_SHARE = 8
"""Finished rows leave when they are at least one in this many: copying the cache then costs less than decoding them on."""


class FastSampler(ChunkedSampler):
    """Draws completions in this process, with the policy's own decoder or one over a transformers cache."""

    def __init__(self, config: FastConfig) -> None:
        super().__init__(config, config.max_rows)
        self._fast = config

    def draw_rows(self, policy: Policy, prompts: Sequence[PromptTokens], keys: Tensor) -> Draws:
        """One completion for each of `prompts`, with what is to be recorded of it."""
        with recording(policy, prompts, self._fast) as recorder:
            [batch] = deque(self._decode(policy, prompts, keys, recorder), maxlen=1)
        return Draws(batch.tokens, batch.logprobs, recorder)

    def draw_steps(self, policy: Policy, prompt: PromptTokens, keys: Tensor) -> Iterator[tuple[int, float]]:
        """The same of a single completion, a token at a time."""
        decoding = self._decode(policy, [prompt], keys, Recorder())
        for step in itertools.count():
            with sampling_mode(policy.model):
                batch = next(decoding, None)
            if batch is None:
                return
            yield int(batch.tokens[0, step]), float(batch.logprobs[0, step])

    def _decode(
        self, policy: Policy, prompts: Sequence[PromptTokens], keys: Tensor, recorder: Recorder
    ) -> Iterator[_Batch]:
        """The batch after each step."""
        device = policy.model.device
        limits = torch.tensor([prompt.room for prompt in prompts])
        batch = _Batch.start(keys.to(device), limits.to(device), policy.tokenizer.eos_token_id)
        decoder = _decoder(policy)
        logits = _prefill(decoder, prompts, policy.tokenizer.pad_token_id, device)
        recorder.note_prompts()
        for step in range(int(limits.max())):
            tokens, logprobs = draw(logits, uniforms(batch.keys, step), self.config)
            recorder.note_draw(batch.rows, logits, tokens)
            staying = batch.record(step, tokens, logprobs)
            yield batch
            if staying is not None:
                if not len(staying):
                    break
                decoder.select(staying)
                tokens = tokens[staying]
            logits = decoder.step(tokens)
            recorder.note_read(batch.rows)


def _decoder(policy: Policy) -> Decoder:
    own = getattr(policy, "decoder", None)
    return TransformersDecoder(policy.model) if own is None else own()


def _prefill(decoder: Decoder, prompts: Sequence[PromptTokens], pad: int, device: torch.device) -> Tensor:
    """Read each different prompt once; logits [rows, vocab] for the first token of every row."""
    places = {token_ids: place for place, token_ids in enumerate(dict.fromkeys(p.token_ids for p in prompts))}
    longest = max(len(token_ids) for token_ids in places)
    padded = [list(token_ids) + [pad] * (longest - len(token_ids)) for token_ids in places]
    lengths = torch.tensor([len(token_ids) for token_ids in places], device=device)
    capacity = max(prompt.room for prompt in prompts)
    logits = decoder.prefill(torch.tensor(padded, device=device), lengths, capacity)
    rows = torch.tensor([places[prompt.token_ids] for prompt in prompts], device=device)
    decoder.select(rows)
    return logits[rows]


@dataclass(slots=True)
class _Batch:
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
    def start(cls, keys: Tensor, limits: Tensor, eos: int) -> _Batch:
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
