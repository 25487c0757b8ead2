"""The losses and the stage of this plugin keep what every loss and stage promises."""

from ponder.testing import LossSuite, StageSuite


class TestGrpoLoss(LossSuite):
    type = "grpo"


class TestGrpoLossWithoutReference(LossSuite):
    type = "grpo"
    options = {"kl_coef": 0}


class TestDapoLoss(LossSuite):
    type = "dapo"


class TestDrGrpoLoss(LossSuite):
    type = "dr_grpo"
    options = {"kl_coef": 0.1, "kl": "unbiased"}


class TestGrpoStage(StageSuite):
    type = "grpo"
    kills = 1
    options = {"group_size": 4, "prompts_per_step": 2, "steps": 2, "probes": 1, "table_every": 1, "learning_rate": 1e-3}
