"""Recipes: what a good one becomes, and what is said about a bad one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import field, make_dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from ponder import Component, hookimpl
from ponder.errors import InputError
from ponder.plugins import Registry, load_plugin_file
from ponder.problems import RecipeError
from ponder.recipe import Recipe, Reference, load_recipe

DATA = Path(__file__).parent.parent / "data"
Load = Callable[..., Recipe]
Faults = Callable[..., list[str]]

GOOD = """\
name: good
seed: 3
tracker: {type: note, uri: here}
policies:
  base: {type: model, preset: mini}
tasks:
  sums: {type: numbers, size: 8}
rewards:
  full: {type: mark, weight: 2}
samplers:
  cold: {type: draw, temperature: 0.1}
stages:
  first: {type: train, policy: base, task: sums, rewards: [full], sampler: cold}
  second: {type: train, policy: first, task: first, reference: base}
  page: {type: tell}
"""


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register(load_plugin_file(DATA / "recipe_plugin.py"), "toy")
    assert registry.broken == {}
    return registry


@pytest.fixture
def load(tmp_path: Path, registry: Registry) -> Load:
    def load_text(text: str, *overrides: str, name: str = "r.yaml") -> Recipe:
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return load_recipe(file, overrides, registry)

    return load_text


@pytest.fixture
def faults(tmp_path: Path, load: Load) -> Faults:
    """The problems of a recipe, a line each, with the directory left out."""

    def faults_of(text: str, *overrides: str) -> list[str]:
        with pytest.raises(RecipeError) as caught:
            load(text, *overrides)
        return [line.replace(f"{tmp_path}{os.sep}", "") for line in caught.value.problems]

    return faults_of


def stage(options: str, before: str = "") -> str:
    """A recipe with one stage named `s`."""
    return f"policies: {{base: {{type: model}}}}\ntasks: {{sums: {{type: numbers}}}}\nstages:\n{before}  s: {{{options}}}\n"


def train(options: str) -> str:
    """A recipe whose stage trains; `options` stand on line 4."""
    return stage(f"type: train, policy: base, task: sums, {options}")


def task(options: str) -> str:
    """A recipe with a task `t` of made-up numbers, on line 1."""
    return f"tasks: {{t: {{type: numbers, {options}}}}}\nstages: {{s: {{type: tell}}}}\n"


# What a good recipe becomes


def test_a_good_recipe_has_its_sections(load: Load) -> None:
    recipe = load(GOOD)
    assert (recipe.name, recipe.seed) == ("good", 3)
    assert list(recipe.stages) == ["first", "second", "page"]
    assert recipe.policies["base"].config.preset == "mini"
    assert recipe.rewards["full"].config.weight == 2.0
    assert recipe.tracker is not None
    assert recipe.tracker.options == {"uri": "here"}


def test_the_name_of_a_recipe_is_its_files_unless_it_says_so(load: Load) -> None:
    assert load("stages: {s: {type: tell}}", name="my_run.yaml").name == "my_run"


def test_options_are_plain_data_with_defaults_filled_in(load: Load) -> None:
    options = load(GOOD).stages["second"].options
    assert options == {
        "policy": "first",
        "task": "first",
        "rewards": ["mark"],
        "sampler": "second.sampler",
        "reference": "base",
        "group_size": 8,
        "rate": 0.001,
        "trainer": {},
    }
    assert json.loads(json.dumps(options)) == options


def test_references_say_where_the_entry_stands(load: Load) -> None:
    recipe = load(GOOD)
    assert recipe.stages["second"].references == (
        Reference("stage", "first", "policy"),
        Reference("stage", "first", "task"),
        Reference("reward", "mark", "rewards"),
        Reference("sampler", "second.sampler", "sampler"),
        Reference("policy", "base", "reference"),
    )
    found = [recipe.entry(reference.kind, reference.name).type for reference in recipe.stages["second"].references]
    assert found == ["train", "train", "mark", "draw", "model"]


def test_a_default_becomes_an_entry_named_after_stage_and_option(load: Load) -> None:
    recipe = load(GOOD)
    assert recipe.samplers["second.sampler"].config.temperature == 0.6
    assert recipe.stages["second"].config.sampler == "second.sampler"


def test_a_mapping_without_a_type_changes_the_default(load: Load) -> None:
    sampler = load(train("sampler: {top_p: 0.9}")).samplers["s.sampler"]
    assert (sampler.config.temperature, sampler.config.top_p) == (0.6, 0.9)


def test_a_mapping_with_a_type_replaces_the_default(load: Load) -> None:
    sampler = load(train("sampler: {type: draw, top_p: 0.9}")).samplers["s.sampler"]
    assert (sampler.config.temperature, sampler.config.top_p) == (1.0, 0.9)


def test_an_installed_type_stands_for_itself_with_defaults(load: Load) -> None:
    recipe = load(stage("type: train, policy: model, task: numbers"))
    assert recipe.stages["s"].config.policy == "s.policy"
    assert recipe.policies["s.policy"].type == "model"


def test_types_in_a_list_keep_their_name_while_it_is_unique(load: Load) -> None:
    recipe = load(train("rewards: [mark, {type: mark, full: 2}, {type: mark, full: 3}]"))
    assert list(recipe.stages["s"].config.rewards) == ["mark", "s.rewards.1", "s.rewards.2"]
    assert [recipe.rewards[name].config.full for name in recipe.stages["s"].config.rewards] == [1.0, 2.0, 3.0]


def test_stages_that_mean_the_same_default_share_it(load: Load) -> None:
    recipe = load(train("group_size: 4") + "  again: {type: train, policy: s, task: sums}\n")
    assert recipe.stages["s"].config.rewards == recipe.stages["again"].config.rewards == ["mark"]


def test_an_entry_goes_before_a_type_of_the_same_name(load: Load) -> None:
    recipe = load("rewards: {mark: {type: mark, full: 7}}\n" + train("rewards: [mark]"))
    assert [recipe.rewards[name].config.full for name in recipe.stages["s"].config.rewards] == [7.0]


def test_an_inline_entry_never_takes_the_name_of_another(load: Load) -> None:
    recipe = load("samplers: {s.sampler: {type: draw}}\n" + train("rate: 0.1"))
    assert recipe.stages["s"].config.sampler == "s.sampler-2"


def test_by_default_a_stage_may_mean_every_earlier_one(load: Load) -> None:
    recipe = load(GOOD)
    assert recipe.stages["page"].config.stages == ["first", "second"]
    assert recipe.stages["page"].references[1] == Reference("stage", "second", "stages")


def test_an_optional_reference_may_be_null(load: Load) -> None:
    assert load(train("reference: null")).stages["s"].config.reference is None


def test_a_reward_may_refer_to_a_policy(load: Load) -> None:
    recipe = load("rewards: {j: {type: judge, judge: base}}\n" + train("rewards: [j]"))
    assert recipe.rewards["j"].references == (Reference("policy", "base", "judge"),)


def test_a_null_tracker_is_none(load: Load) -> None:
    assert load(GOOD, "tracker=null").tracker is None


def test_files_are_relative_to_the_recipe_and_kept_as_written_in_the_options(tmp_path: Path, load: Load) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text("{}")
    (tmp_path / "b.jsonl").write_text("{}")
    text = "tasks: {t: {type: file, path: data/a.jsonl, more: [b.jsonl]}}\nstages: {s: {type: tell}}"
    entry = load(text).tasks["t"]
    assert entry.config.path == tmp_path / "data" / "a.jsonl"
    assert entry.files == (tmp_path / "data" / "a.jsonl", tmp_path / "b.jsonl")
    assert entry.options == {"path": "data/a.jsonl", "more": ["b.jsonl"]}


def test_a_path_from_the_environment_is_kept_as_written(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    monkeypatch.setenv("PONDER_DATA", str(tmp_path))
    entry = load('tasks: {t: {type: file, path: "${oc.env:PONDER_DATA}/a.jsonl"}}\nstages: {s: {type: tell}}').tasks[
        "t"
    ]
    assert entry.config.path == tmp_path / "a.jsonl"
    assert entry.options["path"] == "${oc.env:PONDER_DATA}/a.jsonl"


@pytest.mark.parametrize("is_absolute", [True, False])
def test_a_default_file_is_looked_for_and_kept_without_its_location(
    tmp_path: Path, load: Load, registry: Registry, is_absolute: bool
) -> None:
    file = tmp_path / "words.txt"
    file.write_text("x")
    default = field(default=file if is_absolute else Path(file.name))
    config = make_dataclass("Words", [("path", Path, default)], frozen=True, kw_only=True)
    plugin = SimpleNamespace(ponder_tasks=hookimpl(lambda: [Component("words", config, config)]))
    plugin.ponder_tasks.__name__ = "ponder_tasks"
    registry.register(plugin, "words")
    entry = load("tasks: {t: {type: words}}\nstages: {s: {type: tell}}").tasks["t"]
    assert (entry.config.path, entry.files, entry.options) == (file, (file,), {"path": "words.txt"})


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ("weights: {a: 1, b: 2.5}", "weights", {"a": 1.0, "b": 2.5}),
        ("lengths: [4, 5]", "lengths", [4, 5]),
        ("betas: [0.5, 1]", "betas", (0.5, 1.0)),
        ("label: no", "label", "no"),
        ("label: null", "label", None),
        ("colour: BLUE", "colour", "BLUE"),
        ("shuffle: true", "shuffle", True),
    ],
)
def test_options_of_every_shape_are_read(load: Load, options: str, name: str, value: object) -> None:
    found = getattr(load(task(options)).tasks["t"].config, name)
    assert getattr(found, "name", found) == value


def test_nested_dataclasses_are_read_alone_and_in_lists(load: Load) -> None:
    assert (
        load("policies: {p: {type: model, lora: {r: 4}}}\nstages: {s: {type: tell}}").policies["p"].config.lora.r == 4
    )
    entry = load(task("parts: [{r: 1}, {alpha: 2}]")).tasks["t"]
    assert [(part.r, part.alpha) for part in entry.config.parts] == [(1, 32.0), (16, 2.0)]
    assert entry.options["parts"][0] == {"r": 1, "alpha": 32.0, "init": "zero"}


def test_another_librarys_options_are_checked_without_importing_it(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DATA / "site"))
    recipe = load(train("trainer: {learning_rate: 0.1, steps: 3}"))
    assert recipe.stages["s"].config.trainer == {"learning_rate": 0.1, "steps": 3}
    assert "foreign_library" not in sys.modules


def test_a_recipe_is_checked_without_torch(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD)
    program = (
        "import sys; from ponder.recipe import load_recipe; from ponder.plugins import load_registry;"
        f"load_recipe({str(tmp_path / 'r.yaml')!r}, (), load_registry([{str(DATA / 'recipe_plugin.py')!r}]));"
        "assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# What is said about a bad one


def test_every_problem_is_said_at_once_with_file_line_and_key(faults: Faults) -> None:
    text = (
        "nmae: x\n"
        "policies: {base: {type: modell}, two: {type: model, preset: minni}}\n"
        "tasks:\n"
        "  sums: {type: numbers, size: four}\n"
        "stages:\n"
        "  s: {type: train, policy: later, task: sum, rewards: [marc], group_sise: 3}\n"
        "  later: {type: train, policy: base}\n"
    )
    assert faults(text) == [
        "r.yaml:1: nmae: not a section of a recipe; did you mean 'name'?",
        "r.yaml:2: policies.base.type: no policy 'modell' is installed; did you mean 'model'?",
        "r.yaml:2: policies.two.preset: expects tiny | mini, not 'minni'; did you mean 'mini'?",
        "r.yaml:4: tasks.sums.size: expects int, not 'four'",
        "r.yaml:6: stages.s.group_sise: no such option; did you mean 'group_size'?",
        "r.yaml:6: stages.s.policy: stage 'later' stands after 's', and stages may only refer back; move it up",
        "r.yaml:6: stages.s.task: no task 'sum'; did you mean 'sums'?",
        "r.yaml:6: stages.s.rewards.0: no reward 'marc'; did you mean 'mark'?",
        "r.yaml:7: stages.later.task: is required (task or stage) and not given; add it",
    ]


def test_an_invalid_recipe_ends_with_exit_code_2_and_counts_its_problems(load: Load) -> None:
    with pytest.raises(InputError, match=r"r\.yaml: 2 problems\n") as caught:
        load("stages: {s: {type: tell, x: 1, y: 2}}")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            "size: '8'",
            "size: is a text; write it as a number or as true or false, without quotes (expects int, not '8')",
        ),
        ("size: 1.5", "size: expects int, not 1.5"),
        ("size: true", "size: expects int, not True"),
        ("size: null", "size: expects int, not None"),
        ("size: [1]", "size: expects int, not [1]"),
        ("size: {a: 1}", "size: expects int, not {'a': 1}"),
        ("size: '???'", "size: expects int, not '???'"),
        ("label: 8", "label: is not a text; put it in quotes (expects str | null, not 8)"),
        ("label: true", "label: is not a text; put it in quotes (expects str | null, not True)"),
        ("shuffle: 1", "shuffle: is a number; write true or false (expects bool, not 1)"),
        ("shuffle: yes", "shuffle: is a text; write it as a number or as true or false, without quotes"),
        ("lengths: 4", "lengths: expects list[int], not 4"),
        ("lengths: [1, x]", "lengths.1: expects list[int], not 'x'"),
        ("lengths: [1, '2']", "lengths: is a text; write it as a number"),
        ("weights: {a: b}", "weights.a: expects dict[str, float], not 'b'"),
        ("weights: {a: '1'}", "weights: is a text; write it as a number"),
        ("weights: [1]", "weights: expects dict[str, float], not [1]"),
        ("betas: [1, 2, 3]", "betas: expects [float, float], not [1, 2, 3]"),
        ("colour: GREEN", "colour: expects RED | BLUE, not 'GREEN'"),
        ("parts: [{q: 1}]", "parts.0.q: no such option; did you mean 'r'?"),
        ("parts: [3]", "parts.0: expects a mapping, not 3"),
        ("parts: [{r: x}, {init: zerro}]", "parts.0.r: expects int, not 'x'"),
    ],
)
def test_a_value_of_the_wrong_type_is_said_with_what_is_expected(faults: Faults, options: str, expected: str) -> None:
    found = faults(task(options))[0]
    expected = expected.replace("did you mean 'r'?", "known: alpha, init, r.")
    assert found.startswith(f"r.yaml:1: tasks.t.{expected}")


def test_problems_of_nested_options_are_all_said(faults: Faults) -> None:
    assert faults("policies: {p: {type: model, lora: {r: x, init: zerro, q: 1}}}\nstages: {s: {type: tell}}") == [
        "r.yaml:1: policies.p.lora.q: no such option; known: alpha, init, r.",
        "r.yaml:1: policies.p.lora.r: expects int, not 'x'",
        "r.yaml:1: policies.p.lora.init: expects gaussian | zero, not 'zerro'; did you mean 'zero'?",
    ]


def test_what_a_config_refuses_is_said_at_the_option_it_names(faults: Faults) -> None:
    assert faults(train("rate: 1.0,\n     group_size: 1")) == [
        "r.yaml:5: stages.s.group_size: group_size must be at least 2"
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            "trainer: {learning_rat: 1}",
            "trainer.learning_rat: foreign_library.TrainerOptions has no such field; did you mean",
        ),
        ("trainer: {output_dir: x}", "trainer.output_dir: is set by the component itself; take it out"),
        ("trainer: {known: 2}", "trainer.known: foreign_library.TrainerOptions has no such field"),
        ("trainer: {learning_rate: fast}", "trainer.learning_rate: expects float, not 'fast'"),
        ("trainer: {warmup: long}", "trainer.warmup: expects int | linear, not 'long'"),
        ("trainer: 3", "trainer: expects a mapping, not 3"),
    ],
)
def test_another_librarys_options_are_refused_by_name(
    faults: Faults, monkeypatch: pytest.MonkeyPatch, options: str, expected: str
) -> None:
    monkeypatch.syspath_prepend(str(DATA / "site"))
    assert faults(train(options))[0].startswith(f"r.yaml:4: stages.s.{expected}")


def test_all_that_is_wrong_with_another_librarys_options_is_said_at_their_keys(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DATA / "site"))
    assert faults(train("trainer: {\n      learning_rat: 1,\n      steps: many,\n      warmup: 2.5}")) == [
        "r.yaml:5: stages.s.trainer.learning_rat: foreign_library.TrainerOptions has no such field; did you mean 'learning_rate'?",
        "r.yaml:6: stages.s.trainer.steps: expects int, not 'many'",
        "r.yaml:7: stages.s.trainer.warmup: expects int | linear, not 2.5",
    ]


def test_what_a_config_refuses_of_another_librarys_options_is_said_at_the_key_it_names(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DATA / "site"))
    assert faults(train("rate: 1.0,\n     trainer: {\n      steps: 0}")) == [
        "r.yaml:6: stages.s.trainer.steps: must be at least 1, not 0"
    ]


def test_another_library_that_is_not_installed_is_said(faults: Faults) -> None:
    (text,) = faults(train("trainer: {a: 1}"))
    assert "its keys are those of foreign_library.TrainerOptions, which cannot be imported" in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("policy: sums, task: sums", "policy: expects a policy, and 'sums' is a task"),
        ("policy: s, task: sums", "policy: a stage cannot refer to itself; stages may only refer back"),
        ("policy: [base], task: sums", "policy: expects the name of a policy, not ['base']"),
        ("policy: null, task: sums", "policy: expects the name of a policy, not None"),
        ("policy: '', task: sums", "policy: expects the name of a policy, not ''"),
        ("policy: base, task: sums, rewards: mark", "rewards: expects a list of rewards, not 'mark'; write [...]"),
        ("policy: base, task: sums, rewards: [mark, mark]", "rewards: names 'mark' twice; once is enough"),
        ("policy: base, task: sums, sampler: {top_q: 1}", "sampler.top_q: no such option; did you mean 'top_p'?"),
        (
            "policy: base, task: sums, sampler: {type: drow}",
            "sampler.type: no sampler 'drow' is installed; did you mean 'draw'?",
        ),
        ("policy: {preset: mini}, task: sums", "policy.type: name a policy; installed: model"),
        ("policy: bose, task: sums", "policy: no policy 'bose'; did you mean 'base'?"),
    ],
)
def test_a_wrong_reference_is_said(faults: Faults, options: str, expected: str) -> None:
    assert faults(stage(f"type: train, {options}")) == [f"r.yaml:4: stages.s.{expected}"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("stages: [late]", "stages.0: no stage 'late'; there are none."),
        ("stages: [{type: train}]", "stages.0: expects the name of an earlier stage, not a mapping"),
        ("stages: [base]", "stages.0: expects a stage, and 'base' is a policy"),
        ("stages: '*x'", "stages: expects a list of stages, not '*x'; write [...]"),
    ],
)
def test_a_wrong_reference_to_a_stage_is_said(faults: Faults, options: str, expected: str) -> None:
    assert faults(stage(f"type: tell, {options}")) == [f"r.yaml:4: stages.s.{expected}"]


def test_a_dangling_reference_repeats_the_plugins_that_failed_to_load_once(faults: Faults, registry: Registry) -> None:
    registry.broken["acme:judge"] = ImportError("no module named acme")
    found = faults(train("rewards: [polite, kind]"))
    assert len(found) == 3
    assert found[-1] == "  plugin 'acme:judge' failed to load: ImportError: no module named acme"


def test_a_broken_plugin_does_not_stop_a_recipe_that_does_not_name_it(load: Load, registry: Registry) -> None:
    registry.broken["acme:judge"] = ImportError("no module named acme")
    assert load(GOOD).name == "good"


def test_a_name_that_two_plugins_offer_stops_only_the_recipe_that_names_it(
    load: Load, faults: Faults, registry: Registry
) -> None:
    registry.register(load_plugin_file(DATA / "site" / "acme_working.py"), "one", distribution="one")
    registry.register(load_plugin_file(DATA / "site" / "acme_duplicate.py"), "two", distribution="two")
    assert load(GOOD).name == "good"
    (text,) = faults(train("rewards: [acme_short]"))
    assert "reward 'acme_short' is offered by one 0 and by two 0" in text


def test_a_task_may_be_made_from_what_a_stage_made(load: Load) -> None:
    recipe = load("tasks: {m: {type: mirror, source: s}}\nstages: {s: {type: tell}, later: {type: tell, stages: [s]}}")
    assert recipe.tasks["m"].references == (Reference("stage", "s", "source"),)


def test_entries_that_refer_to_each_other_in_a_circle_are_refused(faults: Faults) -> None:
    text = "tasks:\n  a: {type: mirror, source: b}\n  b: {type: mirror, source: a}\nstages: {s: {type: tell}}"
    (found,) = faults(text)
    assert "refers to itself in a circle: tasks." in found


def test_a_default_that_names_its_own_type_is_refused(faults: Faults) -> None:
    (found,) = faults("tasks: {a: {type: mirror}}\nstages: {s: {type: tell}}")
    assert "an option's default goes round in a circle; name an entry instead" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x", "r.yaml:1: stages: a recipe needs at least one stage; add one"),
        ("stages: {}", "r.yaml:1: stages: a recipe needs at least one stage; add one"),
        ("stages:", "r.yaml:1: stages: expects a mapping of names to entries, not None; leave it out if it is empty"),
        ("stages: [a]", "r.yaml:1: stages: expects a mapping of names to entries, not ['a']"),
        ("stages: {s: tell}", "r.yaml:1: stages.s: expects a mapping with a type, such as {type: ...}, not 'tell'"),
        ("stages: {s: null}", "r.yaml:1: stages.s: expects a mapping with a type, such as {type: ...}, not None"),
        ("stages: {s: {}}", "r.yaml:1: stages.s.type: name a stage; installed: tell, train"),
        ("stages: {s: {type: 3}}", "r.yaml:1: stages.s.type: name a stage; installed: tell, train"),
        ("stages: {../s: {type: tell}}", "r.yaml:1: stages.../s: '../s' is not a name; a name has lower-case letters"),
        ("stages: {a/b: {type: tell}}", "r.yaml:1: stages.a/b: 'a/b' is not a name"),
        ("stages: {.s: {type: tell}}", "r.yaml:1: stages..s: '.s' is not a name"),
        ("stages: {Upper: {type: tell}}", "r.yaml:1: stages.Upper: 'Upper' is not a name"),
        ("stages: {s: {type: tell}}\nname: ../up", "r.yaml:2: name: '../up' is not a name"),
        ("stages: {s: {type: tell}}\nname: 3", "r.yaml:2: name: 3 is not a name"),
        ("stages: {s: {type: tell}}\nseed: -1", "r.yaml:2: seed: expects a whole number from 0 on, not -1"),
        ("stages: {s: {type: tell}}\nseed: true", "r.yaml:2: seed: expects a whole number from 0 on, not True"),
        ("stages: {s: {type: tell}}\nseed: a", "r.yaml:2: seed: expects a whole number from 0 on, not 'a'"),
        ("stages: {s: {type: tell}}\ntracker: note", "r.yaml:2: tracker: expects a mapping with a type"),
        (
            "stages: {s: {type: tell}}\ntracker: {type: noat}",
            "r.yaml:2: tracker.type: no tracker 'noat' is installed; did you",
        ),
        (
            "policies: {s: {type: model}}\nstages: {s: {type: tell}}",
            "r.yaml:2: stages.s: has the same name as a policy",
        ),
        (
            "tasks: {t: {type: file, path: nope}}\nstages: {s: {type: tell}}",
            "r.yaml:1: tasks.t.path: there is no file nope",
        ),
        (
            "tasks: {t: {type: file}}\nstages: {s: {type: tell}}",
            "r.yaml:1: tasks.t.path: is required (path) and not given",
        ),
        ("- a", "r.yaml:1: holds a list; a recipe is a mapping"),
    ],
)
def test_a_malformed_recipe_is_said(faults: Faults, text: str, expected: str) -> None:
    assert faults(text)[0].startswith(expected)


def test_a_path_that_no_path_can_be_is_said(faults: Faults) -> None:
    text = f"tasks: {{t: {{type: file, path: {'x' * 5000}}}}}\nstages: {{s: {{type: tell}}}}"
    assert faults(text)[0].startswith("r.yaml:1: tasks.t.path: there is no file xxx")


def test_a_file_name_unfit_for_a_run_needs_a_name_in_the_recipe(load: Load) -> None:
    with pytest.raises(InputError, match="the file's own name 'My Run' will not do"):
        load("stages: {s: {type: tell}}", name="My Run.yaml")


@pytest.mark.parametrize("secret", ["hf_abcdefghijklmnop", "sk-abcdefghijklmnop", "https://me:hunter2@host/x"])
def test_what_looks_like_a_secret_is_not_shown(faults: Faults, secret: str) -> None:
    (text,) = faults(task(f"size: {secret!r}"))
    assert "[hidden]" in text
    assert secret not in text
    assert "hunter2" not in text


def test_a_secret_that_is_cut_short_is_not_shown_either(faults: Faults) -> None:
    (text,) = faults(task(f"size: '{'x' * 49} hf_abcdefghijklmnop'"))
    assert "hf_" not in text


def test_the_value_of_a_key_that_sounds_secret_is_not_shown(faults: Faults) -> None:
    (text,) = faults(task("api_key: correct-horse"))
    assert text.endswith("tasks.t.api_key: expects int, not a value that is not shown")


def test_what_came_from_the_environment_is_not_shown(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONDER_CANARY", "canary-value")
    found = faults(task("size: '${oc.env:PONDER_CANARY}'").replace("type: tell", "type: '${oc.env:PONDER_CANARY}'"))
    assert "canary-value" not in "\n".join(found)
    assert "expects int, not '${oc.env:PONDER_CANARY}'" in found[0]
