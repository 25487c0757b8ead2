"""The stages of this plugin keep what every stage promises."""

from ponder.testing import StageSuite


class TestSft(StageSuite):
    type = "sft"
    options = {"epochs": 1, "batch_size": 4}


class TestRewardModel(StageSuite):
    type = "reward_model"
    options = {"batch_size": 4}


class TestTrlGrpo(StageSuite):
    type = "trl_grpo"
    options = {"group_size": 2, "prompts_per_step": 2, "steps": 2}
    kills = 2
