"""Lineage in the tracking store: what a stage was made from, and the model that it made, asked of the database."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

from ponder_mlflow import MlflowConfig
from ponder_mlflow.lineage import read_publication
from ponder_mlflow.store import TrackingError
from ponder_mlflow.tracker import MlflowTracker


@pytest.fixture
def run(runs):
    """Runs stages of the recipe `r1`, in one invocation: a name, a fingerprint and the directory of each."""

    def run_recipe(*stages, seed=0, status="finished", recipe="r1"):
        tracker = MlflowTracker(MlflowConfig(), runs)
        tracker.start(recipe, {"seed": seed})
        for name, fingerprint, directory in stages:
            tracker.start(name, {"type": "toy", "fingerprint": fingerprint})
            tracker.log({"loss": 1.0}, 1)
            if directory:
                tracker.published(directory)
            tracker.finish("finished" if directory else "killed")
        tracker.finish(status)

    return run_recipe


def task(name, **options):
    return {"name": name, "type": "mini_web", "version": "ponder-tasks 1", "options": options, "files": []}


def test_a_stage_is_linked_to_the_runs_of_its_parents(run, publish, reader):
    run(
        ("base", "aa", publish("base", "aa")),
        ("zero", "bb", publish("zero", "bb", {"base": "aa"})),
        ("r1", "cc", publish("r1", "cc", {"zero": "bb", "base": "aa"})),
    )
    seen = reader()
    assert json.loads(seen.tag("r1", "ponder.parents")) == {"zero": "bb", "base": "aa"}
    assert json.loads(seen.tag("r1", "ponder.parent_runs")) == {"zero": seen.id("zero"), "base": seen.id("base")}
    assert json.loads(seen.tag("base", "ponder.parent_runs")) == {}
    assert seen.tag("zero", "ponder.fingerprint") == "bb"
    assert f"[base](#/experiments/{seen.experiment}/runs/{seen.id('base')})" in seen.tag("zero", "mlflow.note.content")


def test_a_parent_from_an_earlier_invocation_is_found_by_its_fingerprint(run, publish, reader):
    run(("base", "aa", publish("base", "aa")))
    run(("zero", "bb", publish("zero", "bb", {"base": "aa"})))
    seen = reader()
    assert json.loads(seen.tag("zero", "ponder.parent_runs")) == {"base": seen.id("base")}


def test_a_parent_that_another_recipe_made_is_found_too(run, publish, reader):
    run(("base", "aa", publish("base", "aa")), recipe="other")
    run(("zero", "bb", publish("zero", "bb", {"base": "aa"})))
    assert "base" in json.loads(reader().tag("zero", "ponder.parent_runs"))


def test_a_parent_that_is_gone_is_only_named(run, publish, reader):
    run(("zero", "bb", publish("zero", "bb", {"base": "aa"})))
    assert json.loads(reader().tag("zero", "ponder.parents")) == {"base": "aa"}
    assert json.loads(reader().tag("zero", "ponder.parent_runs")) == {}


def test_parents_that_were_made_without_the_tracker_get_runs_of_their_own(run, publish, reader):
    publish("base", "aa", policy="policy", options={"task": "web"}, tasks={"web": task("web")})
    publish("middle", "bb", {"base": "aa"})
    run(("zero", "cc", publish("zero", "cc", {"middle": "bb", "base": "aa"})))
    seen = reader()
    assert json.loads(seen.tag("zero", "ponder.parent_runs")) == {"middle": seen.id("middle"), "base": seen.id("base")}
    assert json.loads(seen.tag("middle", "ponder.parent_runs")) == {"base": seen.id("base")}
    assert seen.tag("base", "mlflow.parentRunId") == seen.id("r1")
    assert seen.runs["base"].info.status == "FINISHED"
    assert seen.runs["base"].data.metrics == {"loss": 0.5}
    assert seen.runs["base"].inputs.dataset_inputs[0].dataset.name == "web"
    assert len(seen.client.search_model_versions("name = 'r1.base'")) == 1


def test_a_parent_whose_process_was_killed_before_the_tracker_was_told_is_completed(run, publish, reader):
    run(("base", "aa", None), status="killed")
    publish("base", "aa")
    run(("zero", "bb", publish("zero", "bb", {"base": "aa"})))
    seen = reader()
    assert len(seen.found) == 3
    assert seen.runs["base"].info.status == "FINISHED"
    assert json.loads(seen.tag("zero", "ponder.parent_runs")) == {"base": seen.id("base")}


def test_the_stages_of_all_invocations_are_below_one_run_of_the_recipe(run, publish, reader):
    run(("base", "aa", publish("base", "aa")), status="killed")
    run(("zero", "bb", publish("zero", "bb")))
    seen = reader()
    assert len(seen.found) == 3
    assert {seen.tag(name, "mlflow.parentRunId") for name in ("base", "zero")} == {seen.id("r1")}
    assert seen.tag("r1", "ponder.resumed") == "1"
    assert seen.runs["r1"].info.status == "FINISHED"


def test_another_seed_is_another_run_of_the_recipe(run, publish, reader):
    run(("base", "aa", publish("base", "aa")))
    run(("base", "bb", publish("base", "bb")), seed=1)
    assert [found.info.run_name for found in reader().found].count("r1") == 2


def test_a_recipe_of_the_same_name_elsewhere_is_another(run, publish, runs, reader, tmp_path):
    run(("base", "aa", publish("base", "aa")))
    elsewhere = MlflowTracker(MlflowConfig(uri=f"sqlite:///{runs}/mlflow.db"), tmp_path / "the other's runs")
    for _ in range(2):
        elsewhere.start("r1", {"seed": 0})
        elsewhere.finish("finished")
    assert len(reader().found) == 3


def test_a_killed_stage_goes_on_in_its_run(run, publish, reader):
    run(("base", "aa", None), status="killed")
    run(("base", "aa", publish("base", "aa")))
    seen = reader()
    assert len(seen.found) == 2
    assert seen.runs["base"].info.status == "FINISHED"
    assert seen.tag("base", "ponder.resumed") == "1"


def test_a_finished_stage_that_is_made_again_has_a_run_of_its_own(run, publish, reader):
    for _ in range(2):
        run(("base", "aa", publish("base", "aa")))
    assert len(reader().found) == 3


def test_tasks_are_dataset_inputs_with_digests(run, publish, reader):
    web = task("web", documents=200)
    policies = {"base": {"type": "toy", "version": "", "options": {"corpus": "web"}, "tasks": {"web": web}}}
    first = publish("base", "aa", options={"task": "web"}, tasks={"web": web}, policies=policies)
    other = publish("again", "bb", options={"task": "web"}, tasks={"web": task("web", documents=300)})
    run(("base", "aa", first), ("again", "bb", other))
    seen = reader()
    [[data], [changed]] = [seen.runs[name].inputs.dataset_inputs for name in ("base", "again")]
    assert data.dataset.name == "web"
    assert json.loads(data.dataset.source) == {"type": "mini_web", "version": "ponder-tasks 1", "documents": 200}
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "task, corpus")]
    assert len(data.dataset.digest) == 32
    assert changed.dataset.digest != data.dataset.digest


def test_runs_that_read_a_dataset_are_found_by_its_digest(run, publish, reader):
    directory = publish("base", "aa", options={"task": "web"}, tasks={"web": task("web")})
    run(("base", "aa", directory))
    [data] = read_publication(directory).data
    seen = reader()
    [found] = seen.client.search_runs([seen.experiment], f"dataset.digest = '{data.digest}'")
    assert found.info.run_name == "base"


def test_what_an_earlier_stage_wrote_is_a_dataset_with_its_fingerprint(run, publish, reader):
    curated = publish("curated", "aa", task="rows.jsonl")
    reward = publish("reward", "bb", policy="policy")
    mixed = {**task("mixed", parts=["curated"]), "stages": {"curated": "aa", "reward": "bb"}}
    sft = publish("sft", "cc", {"curated": "aa"}, options={"task": "mixed"}, tasks={"mixed": mixed})
    run(("curated", "aa", curated), ("reward", "bb", reward), ("sft", "cc", sft))
    inputs = {data.dataset.name: data for data in reader().runs["sft"].inputs.dataset_inputs}
    assert set(inputs) == {"mixed", "curated"}, "a stage without data is no dataset"
    assert inputs["curated"].dataset.digest == "aa"
    assert json.loads(inputs["curated"].dataset.source)["path"] == str(curated / "rows.jsonl")
    assert inputs["curated"].tags[0].value == "parts"


def test_a_policy_is_a_version_of_a_registered_model_with_its_parents(run, publish, reader):
    zero = publish("zero", "bb", {"base": "aa"}, policy="policy")
    run(("base", "aa", publish("base", "aa")), ("zero", "bb", zero))
    seen = reader()
    [version] = seen.client.search_model_versions("name = 'r1.zero'")
    assert version.source == (zero / "policy").as_uri()
    assert version.run_id == seen.id("zero")
    assert version.tags["ponder.fingerprint"] == "bb"
    assert json.loads(version.tags["ponder.parents"]) == {"base": "aa"}
    assert json.loads(version.tags["ponder.parent_runs"]) == {"base": seen.id("base")}
    assert not seen.client.search_model_versions("name = 'r1.base'"), "it made no policy"


def test_a_reward_model_is_registered_too(run, publish, reader):
    directory = publish("helpful", "aa", {"sft": "bb"})
    (directory / "reward_model").mkdir()
    (directory / "reward_model" / "config.json").write_text("{}")
    run(("helpful", "aa", directory))
    [version] = reader().client.search_model_versions("name = 'r1.helpful'")
    assert version.source == (directory / "reward_model").as_uri()
    assert json.loads(version.tags["ponder.parents"]) == {"sft": "bb"}


def test_another_fingerprint_is_another_version_and_the_same_is_not(run, publish, reader):
    run(("base", "aa", publish("base", "aa", policy="policy")))
    for fingerprint in ("bb", "aa", "bb"):
        run(("base", fingerprint, publish("base", fingerprint, policy="policy")))
    versions = reader().client.search_model_versions("name = 'r1.base'")
    assert sorted(version.tags["ponder.fingerprint"] for version in versions) == ["aa", "bb"]


def test_what_failed_half_way_can_be_told_again(runs, publish, reader, monkeypatch):
    directory = publish("base", "aa", policy="policy", options={"task": "web"}, tasks={"web": task("web")})
    tracker = MlflowTracker(MlflowConfig(), runs)
    tracker.start("r1", {})
    tracker.start("base", {"fingerprint": "aa"})
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "create_model_version", fail)
        with pytest.raises(TrackingError, match="the database is locked"):
            tracker.published(directory)
    tracker.published(directory)
    tracker.published(directory)
    tracker.finish("finished")
    tracker.finish("finished")
    assert len(reader().client.search_model_versions("name = 'r1.base'")) == 1
    assert len(reader().runs["base"].inputs.dataset_inputs) == 1


def fail(*args, **kwargs):
    raise OSError("the database is locked")


def test_what_was_published_outside_any_run_is_left_out(runs, publish):
    MlflowTracker(MlflowConfig(), runs).published(publish("base", "aa"))
