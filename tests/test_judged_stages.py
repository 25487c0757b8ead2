"""What a judge was asked is logged by every stage that asks it."""

import json

import pytest

from ponder.testing.endpoints import StubEndpoint, completion

RECIPE = """
name: judged
policies: {base: {type: deepseek, preset: tiny}}
tasks: {sums: {type: reasoning_gym, dataset: chain_sum, size: 4}}
samplers:
  own: {type: fast, max_new_tokens: 4}
  teacher: {type: openai, url: TEACHER, cache: CACHE}
rewards: {taste: {type: judge, url: JUDGE, cache: CACHE, sees: response, backoff_seconds: 0.01}}
stages: {ask: {task: sums, rewards: [taste], STAGE}}
"""


@pytest.mark.parametrize(
    "stage",
    [
        "type: evaluate, sampler: teacher",
        "type: rejection_sampling, sampler: teacher, filters: []",
        "type: grpo, policy: base, sampler: own, steps: 1, prompts_per_step: 2, group_size: 2",
        "type: trl_grpo, policy: base, sampler: own, steps: 1, prompts_per_step: 2, group_size: 2",
    ],
    ids=lambda stage: stage.split(",")[0].removeprefix("type: "),
)
def test_a_stage_logs_what_its_judge_was_asked(run_recipe, tmp_path, stage):
    def judge(number, body):
        return (429, b"later", {}) if number == 1 else completion("Score: 10", tokens=10)

    with StubEndpoint(judge) as asked, StubEndpoint(lambda number, body: f"It is {number}.") as teacher:
        recipe = RECIPE.replace("JUDGE", asked.url).replace("TEACHER", teacher.url)
        done = run_recipe(recipe.replace("CACHE", str(tmp_path / "kept")).replace("STAGE", stage))["ask"]
    lines = [json.loads(line) for line in (done.directory / "timings.jsonl").read_text().splitlines()]
    told = ("requests", "retries", "endpoint_tokens")
    requests = len(asked.asked)
    logged = {name: sum(line.get(f"rewards/taste/{name}", 0) for line in lines) for name in told}
    assert logged == {"requests": requests, "retries": 1, "endpoint_tokens": 100 * (requests - 1)}
