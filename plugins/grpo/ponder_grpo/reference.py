"""The policy that the KL term holds on to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ponder.errors import InputError
from ponder.hf_quantised import is_quantised
from ponder.interfaces import Policy
from ponder_grpo.config import GrpoConfig
from ponder_grpo.forward import reader_of
from ponder_grpo.rows import Row
from ponder_grpo.schedule import ever_refreshes, refreshes_before
from ponder_grpo.update import PassOptions, completion_logprobs


@dataclass
class Reference:
    """A frozen copy of a policy that may be refreshed from the one in training."""

    frozen: Policy
    policy: Policy
    config: GrpoConfig

    def __post_init__(self) -> None:
        self.frozen.model.requires_grad_(False)
        self.frozen.model.eval()
        if self.frozen.tokenizer.get_vocab() != self.policy.tokenizer.get_vocab():
            raise InputError(
                f"policy {self.config.reference!r} cannot be the reference of {self.config.policy!r}: their vocabularies "
                "differ, so their log-probabilities are of different tokens"
            )
        if self.changes and is_quantised(self.policy.model):
            raise InputError(
                f"reference_refresh: {self.config.reference_refresh} copies weights into the reference, and those of "
                f"{self.config.policy!r} are quantised: set reference_refresh to 0 to hold on to the policy as it began"
            )
        if self.changes and _shapes(self.frozen) != _shapes(self.policy):
            raise InputError(
                f"reference_refresh: {self.config.reference_refresh} copies the policy's weights into the reference "
                f"{self.config.reference!r}, which has other shapes: set reference_refresh to 0, or choose another reference"
            )

    @property
    def changes(self) -> bool:
        """Whether its weights are part of the run's state."""
        return ever_refreshes(self.config)

    def prepare(self, step: int) -> None:
        """Become the current policy if this step asks for it."""
        if refreshes_before(self.config, step):
            self.frozen.model.load_state_dict(self.policy.model.state_dict())

    def is_current(self, step: int) -> bool:
        """Whether, at the start of this step, the reference is the policy itself."""
        starts_equal = self.config.reference in (None, self.config.policy)
        return refreshes_before(self.config, step) or (step == 0 and starts_equal)

    def logprobs(self, rows: Sequence[Row], options: PassOptions) -> dict[int, Tensor]:
        """Log-probabilities of each row's completion, by the row's index."""
        return completion_logprobs(reader_of(self.frozen), rows, options)


@dataclass
class WithoutAdapters:
    """The policy in training, as it is without its adapters: the policy that training began with, and no second copy of it."""

    policy: Policy
    changes: bool = False

    @property
    def frozen(self) -> Policy:
        """The policy that computes."""
        return self.policy

    def prepare(self, step: int) -> None:
        """It is never refreshed."""

    def is_current(self, step: int) -> bool:
        """Whether, at the start of this step, the adapters change nothing yet."""
        return step == 0

    def logprobs(self, rows: Sequence[Row], options: PassOptions) -> dict[int, Tensor]:
        """Log-probabilities of each row's completion, by the row's index."""
        with self.policy.without_adapters():  # type: ignore[attr-defined]
            return completion_logprobs(reader_of(self.policy), rows, options)


def make_reference(policy: Policy, config: GrpoConfig, build: Callable[[str], Policy]) -> Reference | WithoutAdapters:
    """The reference that the options ask for: a copy, made by `build`, unless the policy can do without its adapters."""
    has_adapters = getattr(policy, "without_adapters", lambda: None)() is not None
    if has_adapters and config.reference in (None, config.policy) and not ever_refreshes(config):
        return WithoutAdapters(policy)
    return Reference(build(config.reference or config.policy), policy, config)


def _shapes(policy: Policy) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in policy.model.state_dict().items()}
