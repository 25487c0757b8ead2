"""The loss `untitled`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ponder import Component, Loss, LossInputs, LossOutput, hookimpl


@dataclass(frozen=True, kw_only=True)
class UntitledConfig:
    """A clipped policy gradient, averaged over all tokens of a batch."""

    epsilon: float = 0.2
    """How far a token's probability ratio may be from 1 before its gradient stops."""

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon must lie between 0 and 1, not {self.epsilon}")


class Untitled:
    """-min(ratio * A, clip(ratio, 1 - epsilon, 1 + epsilon) * A), where ratio = pi_theta / pi_old and A is the advantage."""

    def __init__(self, config: UntitledConfig) -> None:
        self._epsilon = config.epsilon

    def __call__(self, inputs: LossInputs) -> LossOutput:
        """This micro-batch's share: whatever is summed is divided by the tokens of the whole batch."""
        ignored = ~inputs.mask
        # Where the mask is false anything may stand, even NaN: it is replaced before it is computed with.
        change = inputs.logprobs.masked_fill(ignored, 0.0) - inputs.old_logprobs.masked_fill(ignored, 0.0)
        ratio, advantages = change.exp(), inputs.advantages[:, None]
        clipped = ratio.clamp(1 - self._epsilon, 1 + self._epsilon)
        per_token = -(ratio * advantages).minimum(clipped * advantages)
        tokens = max(1, inputs.batch_tokens)
        is_clipped = (ratio != clipped).to(ratio.dtype).masked_fill(ignored, 0.0)
        return LossOutput(
            per_token.masked_fill(ignored, 0.0).sum() / tokens, {"clip_fraction": is_clipped.detach().sum() / tokens}
        )


@hookimpl
def ponder_losses() -> Iterator[Component[Loss]]:
    """The loss of this plugin."""
    yield Component("untitled", UntitledConfig, Untitled)
