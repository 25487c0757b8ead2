"""The gradient of one update, and log-probabilities without one: micro-batch by micro-batch, whatever the size of the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ponder.hf_routing import unpack_routing
from ponder.interfaces import Loss
from ponder.types import LossInputs
from ponder_grpo.forward import PromptPass, PromptReader, Recorded
from ponder_grpo.packing import micro_batches, prompt_chunks
from ponder_grpo.rows import Row, count_tokens, pad, pad_kept, pad_values


@dataclass(frozen=True, slots=True)
class BatchShape:
    """What the loss of a micro-batch is normalised by: counts of the whole update, rows that are not computed included."""

    rows: int
    tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class PassOptions:
    """How log-probabilities are computed."""

    temperature: float
    micro_batch_tokens: int
    importance_cap: float | None = None
    """See `GrpoConfig.importance_cap`; of use only where there is a gradient."""


def needs_gradient(row: Row, loss: Loss) -> bool:
    """Whether a row can move the weights: without a KL term, one whose advantage is 0 cannot.

    A loss that also learns from such rows says so with a true `needs_every_row` attribute.
    """
    every = getattr(loss, "needs_every_row", False) or needs_reference(loss)
    return len(row.completion) > 0 and (every or row.advantage != 0)


def needs_reference(loss: Loss) -> bool:
    """Whether the loss asks for the reference policy's log-probabilities."""
    return bool(getattr(loss, "needs_reference", False))


def accumulate_gradients(
    read: PromptReader, rows: Sequence[Row], loss: Loss, max_tokens: int, options: PassOptions
) -> dict[str, float]:
    """Add the gradient of the loss over `rows` to the parameters' and return the loss and its metrics.

    Neither depends on micro-batching, padding or the order of rows. `sampler_gap` is the mean distance, in nats, between the
    model's log-probabilities and the sampler's. With an importance cap the gradient of each token, that of a KL term included, is
    weighted, whatever the loss; `importance` is the mean weight and `importance_capped` the share of tokens that the cap holds down.
    """
    shape = BatchShape(len(rows), count_tokens(rows), max_tokens)
    learnt = [row for row in rows if needs_gradient(row, loss)]
    gap_tokens = count_tokens(learnt)
    totals: dict[str, Tensor] = {"loss": torch.zeros(())}
    for prompts, batch, places in _passes(read, learnt, options):
        inputs = _loss_inputs(_logprobs(prompts, batch, places), batch, shape, needs_reference(loss))
        weighted, importance = _weighted(inputs, batch, options.importance_cap, gap_tokens)
        output = loss(weighted)
        output.loss.backward()
        gap = _sampler_gap(inputs, batch, gap_tokens)
        shares = {"loss": output.loss.detach(), **output.metrics, **gap, **importance}
        totals = {name: totals.get(name, 0.0) + share for name, share in shares.items()}
    return {name: float(total) for name, total in totals.items()}


@torch.no_grad()
def completion_logprobs(read: PromptReader, rows: Sequence[Row], options: PassOptions) -> dict[int, Tensor]:
    """Log-probabilities [tokens] of each row's completion, by the row's index."""
    scored = {row.index: torch.zeros(0) for row in rows}
    for prompts, batch, places in _passes(read, [row for row in rows if row.completion], options):
        logprobs = _logprobs(prompts, batch, places)
        for row, values in zip(batch, logprobs, strict=True):
            scored[row.index] = values[: len(row.completion)].clone()
    return scored


def _passes(
    read: PromptReader, rows: Sequence[Row], options: PassOptions
) -> Iterator[tuple[PromptPass, list[Row], list[int]]]:
    """Every micro-batch with the pass that read its prompts and its rows' places in it; finishes each pass's backward."""
    budget = options.micro_batch_tokens
    for chunk in prompt_chunks(rows, budget):
        place_of = {group: place for place, group in enumerate(dict.fromkeys(row.group for row in chunk))}
        first_of = {row.group: row for row in reversed(chunk)}
        prompts = _read(read, [first_of[group] for group in place_of], options.temperature)
        for indices in micro_batches([len(row.completion) for row in chunk], budget):
            batch = [chunk[index] for index in indices]
            yield prompts, batch, [place_of[row.group] for row in batch]
        prompts.backward()


