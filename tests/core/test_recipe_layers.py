"""Layering: `extends` and `key.path=value`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ponder.errors import InputError
from ponder.merge import layered, overridden
from ponder.plugins import Registry, load_plugin_file
from ponder.problems import Place, Problems, RecipeError
from ponder.recipe import Recipe, load_recipe
from ponder.yaml_reader import Node, read_text

DATA = Path(__file__).parent.parent / "data"
Write = Callable[[str, str], Path]
Overridden = Callable[..., Recipe]

BASE = """\
policies: {base: {type: model, preset: mini}}
tasks: {sums: {type: numbers, size: 8, lengths: [2, 3]}}
samplers: {cold: {type: draw, temperature: 0.1}}
stages:
  v1.5: {type: train, policy: base, task: sums, sampler: cold}
  s: {type: train, policy: base, task: sums}
"""


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register(load_plugin_file(DATA / "recipe_plugin.py"), "toy")
    return registry


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write_file


@pytest.fixture
def override(write: Write, registry: Registry) -> Overridden:
    file = write("r.yaml", BASE)
    return lambda *overrides: load_recipe(file, overrides, registry)


def plain(path: Path) -> object:
    problems = Problems()
    node = layered(path, problems)
    problems.raise_any("r.yaml")
    return node.plain()


def fault(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    return str(caught.value)


def test_a_file_goes_over_the_one_it_extends(write: Write) -> None:
    write("base.yaml", "seed: 1\nstages: {a: {type: x, k: 1, l: [1, 2]}, b: {type: y}}")
    file = write("top.yaml", "extends: base.yaml\nstages: {a: {k: 2, l: [3]}, c: {type: z}}")
    stages = {"a": {"type": "x", "k": 2, "l": [3]}, "b": {"type": "y"}, "c": {"type": "z"}}
    assert plain(file) == {"seed": 1, "stages": stages}


def test_of_several_files_the_later_goes_over_the_earlier(write: Write) -> None:
    write("one.yaml", "seed: 1\nname: one")
    write("two.yaml", "seed: 2")
    assert plain(write("top.yaml", "extends: [one.yaml, two.yaml]")) == {"seed": 2, "name": "one"}


def test_files_are_relative_to_the_file_that_extends_them(write: Write) -> None:
    write("parts/deep.yaml", "seed: 7")
    write("parts/base.yaml", "extends: deep.yaml")
    assert plain(write("top.yaml", "extends: parts/base.yaml")) == {"seed": 7}


def test_an_entry_of_another_type_replaces_the_whole_entry(write: Write) -> None:
    write("base.yaml", "policies: {p: {type: model, preset: mini}}")
    file = write("top.yaml", "extends: base.yaml\npolicies: {p: {type: other, path: x}}")
    assert plain(file) == {"policies": {"p": {"type": "other", "path": "x"}}}


def test_null_does_not_take_an_entry_out_in_silence(write: Write, registry: Registry) -> None:
    write("base.yaml", BASE)
    file = write("top.yaml", "extends: base.yaml\nstages: {s: null}")
    text = fault(lambda: load_recipe(file, (), registry))
    assert text.endswith("top.yaml:2: stages.s: expects a mapping with a type, such as {type: ...}, not None")


def test_a_problem_is_said_in_the_file_where_it_stands(write: Write, registry: Registry) -> None:
    write("base.yaml", BASE.replace("mini", "miny"))
    file = write("top.yaml", "extends: base.yaml\nstages: {s: {group_sise: 1}}")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, (), registry)
    assert [line.rpartition("/")[2].partition(": expects")[0] for line in caught.value.problems] == [
        "base.yaml:1: policies.base.preset",
        "top.yaml:2: stages.s.group_sise: no such option; did you mean 'group_size'?",
    ]


def test_an_input_file_is_relative_to_the_file_that_names_it(write: Write, registry: Registry) -> None:
    data = write("parts/data.jsonl", "{}")
    write("parts/base.yaml", "tasks: {t: {type: file, path: data.jsonl}}")
    file = write("top.yaml", "extends: parts/base.yaml\nstages: {s: {type: tell}}")
    assert load_recipe(file, (), registry).tasks["t"].files == (data,)


def test_a_circle_of_files_is_refused_with_the_way_round(write: Write) -> None:
    write("one.yaml", "extends: two.yaml")
    text = fault(lambda: plain(write("two.yaml", "extends: one.yaml")))
    assert "extends: goes round in a circle:" in text
    assert text.count(" -> ") == 2


def test_a_file_that_extends_itself_is_refused(write: Write) -> None:
    assert "goes round in a circle" in fault(lambda: plain(write("one.yaml", "extends: ./one.yaml")))


def test_a_missing_file_is_said_with_its_line(write: Write) -> None:
    text = fault(lambda: plain(write("top.yaml", "seed: 1\nextends: nope.yaml")))
    assert "top.yaml:2: extends: there is no file" in text


def test_too_many_files_are_refused(write: Write) -> None:
    write("f0.yaml", "seed: 1")
    for number in range(1, 8):
        write(f"f{number}.yaml", f"extends: [f{number - 1}.yaml, f{number - 1}.yaml]")
    assert "extends more than 32 files" in fault(lambda: plain(write("top.yaml", "extends: f7.yaml")))


@pytest.mark.parametrize("value", ["3", "{a: b}", "[3]", "null", "''"])
def test_extends_takes_paths_only(write: Write, value: str) -> None:
    assert "extends: expects the path of a recipe" in fault(lambda: plain(write("top.yaml", f"extends: {value}")))


@pytest.mark.parametrize(
    ("text", "section", "name", "option", "value"),
    [
        ("stages.s.group_size=4", "stages", "s", "group_size", 4),
        ("stages.v1.5.group_size=4", "stages", "v1.5", "group_size", 4),
        ("stages.s.rate=1e-5", "stages", "s", "rate", 1e-5),
        (" stages.s.rate = 1e-5", "stages", "s", "rate", 1e-5),
        ("stages.s.rewards=[mark]", "stages", "s", "rewards", ["mark"]),
        ("tasks.sums.lengths.1=9", "tasks", "sums", "lengths", [2, 9]),
        ("tasks.sums.label=a=b", "tasks", "sums", "label", "a=b"),
        ("tasks.sums.label='8'", "tasks", "sums", "label", "8"),
        ("tasks.sums.label=", "tasks", "sums", "label", None),
        ("tasks.sums.weights.new=2", "tasks", "sums", "weights", {"new": 2.0}),
        ("rewards.extra={type: mark, full: 3}", "rewards", "extra", "full", 3.0),
        ("policies.base.lora.r=3", "policies", "base", "lora", {"r": 3, "alpha": 32.0, "init": "zero"}),
    ],
)
def test_an_override_goes_over_the_recipe(
    override: Overridden, text: str, section: str, name: str, option: str, value: object
) -> None:
    assert getattr(override(text), section)[name].options[option] == value


def test_an_override_may_change_the_sampler_that_a_stage_has_by_default(override: Overridden) -> None:
    assert override("stages.s.sampler.temperature=0.2").samplers["s.sampler"].config.temperature == 0.2


def test_overrides_may_name_the_run_and_its_seed(override: Overridden) -> None:
    recipe = override("name=other", "seed=5", "seed=6")
    assert (recipe.name, recipe.seed) == ("other", 6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stages.t.group_size=4", "override stages.t.group_size: the recipe has no entry 'stages.t'; known: s, v1.5."),
        (
            "stage.s.group_size=4",
            "override stage.s.group_size: the recipe has no section 'stage'; did you mean 'stages'?",
        ),
        ("stages.s.group_sise=4", "override stages.s.group_sise: no such option; did you mean 'group_size'?"),
        ("stages.s.group_size=x", "override stages.s.group_size: expects int, not 'x'"),
        ("stages.s.group_size=1", "override stages.s.group_size: group_size must be at least 2"),
        ("stages.s.group_size=null", "override stages.s.group_size: expects int, not None"),
        ("stages.s=null", "override stages.s: expects a mapping with a type, such as {type: ...}, not None"),
        ("stages=null", "override stages: expects a mapping of names to entries, not None"),
        (
            "stages.v1.5.sampler.temperature=1",
            "override stages.v1.5.sampler.temperature: stages.v1.5.sampler is 'cold', not a",
        ),
        (
            "tasks.sums.lengths.7=1",
            "override tasks.sums.lengths.7: tasks.sums.lengths has no item '7'; items are 0 to 1",
        ),
        ("tasks.sums.lengths.x=1", "override tasks.sums.lengths.x: tasks.sums.lengths has no item 'x'"),
        ("extends=base.yaml", "override extends: cannot be overridden; write a file that extends the others"),
        ("color=red", "override color: not a section of a recipe; known:"),
        ("stages.s.group_size", "override: 'stages.s.group_size' is not key.path=value, such as"),
        ("=4", "override: '=4' is not key.path=value"),
        ("stages.s.rate=[1", "override stages.s.rate: is not YAML"),
        ("stages.s.rate=.nan", "override stages.s.rate: .nan is not a finite number"),
        ("stages.s.rate=!!float 1", "override stages.s.rate: tags such as"),
        ("stages..x=1", "override stages..x: the recipe has no entry 'stages.'"),
    ],
)
def test_a_wrong_override_is_said(override: Overridden, text: str, expected: str) -> None:
    assert fault(lambda: override(text)).startswith(expected)


def test_wrong_overrides_are_said_all_at_once(override: Overridden) -> None:
    with pytest.raises(RecipeError) as caught:
        override("stages.s.group_size=x", "stages.t.rate=1")
    assert len(caught.value.problems) == 2


def test_the_text_of_an_override_shows_no_secret(override: Overridden) -> None:
    assert "hunter2" not in fault(lambda: override("stages.s.api_key=hunter2"))


TREE = "name: r\nstages: {a: {type: t, list: [1, {b: 2}], map: {x: 1}}, a.b: {type: u}}"
KEYS = st.sampled_from(
    ["stages", "a", "a.b", "list", "map", "0", "1", "b", "x", "name", "", "new", "-1", "999999999999"]
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.text(max_size=60),
        st.builds(lambda keys, value: f"{'.'.join(keys)}={value}", st.lists(KEYS), st.text(max_size=9)),
    )
)
@example("stages.a.list.²=1")
@example("name\ud800=1")
def test_any_override_gives_a_tree_or_problems(text: str) -> None:
    problems = Problems()
    tree = read_text(TREE, Place("r.yaml", 0, Path()), problems)
    result = overridden(tree, [text], problems)
    assert isinstance(result, Node)
    assert isinstance(result.value, dict)


@given(st.sampled_from(["stages.a.type", "stages.a.map.x", "stages.a.list.0", "name"]), st.integers(-99, 99))
def test_an_override_changes_its_own_value_and_nothing_else(path: str, value: int) -> None:
    problems = Problems()
    tree = read_text(TREE, Place("r.yaml", 0, Path()), problems)
    changed = overridden(tree, [f"{path}={value}"], problems).plain()
    expected = tree.plain()
    *parents, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    target = expected
    for key in parents:
        target = target[key]
    target[last] = value
    assert (changed, problems.found) == (expected, [])
