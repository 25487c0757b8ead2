"""The frozen records that travel between tasks, samplers, rewards, losses and stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from torch import Tensor


class Message(TypedDict):
    """One turn of a conversation, as chat templates read it."""

    role: str
    content: str


Prompt: TypeAlias = str | Sequence[Message]
FinishReason: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Example:
    """A problem: what is asked, the reference answer if there is one, and whatever its task knows besides.

    `prompt` is a list of chat messages, rendered with the policy's chat template, or a plain string, used as it is.
    """

    prompt: Prompt
    answer: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Routing:
    """Which experts of a mixture worked on each token that was read: the prompt's, and the completion's but the last.

    `experts` is [tokens, layers, chosen] in this order, each the number of an expert in `width` bytes, lowest byte first.
    """

    experts: bytes
    layers: int
    chosen: int
    width: int


@dataclass(frozen=True, slots=True)
class KeptTokens:
    """What top-k and top-p left to draw each token of a completion from."""

    counts: Sequence[int]
    """How many, for each token of the completion."""
    token_ids: Sequence[int]
    """Those for the first token, then those for the second, and so on."""
    logprobs: Sequence[float]
    """Log of the probability that they had together, in nats, for each token of the completion."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a policy said to one prompt.

    `text` includes what the chat template put into the assistant's mouth (a prefilled `<think>`); `token_ids` and `logprobs`
    cover the generated tokens alone, the end-of-sequence token included when `finish_reason` is "stop". `logprobs` are in
    nats, of the untruncated policy at the sampling temperature. `routing` and `kept` are there when the sampler was to record them
    and there was something to record. Where a server tells the text alone, `token_count` is what it says of its length.
    """

    text: str
    token_ids: Sequence[int] = ()
    logprobs: Sequence[float] = ()
    finish_reason: FinishReason = "stop"
    policy_version: int = 0
    routing: Routing | None = None
    kept: KeptTokens | None = None
    token_count: int | None = None

    @property
    def length(self) -> int:
        """How many tokens it has; 0 where nobody knows."""
        return len(self.token_ids) or self.token_count or 0


@dataclass(frozen=True, slots=True)
class Rollout:
    """A completion with the example it answers; `group` is the same for all completions of one prompt in one step."""

    example: Example
    completion: Completion
    group: int


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage made: a policy's directory, a task's JSON Lines file, numbers. Paths lie in the stage's directory."""

    policy: Path | None = None
    task: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """One micro-batch of completions for a policy-gradient loss.

    Tensors of shape [rows, tokens] are aligned with the completion's tokens and hold anything where `mask` is false.
    `batch_rows` and `batch_tokens` count the whole batch of the update, so that the losses of its micro-batches add up
    to the loss of the batch however it was cut.
    """

    logprobs: Tensor
    """[rows, tokens], nats, with gradient: log pi_theta of each token at the sampling temperature."""
    old_logprobs: Tensor
    """[rows, tokens], nats: log pi_old, the policy that sampled."""
    reference_logprobs: Tensor | None
    """[rows, tokens], nats: log pi_ref, or None when no KL term asks for it."""
    advantages: Tensor
    """[rows]."""
    mask: Tensor
    """[rows, tokens], bool: the tokens that count."""
    batch_rows: int
    """Completions in the whole batch of this update."""
    batch_tokens: int
    """Tokens that count in the whole batch of this update."""
    max_tokens: int
    """The sampler's length limit, Dr. GRPO's constant denominator."""


@dataclass(frozen=True, slots=True)
class LossOutput:
    """A micro-batch's share of the batch's loss, and shares of what is worth watching; both add up over micro-batches."""

    loss: Tensor
    """Scalar with gradient."""
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """Detached scalars, such as `kl` and `clip_fraction`."""
