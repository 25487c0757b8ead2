"""The kit for plugin authors: a suite of checks for each kind of component, of which a plugin's test is a small subclass.

    from ponder import Example
    from ponder.testing import RewardSuite

    class TestBrevity(RewardSuite):
        type = "brevity"
        cases = [(Example("1 + 1 ="), "2", 1.0)]

pytest runs the checks, which are methods `test_...`; so does `ponder plugins check DISTRIBUTION`, which needs no pytest.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ponder.testing.hostile import hostile_texts
    from ponder.testing.losses import LossSuite
    from ponder.testing.policies import PolicySuite
    from ponder.testing.rewards import RewardSuite
    from ponder.testing.samplers import SamplerSuite
    from ponder.testing.stages import StageSuite
    from ponder.testing.tasks import TaskSuite
    from ponder.testing.trackers import TrackerSuite

__all__ = [
    "LossSuite",
    "PolicySuite",
    "RewardSuite",
    "SamplerSuite",
    "StageSuite",
    "TaskSuite",
    "TrackerSuite",
    "hostile_texts",
]

# Imported when first asked for: pytest loads its plugins, ours among them, before it measures coverage.
_LAZY = {
    "LossSuite": "losses",
    "PolicySuite": "policies",
    "RewardSuite": "rewards",
    "SamplerSuite": "samplers",
    "StageSuite": "stages",
    "TaskSuite": "tasks",
    "TrackerSuite": "trackers",
    "hostile_texts": "hostile",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ponder.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ponder.testing.{_LAZY[name]}"), name)