def _read(read: PromptReader, rows: Sequence[Row], temperature: float) -> PromptPass:
    """The pass over the prompts of rows; a policy's own reader is not asked to know of recorded experts."""
    prompts = [row.prompt for row in rows]
    experts = _experts(rows)
    if experts is None:
        return read(prompts, temperature)
    recorded = [of[: len(prompt)] for of, prompt in zip(experts, prompts, strict=True)]
    return read(prompts, temperature, recorded=recorded)


def _logprobs(prompts: PromptPass, batch: Sequence[Row], places: Sequence[int]) -> Tensor:
    completions = [row.completion for row in batch]
    kept = [row.kept for row in batch if row.kept is not None]
    experts = _experts(batch)
    if experts is None and not kept:
        return prompts.logprobs(places, completions)
    longest = max(map(len, completions))
    return prompts.logprobs(places, completions, Recorded(experts, pad_kept(kept, longest) if kept else None))


def _experts(rows: Sequence[Row]) -> list[Tensor] | None:
    """The experts that were recorded; None when they were not of each of the rows."""
    experts = [unpack_routing(row.routing) for row in rows if row.routing is not None]
    return experts if len(experts) == len(rows) else None


def _loss_inputs(logprobs: Tensor, batch: Sequence[Row], shape: BatchShape, with_reference: bool) -> LossInputs:
    _, mask = pad([row.completion for row in batch], logprobs.device)
    old = [row.old_logprobs for row in batch if row.old_logprobs is not None]
    old_logprobs = pad_values(old, mask) if old else logprobs.detach()
    reference = [row.reference_logprobs for row in batch if row.reference_logprobs is not None]
    return LossInputs(
        logprobs=logprobs,
        old_logprobs=old_logprobs,
        reference_logprobs=(pad_values(reference, mask) if reference else old_logprobs) if with_reference else None,
        advantages=torch.tensor([row.advantage for row in batch], dtype=torch.float32, device=logprobs.device),
        mask=mask,
        batch_rows=shape.rows,
        batch_tokens=shape.tokens,
        max_tokens=shape.max_tokens,
    )


def _sampler_gap(inputs: LossInputs, batch: Sequence[Row], tokens: int) -> dict[str, Tensor]:
    sampled = [torch.tensor(row.sampled_logprobs) for row in batch if row.sampled_logprobs is not None]
    if len(sampled) < len(batch):
        return {}
    distance = (inputs.logprobs.detach() - pad_values(sampled, inputs.mask)).abs()
    return {"sampler_gap": torch.where(inputs.mask, distance, 0.0).sum() / tokens}


def _weighted(
    inputs: LossInputs, batch: Sequence[Row], cap: float | None, tokens: int
) -> tuple[LossInputs, dict[str, Tensor]]:
    """The same values with each token's gradient times its importance, and shares of that, `tokens` being those of all micro-batches.

    Importance is how much likelier the trainer thought a token than the sampler did, up to the cap. It is put into the
    log-probabilities, so that any loss is weighted without knowing of it.
    """
    if cap is None:
        return inputs, {}
    sampled = pad_values([torch.tensor(row.sampled_logprobs) for row in batch], inputs.mask)
    weights = torch.where(inputs.mask, inputs.old_logprobs - sampled, 0.0).exp().clamp(max=cap)
    known = inputs.logprobs.detach()
    counted = {"importance": weights, "importance_capped": (weights >= cap).float()}
    shares = {name: torch.where(inputs.mask, values, 0.0).sum() / tokens for name, values in counted.items()}
    return replace(inputs, logprobs=known + weights * (inputs.logprobs - known)), shares
