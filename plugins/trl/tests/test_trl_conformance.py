"""The stages of this plugin keep what every stage promises."""

import pytest

from ponder.testing import StageSuite

pytestmark = pytest.mark.slow


class TestSft(StageSuite):
    type = "sft"
    kills = 1
    options = {"epochs": 1, "batch_size": 4}


class TestRewardModel(StageSuite):
    type = "reward_model"
    kills = 1
    options = {"batch_size": 4}


class TestTrlGrpo(StageSuite):
    type = "trl_grpo"
    kills = 1
    options = {"group_size": 2, "prompts_per_step": 2, "steps": 2}


class TestOnPolicyDistillation(StageSuite):
    type = "on_policy_distillation"
    kills = 1
    options = {"prompts_per_step": 2, "steps": 2, "on_policy": 0.5}
