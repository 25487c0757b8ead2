"""The sampler `fast`: one prefill for all completions of a prompt, and a batch that shrinks as completions end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ponder import Policy
from ponder.errors import InputError
from ponder.hf import Decoder, DraftingDecoder
from ponder_sampling import FastConfig
from ponder_sampling.batch import Batch
from ponder_sampling.chunks import ChunkedSampler, Draws
from ponder_sampling.completions import sampling_mode
from ponder_sampling.drawing import draw, uniforms
from ponder_sampling.prompts import PromptTokens
from ponder_sampling.recording import Recorder, recording
from ponder_sampling.speculative import Guesses, SpeculativeRows, decode_ahead
from ponder_sampling.transformers_decoder import TransformersDecoder

SPECULATIVE_ROWS = 16
"""Up to so many completions at once, a pass of the model takes hardly longer for a few tokens a row than for one."""
GUESS_COST = 1 / 8
"""What guessing may cost, as a share of a pass of the model: above, it is no gain at the acceptance of a small model."""


class Drawn(NamedTuple):
    """What the rows of a chunk have said so far."""

    tokens: Tensor
    """[rows, steps]."""
    logprobs: Tensor
    """[rows, steps]."""
    first: int
    """How many tokens the first row has."""


class FastSampler(ChunkedSampler):
    """Draws completions in this process, with the policy's own decoder or one over a transformers cache."""

    def __init__(self, config: FastConfig) -> None:
        super().__init__(config, config.max_rows)
        self._fast = config
        self._guesses = Guesses()

    def statistics(self) -> dict[str, float]:
        """Numbers about what was drawn since the last call: `draft_acceptance`, the share of guessed tokens that were right."""
        guesses, self._guesses = self._guesses, Guesses()
        return {"draft_acceptance": guesses.right / guesses.made} if guesses.made else {}

    def draw_rows(self, policy: Policy, prompts: Sequence[PromptTokens], keys: Tensor) -> Draws:
        """One completion for each of `prompts`, with what is to be recorded of it."""
        with recording(policy, prompts, self._fast) as recorder:
            [drawn] = deque(self._decode(policy, prompts, keys, recorder), maxlen=1)
        return Draws(drawn.tokens, drawn.logprobs, recorder)

    def draw_steps(self, policy: Policy, prompt: PromptTokens, keys: Tensor) -> Iterator[tuple[int, float]]:
        """The same of a single completion, a token at a time."""
        decoding, told = self._decode(policy, [prompt], keys, Recorder()), 0
        while True:
            with sampling_mode(policy.model):
                drawn = next(decoding, None)
            if drawn is None:
                return
            for step in range(told, drawn.first):
                yield int(drawn.tokens[0, step]), float(drawn.logprobs[0, step])
            told = drawn.first

    def _decode(
        self, policy: Policy, prompts: Sequence[PromptTokens], keys: Tensor, recorder: Recorder
    ) -> Iterator[Drawn]:
        """What there is after each pass of the model."""
        # What is recorded is recorded of one token a pass.
        wanted = False if recorder.is_asked else self._fast.speculative
        drafting = _drafting_decoder(policy, wanted, len(prompts))
        if drafting is None:
            return self._decode_singly(policy, prompts, keys, recorder)
        return self._decode_ahead(drafting, policy, prompts, keys)

    def _decode_singly(
        self, policy: Policy, prompts: Sequence[PromptTokens], keys: Tensor, recorder: Recorder
    ) -> Iterator[Drawn]:
        device = policy.model.device
        limits = torch.tensor([prompt.room for prompt in prompts])
        batch = Batch.start(keys.to(device), limits.to(device), policy.tokenizer.eos_token_id)
        decoder = _decoder(policy)
        logits = _prefill(decoder, prompts, policy.tokenizer.pad_token_id, device)
        recorder.note_prompts()
        for step in range(int(limits.max())):
            tokens, logprobs = draw(logits, uniforms(batch.keys, step), self.config)
            recorder.note_draw(batch.rows, logits, tokens)
            staying = batch.record(step, tokens, logprobs)
            yield Drawn(batch.tokens, batch.logprobs, step + 1)
            if staying is not None:
                if not len(staying):
                    break
                decoder.select(staying)
                tokens = tokens[staying]
            logits = decoder.step(tokens)
            recorder.note_read(batch.rows)

    def _decode_ahead(
        self, decoder: DraftingDecoder, policy: Policy, prompts: Sequence[PromptTokens], keys: Tensor
    ) -> Iterator[Drawn]:
        device, eos = policy.model.device, policy.tokenizer.eos_token_id
        limits = torch.tensor([prompt.room for prompt in prompts], device=device)
        rows = SpeculativeRows.start(keys.to(device), limits, eos, decoder.depth, self._guesses)
        logits = _prefill(decoder, prompts, policy.tokenizer.pad_token_id, device, decoder.depth)
        for _ in decode_ahead(decoder, logits, rows, self.config):
            yield Drawn(rows.tokens, rows.logprobs, int(rows.lengths[0]))


def _decoder(policy: Policy) -> Decoder:
    own = getattr(policy, "decoder", None)
    decoder: Decoder | None = own() if own else None
    return TransformersDecoder(policy.model) if decoder is None else decoder


def _drafting_decoder(policy: Policy, speculative: bool | None, rows: int) -> DraftingDecoder | None:
    """What guesses ahead, if anything is to."""
    if speculative is False or (speculative is None and rows > SPECULATIVE_ROWS):
        return None
    own = getattr(policy, "drafting_decoder", None)
    decoder: DraftingDecoder | None = own() if own else None
    if decoder is None and speculative:
        raise InputError(
            "speculative: true, but the policy has no modules for multi-token prediction to guess with: pre-train it with them "
            "(policy `deepseek`, mtp_depth: 1), or leave `speculative` out, which uses them where they are"
        )
    return None if decoder and speculative is None and decoder.cost > GUESS_COST else decoder


def _prefill(
    decoder: Decoder, prompts: Sequence[PromptTokens], pad: int, device: torch.device, beyond: int = 0
) -> Tensor:
    """Read each different prompt once; logits [rows, vocab] for the first token of every row. `beyond` tokens may be guessed."""
    places = {token_ids: place for place, token_ids in enumerate(dict.fromkeys(p.token_ids for p in prompts))}
    longest = max(len(token_ids) for token_ids in places)
    padded = [list(token_ids) + [pad] * (longest - len(token_ids)) for token_ids in places]
    lengths = torch.tensor([len(token_ids) for token_ids in places], device=device)
    capacity = max(prompt.room for prompt in prompts) + beyond
    logits = decoder.prefill(torch.tensor(padded, device=device), lengths, capacity)
    rows = torch.tensor([places[prompt.token_ids] for prompt in prompts], device=device)
    decoder.select(rows)
    return logits[rows]
