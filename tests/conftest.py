"""What tests of more than one folder share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch.profiler import ProfilerActivity, profile


@pytest.fixture(scope="session")
def most_allocated() -> Callable[[Callable[[], object]], int]:
    """The most bytes that a step holds at a time, by torch's own allocator, besides what stood before it; it is run twice."""

    def measure(step: Callable[[], object]) -> int:
        step()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            step()
        assert profiler.profiler is not None
        live = peak = 0
        for event in profiler.profiler.kineto_results.events():
            if event.name() == "[memory]":
                live += event.nbytes()
                peak = max(peak, live)
        return peak

    return measure
