from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ponder_grpo.config import GrpoConfig
from ponder_grpo.reference import WithoutAdapters, make_reference


class Adapted:
    """A policy with adapters."""

    left_out = 0

    @contextmanager
    def without_adapters(self) -> Iterator[None]:
        self.left_out += 1
        yield


def config(**options: Any) -> GrpoConfig:
    return GrpoConfig(policy="base", task="sums", rewards=["accuracy"], **options)


def unwanted(name: str) -> Any:
    raise LookupError(name)


def reference(**options: Any) -> Any:
    try:
        return make_reference(Adapted(), config(**options), unwanted)  # type: ignore[arg-type]
    except LookupError as error:
        return error.args[0]


def test_a_policy_with_adapters_is_its_own_reference() -> None:
    made = reference(reference_refresh=0)

    assert isinstance(made, WithoutAdapters)
    assert made.is_current(0) and not made.is_current(1)
    assert not made.changes


def test_a_reference_that_is_refreshed_or_another_policy_is_a_copy() -> None:
    assert reference(reference_refresh=1, steps=10) == "base"
    assert reference(reference_refresh=0, reference="other") == "other"
