"""The DeepSeek-R1 recipe as plugins: the names that plugins and programs build on."""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from ponder.components import EARLIER, Component, RewardConfig, lazy, passthrough, ref, refs
from ponder.hookspecs import hookimpl
from ponder.interfaces import BatchReward, Loss, Policy, Reward, Sampler, Stage, Task, Tracker
from ponder.types import Completion, Example, LossInputs, LossOutput, Message, Rollout, StageResult

if TYPE_CHECKING:
    from ponder.context import StageContext
    from ponder.rubric import Rubric

# bitsandbytes, which peft and TRL import, warns on CPUs with AVX-512 BF16 that it finds no kernel which nothing here would use.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

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
    "Rubric",
    "Sampler",
    "Stage",
    "StageContext",
    "StageResult",
    "Task",
    "Tracker",
    "hookimpl",
    "lazy",
    "passthrough",
    "ref",
    "refs",
]

# Imported when first asked for: what stands behind them would triple the time that `ponder --help` takes.
_LAZY = {"StageContext": "ponder.context", "Rubric": "ponder.rubric"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ponder' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
