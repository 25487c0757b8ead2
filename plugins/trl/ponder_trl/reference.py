"""The policy that TRL's KL term holds on to: a copy of the one in training, or, of adapters alone, the same model without them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ponder import Policy
from ponder.hf import merged_model


class WithoutAdapters:
    """What TRL calls as its reference model: the policy's own model, its adapters left out while it computes."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __call__(self, **inputs: Any) -> Any:
        """The outputs of the model as training found it."""
        model = self._policy.model
        was_training = model.training
        # A reference of its own would be in evaluation mode: without dropout.
        model.eval()
        try:
            with self._policy.without_adapters():  # type: ignore[attr-defined]
                return model(**inputs)
        finally:
            model.train(was_training)


def has_adapters(policy: Policy) -> bool:
    """Whether the policy can compute as it did before training."""
    return getattr(policy, "without_adapters", lambda: None)() is not None


@contextmanager
def kept_copy(policy: Policy, directory: Path) -> Iterator[None]:
    """The policy as it begins in a directory for the time being: TRL loads the reference from where a model says it is from."""
    config = policy.model.config
    origin = config._name_or_path
    try:
        merged_model(policy).save_pretrained(directory)
        config._name_or_path = str(directory)
        yield
    finally:
        config._name_or_path = origin
        shutil.rmtree(directory, ignore_errors=True)
