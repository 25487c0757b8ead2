"""The stages of this plugin keep what every stage promises."""

from ponder.testing import StageSuite


class TestEvaluate(StageSuite):
    type = "evaluate"
    kills = 1
    options = {"samples": 2, "examples_per_chunk": 4}


class TestReport(StageSuite):
    type = "report"
    kills = 1
    recipe = """
    name: reported
    policies: {base: {type: stand_in}}
    tasks: {problems: {type: stand_in, size: 4}}
    rewards: {early: {type: stand_in}}
    samplers: {short: {type: stand_in}}
    stages:
      exam: {type: evaluate, policy: base, task: problems, rewards: [early], sampler: short, samples: 2}
      report: {type: report}
    """
