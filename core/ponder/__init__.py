"""The DeepSeek-R1 recipe as plugins: the names that plugins and programs build on."""

from ponder.components import EARLIER, Component, RewardConfig, lazy, passthrough, ref, refs
from ponder.hookspecs import hookimpl
from ponder.interfaces import BatchReward, Loss, Policy, Reward, Sampler, Stage, Task, Tracker
from ponder.types import Completion, Example, LossInputs, LossOutput, Message, Rollout, StageResult

__all__ = [
    "EARLIER",
    "BatchReward",
    "Completion",
    "Component",
    "Example",
    "Loss",
    "LossInputs",
    "LossOutput",
    "Message",
    "Policy",
    "Reward",
    "RewardConfig",
    "Rollout",
    "Sampler",
    "Stage",
    "StageResult",
    "Task",
    "Tracker",
    "hookimpl",
    "lazy",
    "passthrough",
    "ref",
    "refs",
]
