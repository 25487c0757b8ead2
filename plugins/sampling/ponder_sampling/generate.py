"""The sampler `generate`: transformers' own generation, with our draws in place of its global random state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel, StoppingCriteria

from ponder import Policy
from ponder_sampling import GenerateConfig, SamplingConfig
from ponder_sampling.chunks import ChunkedSampler, Draws
from ponder_sampling.completions import not_finite, sampling_mode
from ponder_sampling.drawing import draw, uniforms
from ponder_sampling.prompts import PromptTokens
from ponder_sampling.streaming import Tell, in_background

Note: TypeAlias = Callable[[Tensor, Tensor], None]
"""Told the tokens [rows] and log-probabilities [rows] of each step."""


class GenerateSampler(ChunkedSampler):
    """Draws completions with `model.generate` on left-padded batches; same draws as `fast` for the same seed."""

    def __init__(self, config: GenerateConfig) -> None:
        super().__init__(config, config.batch_size)

    def draw_rows(self, policy: Policy, prompts: Sequence[PromptTokens], keys: Tensor) -> Draws:
        """One completion for each of `prompts`."""
        logprobs: list[Tensor] = []
        tokens = self._generate(policy, prompts, keys, lambda tokens, values: logprobs.append(values))
        return Draws(tokens, torch.stack(logprobs, 1))

    def draw_steps(self, policy: Policy, prompt: PromptTokens, keys: Tensor) -> Iterator[tuple[int, float]]:
        """The same of a single completion, a token at a time, while `model.generate` runs in a thread."""

        def generate(tell: Tell[tuple[int, float]]) -> None:
            with sampling_mode(policy.model):
                self._generate(policy, [prompt], keys, lambda tokens, values: tell((int(tokens[0]), float(values[0]))))

        yield from in_background(generate)

    def _generate(self, policy: Policy, prompts: Sequence[PromptTokens], keys: Tensor, note: Note) -> Tensor:
        pad, eos, device = policy.tokenizer.pad_token_id, policy.tokenizer.eos_token_id, policy.model.device
        longest = max(len(prompt.token_ids) for prompt in prompts)
        pads = [longest - len(prompt.token_ids) for prompt in prompts]
        input_ids = [[pad] * count + list(p.token_ids) for count, p in zip(pads, prompts, strict=True)]
        rooms = torch.tensor([prompt.room for prompt in prompts], device=device)
        with _bare_generation(policy.model):
            sequences = policy.model.generate(
                input_ids=torch.tensor(input_ids, device=device),
                attention_mask=(
                    torch.arange(longest, device=device) >= torch.tensor(pads, device=device)[:, None]
                ).long(),
                generation_config=GenerationConfig(
                    do_sample=False,
                    max_new_tokens=int(rooms.max()),
                    eos_token_id=eos,
                    pad_token_id=pad,
                    use_cache=True,
                ),
                logits_processor=[_Draws(keys.to(device), self.config, longest, note)],
                stopping_criteria=[_ContextEnds(longest + rooms)],
            )
        return sequences[:, longest:]


class _Draws(LogitsProcessor):
    """Draws each row's token itself and leaves greedy search no other choice.

    So the randomness is counter-based, and the log-probabilities are kept without keeping the logits.
    """

    def __init__(self, keys: Tensor, options: SamplingConfig, prompt_length: int, note: Note) -> None:
        self._keys = keys
        self._options = options
        self._prompt_length = prompt_length
        self._note = note

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self._prompt_length
        tokens, logprobs = draw(scores, uniforms(self._keys, step), self._options)
        if not bool(logprobs.isfinite().all()):
            raise not_finite()
        self._note(tokens, logprobs)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


class _ContextEnds(StoppingCriteria):
    """Ends each row at its own length, prompt and padding included."""

    def __init__(self, lengths: Tensor) -> None:
        self._lengths = lengths

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        return input_ids.shape[1] >= self._lengths


@contextmanager
def _bare_generation(model: PreTrainedModel) -> Iterator[None]:
    """Take out what the model's generation config would add (a repetition penalty, say) and switch its cache on; put both back.

    Such additions would make the text one of another policy than the log-probabilities; trainers leave `use_cache` off.
    """
    # An adapter's `generate` hands its generation config down to the model inside.
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = [(part, part.generation_config) for part in (model, inner)]
    use_cache = model.config.use_cache
    try:
        model.config.use_cache = True
        for part, _ in before:
            part.generation_config = GenerationConfig()
        yield
    finally:
        model.config.use_cache = use_cache
        for part, generation_config in before:
            part.generation_config = generation_config
