"""What a trainer may want to know of a draw besides its tokens: the experts that worked on them, and what they were drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ponder import Completion, Policy
from ponder.errors import InputError
from ponder.hf_routing import Choices, Routers, pack_routing, routers_of
from ponder.types import KeptTokens
from ponder_sampling import FastConfig, SamplingConfig
from ponder_sampling.drawing import truncate
from ponder_sampling.prompts import PromptTokens


@dataclass(frozen=True, slots=True)
class Recorder:
    """Told of each step of a chunk of rows; a log that is None is not kept."""

    experts: ExpertLog | None = None
    kept: KeptLog | None = None

    @property
    def is_asked(self) -> bool:
        """Whether anything is recorded."""
        return self.experts is not None or self.kept is not None

    def note_prompts(self) -> None:
        """The different prompts were read in one forward pass, right-padded, in the order in which they first come."""
        if self.experts is not None:
            self.experts.note_prompts()

    def note_draw(self, rows: Tensor, logits: Tensor, tokens: Tensor) -> None:
        """`tokens` [kept] were drawn for these rows [kept] from `logits` [kept, vocab]."""
        if self.kept is not None:
            self.kept.note(rows, logits, tokens)

    def note_read(self, rows: Tensor) -> None:
        """A token of each of these rows [kept] was read."""
        if self.experts is not None:
            self.experts.note(rows)

    def completed(self, completions: Sequence[Completion]) -> list[Completion]:
        """The completions of all rows with what was recorded."""
        logs = [log for log in (self.experts, self.kept) if log is not None]
        for log in logs:
            completions = log.added_to(completions)
        return list(completions)


@contextmanager
def recording(policy: Policy, prompts: Sequence[PromptTokens], options: FastConfig) -> Iterator[Recorder]:
    """A recorder of what the options ask for, while rows with these prompts are drawn.

    Raises:
        InputError: the experts are asked for, and the policy cannot tell them.
    """
    with ExitStack() as stack:
        experts = None
        if options.record_routing:
            routers = _needed_routers(policy)
            experts = ExpertLog(routers.experts, stack.enter_context(routers.watching()), prompts)
        leaves_out = options.top_p < 1 or options.top_k > 0
        yield Recorder(experts, KeptLog(options, len(prompts)) if options.record_mask and leaves_out else None)


class ExpertLog:
    """The experts of a chunk of rows, of which `prompts` holds each row's prompt."""

    def __init__(self, experts: int, choices: Choices, prompts: Sequence[PromptTokens]) -> None:
        self._experts = experts
        self._choices = choices
        self._prompts = [prompt.token_ids for prompt in prompts]
        self._read: dict[tuple[int, ...], Tensor] = {}
        self._steps: list[tuple[Tensor, Tensor]] = []

    def note_prompts(self) -> None:
        """See `Recorder`."""
        unique = list(dict.fromkeys(self._prompts))
        experts = self._choices.take()
        of_prompts = experts.view(len(unique), -1, *experts.shape[1:])
        self._read = {tokens: of_prompts[place, : len(tokens)] for place, tokens in enumerate(unique)}

    def note(self, rows: Tensor) -> None:
        """The next token of each of these rows [kept] was read."""
        self._steps.append((rows, self._choices.take()))

    def added_to(self, completions: Sequence[Completion]) -> list[Completion]:
        """The completions of all rows with their routing."""
        some = self._read[self._prompts[0]]
        said = some.new_zeros(len(completions), len(self._steps), *some.shape[1:])
        for step, (rows, experts) in enumerate(self._steps):
            said[rows, step] = experts
        routings = (
            torch.cat([self._read[prompt], said[row, : len(completion.token_ids) - 1]])
            for row, (completion, prompt) in enumerate(zip(completions, self._prompts, strict=True))
        )
        return [
            replace(completion, routing=pack_routing(experts, self._experts))
            for completion, experts in zip(completions, routings, strict=True)
        ]


@dataclass(slots=True)
class KeptLog:
    """The tokens that top-k and top-p left at each step of a chunk of rows."""

    options: SamplingConfig
    rows: int
    _places: list[list[tuple[list[int], float]]] = field(init=False)

    def __post_init__(self) -> None:
        self._places = [[] for _ in range(self.rows)]

    def note(self, rows: Tensor, logits: Tensor, drawn: Tensor) -> None:
        """See `Recorder.note_draw`."""
        probabilities = (logits.float() / self.options.temperature).log_softmax(-1).exp()
        kept = truncate(probabilities, self.options) > 0
        # What was drawn was kept, even where rounding took its probability.
        kept.scatter_(1, drawn[:, None], value=True)
        together = probabilities.masked_fill(~kept, 0.0).double().sum(-1).log().tolist()
        tokens = kept.nonzero()[:, 1].split(kept.sum(1).tolist())
        for row, ids, logprob in zip(rows.tolist(), tokens, together, strict=True):
            self._places[row].append((ids.tolist(), logprob))

    def added_to(self, completions: Sequence[Completion]) -> list[Completion]:
        """The completions of all rows with what their tokens were drawn from."""
        return [
            replace(completion, kept=_kept(places[: len(completion.token_ids)]))
            for completion, places in zip(completions, self._places, strict=True)
        ]


def _kept(places: Sequence[tuple[list[int], float]]) -> KeptTokens:
    return KeptTokens(
        counts=tuple(len(ids) for ids, _ in places),
        token_ids=tuple(token for ids, _ in places for token in ids),
        logprobs=tuple(logprob for _, logprob in places),
    )


def _needed_routers(policy: Policy) -> Routers:
    routers = routers_of(policy)
    if routers is None:
        raise InputError(
            "record_routing asks which experts worked on each token, but the policy is no mixture of experts that can tell (it has "
            "no method `routers`): leave record_routing and router_replay out"
        )
    return routers
