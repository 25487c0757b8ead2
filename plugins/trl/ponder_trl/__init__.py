"""Stages on TRL's trainers, `sft`, `on_policy_distillation`, `reward_model` and `trl_grpo`, and the rewards `preference` and `reward_model`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from ponder import BatchReward, Component, Stage, hookimpl, lazy
from ponder.doctor import Check
from ponder_trl.distillation_config import OnPolicyDistillationConfig
from ponder_trl.grpo_config import TrlGrpoConfig
from ponder_trl.reward_configs import ClassifierConfig, PreferenceConfig, RewardModelConfig
from ponder_trl.sft_config import SftConfig

if TYPE_CHECKING:
    from ponder.doctor import Patient

__all__ = [
    "ClassifierConfig",
    "OnPolicyDistillationConfig",
    "PreferenceConfig",
    "RewardModelConfig",
    "SftConfig",
    "TrlGrpoConfig",
]


@hookimpl
def ponder_stages() -> Iterator[Component[Stage]]:
    """The stages of this plugin."""
    yield Component("sft", SftConfig, lazy("ponder_trl.sft:Sft"))
    yield Component(
        "on_policy_distillation", OnPolicyDistillationConfig, lazy("ponder_trl.distillation:OnPolicyDistillation")
    )
    yield Component("reward_model", RewardModelConfig, lazy("ponder_trl.reward_model:RewardModel"))
    yield Component("trl_grpo", TrlGrpoConfig, lazy("ponder_trl.trl_grpo:TrlGrpo"))


@hookimpl
def ponder_rewards() -> Iterator[Component[BatchReward]]:
    """The rewards of this plugin."""
    yield Component("preference", PreferenceConfig, lazy("ponder_trl.preference:Preference"))
    yield Component("reward_model", ClassifierConfig, lazy("ponder_trl.classifier:Classifier"))


@hookimpl
def ponder_checks() -> Iterator[Check]:
    """What `ponder doctor` looks at in these stages."""
    yield Check(
        "conversations",
        "Can every response be learnt, its end included?",
        _fine_tunes,
        lazy("ponder_trl.sft_check:examine_conversations"),
    )


def _fine_tunes(patient: Patient) -> Hashable | None:
    if patient.entry.type != "sft":
        return None
    return (patient.names("policy", "policy"), patient.names("task", "task"), patient.template())
