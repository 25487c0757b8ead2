"""The published settings of DeepSeek-R1, DAPO and Dr. GRPO, as options of the stage.

Only what the papers print is here. A step of the stage draws completions once and may update the weights several times;
DeepSeek-R1 counts updates, 16 for each draw of 512 prompts x 16, so its numbers of steps are divided by 16.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Final, Literal, TypeAlias

PresetName: TypeAlias = Literal["r1_zero", "r1", "r1_final", "dapo", "dr_grpo"]

_R1_BATCH: Final[Mapping[str, Any]] = {
    "group_size": 16,
    "prompts_per_step": 512,
    "minibatches": 16,
    "epochs": 1,
    "learning_rate": 3e-6,
    "reference_refresh": 400,
    "advantage": "group",
}

_R1_LOSS: Final[Mapping[str, Any]] = {
    "type": "grpo",
    "kl_coef": 0.001,
    "kl": "k3",
    "epsilon_low": 10.0,
    "epsilon_high": 10.0,
}

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    # The clip range of R1-Zero is not published. 10,400 updates; the limit is doubled at update 8.2k (8,192 = 16 x 512).
    "r1_zero": {
        **_R1_BATCH,
        "steps": 650,
        "loss": {"type": "grpo", "kl_coef": 0.001, "kl": "k3"},
        "sampler": {"type": "fast", "temperature": 1.0, "max_new_tokens": 32768},
        "length_limits": [{"step": 512, "max_new_tokens": 65536}],
    },
    # The first reinforcement stage; it ran until convergence, for a number of steps that is not published.
    "r1": {
        **_R1_BATCH,
        "loss": _R1_LOSS,
        "sampler": {"type": "fast", "temperature": 1.0, "max_new_tokens": 32768},
    },
    # The second: 1,700 updates (106.25 draws), preference rewards and general prompts in the last 400 (25 draws).
    "r1_final": {
        **_R1_BATCH,
        "steps": 106,
        "loss": _R1_LOSS,
        "sampler": {"type": "fast", "temperature": 0.7},
    },
    # Equations 8-13 and section 4.1. The paper draws until the step is full, however often that takes.
    "dapo": {
        "group_size": 16,
        "prompts_per_step": 512,
        "minibatches": 16,
        "epochs": 1,
        "learning_rate": 1e-6,
        "warmup_steps": 20,
        "advantage": "group",
        "dynamic_sampling": 10,
        "truncated": "penalise",
        "overlong_buffer": 4096,
        "loss": {"type": "dapo", "epsilon_low": 0.2, "epsilon_high": 0.28, "kl_coef": 0.0},
        "sampler": {"type": "fast", "max_new_tokens": 20480},
    },
    # Sections 3.1 and 3.2.
    "dr_grpo": {"advantage": "mean", "loss": {"type": "dr_grpo", "kl_coef": 0.0}},
}

COMPONENTS: Final = ("loss", "sampler")
"""Options of a preset that describe what another entry of the recipe does."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """An option, `loss.` or `sampler.` in front where it is theirs, with the preset's value and the run's."""

    option: str
    preset: Any
    run: Any

    def __str__(self) -> str:
        return f"{self.option}: {_shown(self.preset)} -> {_shown(self.run)}"


def own_deviations(preset: PresetName | None, config: object) -> list[Deviation]:
    """In which of its own options a stage differs from its preset; nothing without one."""
    wanted = PRESETS[preset] if preset else {}
    own = [(name, value, _plain(getattr(config, name))) for name, value in wanted.items() if name not in COMPONENTS]
    return [Deviation(name, value, run) for name, value, run in own if value != run]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return json.dumps(value).replace('"', "")
    return f"{value:g}" if isinstance(value, float) else str(value)
