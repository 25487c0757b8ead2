"""In what a run differs from the published settings that it starts from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from ponder.interfaces import Loss, Sampler
from ponder_grpo.config import DapoLossConfig, DrGrpoLossConfig, GrpoConfig, GrpoLossConfig
from ponder_grpo.presets import PRESETS, Deviation, own_deviations

if TYPE_CHECKING:
    from ponder.context import StageContext

DEVIATIONS_FILE: Final = "deviations.json"

_LOSS_TYPES: Final[Mapping[type, str]] = {GrpoLossConfig: "grpo", DapoLossConfig: "dapo", DrGrpoLossConfig: "dr_grpo"}


def deviations(config: GrpoConfig, loss: Loss, sampler: Sampler) -> list[Deviation]:
    """What a stage, its loss and its sampler change of the stage's preset, as far as the last two tell their options."""
    wanted = PRESETS[config.preset] if config.preset else {}
    return [
        *own_deviations(config.preset, config),
        *_component_deviations("loss", wanted.get("loss", {}), loss),
        *_component_deviations("sampler", wanted.get("sampler", {}), sampler),
    ]


def report_deviations(config: GrpoConfig, loss: Loss, sampler: Sampler, context: StageContext) -> None:
    """Print them, and keep them: `{"preset": ..., "deviations": [{"option": ..., "preset": ..., "run": ...}]}`."""
    found = deviations(config, loss, sampler)
    content = {"preset": config.preset, "deviations": [asdict(deviation) for deviation in found]}
    (context.directory / DEVIATIONS_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    count = "1 option" if len(found) == 1 else f"{len(found)} options"
    context.say(f"preset {config.preset}, with {count} changed{':' if found else ''}")
    for deviation in found:
        context.say(f"  {deviation}")


def _component_deviations(name: str, wanted: Mapping[str, Any], component: object) -> Iterator[Deviation]:
    for option, value in wanted.items():
        run = _loss_type(component) if (name, option) == ("loss", "type") else _option(component, option, value)
        if run != value:
            yield Deviation(f"{name}.{option}", value, run)


def _option(component: object, name: str, otherwise: Any) -> Any:
    """A component's option, by itself or in its `config`; which sampler draws is no setting of the paper's."""
    own = getattr(component, name, otherwise)
    return own if name == "type" else getattr(getattr(component, "config", None), name, own)


def _loss_type(loss: object) -> str:
    """The name of a loss in recipes, or that of its class when it is another plugin's."""
    return _LOSS_TYPES.get(type(getattr(loss, "config", None)), type(loss).__name__)
