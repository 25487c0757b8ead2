"""The guarded registry: entry points of a fake site directory, plain files, and everything that can be wrong with them."""

from __future__ import annotations

import dataclasses
import pickle
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ponder import Component, RewardConfig, hookimpl
from ponder.errors import InputError
from ponder.plugins import IncompatiblePluginError, Registry, load_plugin_file, load_registry

SITE = Path(__file__).parent.parent / "data" / "site"
WORKING = SITE / "acme_working.py"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(RewardConfig):
    """Options of a reward."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PONDER_DISABLE_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(str(SITE))


def offering(*components: object, hook: str = "ponder_rewards") -> types.SimpleNamespace:
    """A plugin whose one hook yields these."""

    def implementation() -> list[object]:
        return list(components)

    implementation.__name__ = hook
    return types.SimpleNamespace(**{hook: hookimpl(implementation)})


def broken_text(plugin: object) -> str:
    registry = Registry()
    registry.register(plugin, "sut")
    assert registry.all() == []
    return str(registry.broken["sut"])


def test_an_installed_plugin_is_found_by_its_name(site: None) -> None:
    offer = load_registry(disabled=["duplicate"]).offer("reward", "acme_short")
    assert (offer.distribution, offer.version, offer.component.name) == ("acme-working", "1.2.3", "acme_short")


def test_the_distribution_is_told_with_its_version(site: None) -> None:
    registry = load_registry(disabled=["duplicate"])
    assert registry.distribution_of("reward", "acme_short") == "acme-working 1.2.3"


def test_a_broken_plugin_is_kept_with_its_error_and_stops_no_other(site: None) -> None:
    registry = load_registry(disabled=["duplicate"])
    assert isinstance(registry.broken["acme-broken:broken"], ModuleNotFoundError)
    assert registry.find("reward", "acme_short").name == "acme_short"


def test_an_entry_point_that_is_no_module_is_a_broken_plugin(site: None) -> None:
    assert "acme-malformed:malformed" in load_registry().broken


def test_what_a_plugin_prints_does_not_go_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "chatty.py"
    file.write_text("print('hello')")
    load_registry([file])
    assert capsys.readouterr() == ("", "hello\n")


def test_asking_for_what_nobody_offers_suggests_a_name_and_repeats_the_load_errors(site: None) -> None:
    with pytest.raises(InputError) as caught:
        load_registry(disabled=["duplicate"]).find("reward", "acme_shirt")
    text = str(caught.value)
    assert "no reward 'acme_shirt' is installed; did you mean 'acme_short'?" in text
    assert "plugin 'acme-broken:broken' failed to load: ModuleNotFoundError: No module named" in text


def test_asking_for_a_component_of_another_kind_says_which_kind_it_is(site: None) -> None:
    with pytest.raises(InputError, match="no stage 'acme_short' is installed; 'acme_short' is a reward"):
        load_registry(disabled=["duplicate"]).find("stage", "acme_short")


def test_two_distributions_with_one_name_are_an_error_that_names_both(site: None) -> None:
    with pytest.raises(InputError) as caught:
        load_registry().find("reward", "acme_short")
    assert "offered by acme-duplicate 2.0.0 and by acme-working 1.2.3" in str(caught.value)
    assert "PONDER_DISABLE_PLUGINS=acme-duplicate" in str(caught.value)


def test_a_name_claimed_twice_does_not_disturb_the_other_names(site: None) -> None:
    assert load_registry().find("reward", "acme_other").name == "acme_other"


def test_a_misspelt_hook_is_an_error_of_its_plugin(site: None) -> None:
    error = load_registry().broken["acme-misspelt:misspelt"]
    assert str(error) == "there is no hook 'ponder_rewardz'; did you mean 'ponder_rewards'?"


@pytest.mark.parametrize(
    "name", ["duplicate", "acme-duplicate", "acme-duplicate:duplicate", " duplicate , nothing", "Acme_Duplicate"]
)
def test_the_environment_leaves_plugins_out(site: None, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PONDER_DISABLE_PLUGINS", name)
    registry = load_registry()
    assert registry.distribution_of("reward", "acme_short") == "acme-working 1.2.3"
    assert "acme_other" not in registry.names("reward")


def test_a_name_to_leave_out_that_is_not_installed_is_told(site: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONDER_DISABLE_PLUGINS", "acme_duplicat,broken")
    (text,) = load_registry().not_installed
    assert text == (
        "PONDER_DISABLE_PLUGINS names 'acme_duplicat', which is not installed; did you mean 'acme-duplicate'?"
    )
    assert f"  {text}" in load_registry().copy().broken_lines()


def test_a_disabled_plugin_is_not_even_imported(site: None) -> None:
    assert "acme-broken:broken" not in load_registry(disabled=["broken"]).broken


def test_a_plugin_made_for_another_version_is_left_out_although_it_would_import(site: None) -> None:
    error = load_registry(disabled=["duplicate"]).broken["acme-future:future"]
    assert isinstance(error, IncompatiblePluginError)
    assert str(error).startswith("acme-future 3.0.0 needs ponder<10,>=9.1, and this is ponder 0.")
    assert "pip install --upgrade acme-future" in str(error)


def test_asking_for_what_nobody_offers_tells_what_is_incompatible_and_what_was_left_out(
    site: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONDER_DISABLE_PLUGINS", "duplicate")
    with pytest.raises(InputError) as caught:
        load_registry().find("reward", "acme_other")
    assert "plugin 'acme-future:future' is incompatible: acme-future 3.0.0 needs ponder" in str(caught.value)
    assert "plugin 'acme-duplicate:duplicate' is left out by PONDER_DISABLE_PLUGINS" in str(caught.value)


def test_a_broken_plugin_is_named_with_the_line_that_failed(site: None) -> None:
    lines = load_registry(disabled=["duplicate"]).broken_lines()
    assert any("acme_broken.py:" in line and "ModuleNotFoundError" in line for line in lines)


def test_every_name_that_two_distributions_offer_is_listed(site: None) -> None:
    (text,) = load_registry().conflicts()
    assert "reward 'acme_short' is offered by acme-duplicate 2.0.0 and by acme-working 1.2.3" in text


def test_a_copy_of_a_registry_takes_more_plugins_than_the_original() -> None:
    original = Registry()
    original.register(offering(Component("a", Options, Options)), "first")
    copied = original.copy()
    copied.register(offering(Component("b", Options, Options)), "second")
    assert (original.names("reward"), copied.names("reward")) == (["a"], ["a", "b"])


def test_a_plain_file_is_a_plugin() -> None:
    offer = load_registry([WORKING]).offer("reward", "acme_short")
    assert offer.distribution == "acme_working.py"


def test_the_version_of_a_plain_file_changes_with_its_contents(tmp_path: Path) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    first.write_bytes(WORKING.read_bytes())
    second.write_bytes(WORKING.read_bytes() + b"# more\n")
    versions = {load_registry([file]).offer("reward", "acme_short").version for file in (first, second)}
    assert len(versions) == 2


def test_a_plain_file_that_does_not_exist_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--plugin .*nope\.py: no such file"):
        load_registry([tmp_path / "nope.py"])


@pytest.mark.parametrize("source", ["import nothing_of_the_kind", "1 +", "raise SystemExit(3)"])
def test_a_plain_file_that_fails_to_import_is_a_broken_plugin(tmp_path: Path, source: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(source)
    assert list(load_registry([file], disabled=[]).broken)[-1] == str(file)


def test_a_plain_file_which_is_not_python_is_a_broken_plugin(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    assert "not a Python file" in str(load_registry([file]).broken[str(file)])


def test_a_plain_file_is_loaded_once_and_its_objects_pickle() -> None:
    module = load_plugin_file(WORKING)
    config = pickle.loads(pickle.dumps(module.ShortConfig(max_chars=3)))
    assert load_plugin_file(WORKING) is module
    assert config == module.ShortConfig(max_chars=3)


def test_the_registry_remembers_its_plain_files() -> None:
    assert load_registry([WORKING]).plugin_files == (WORKING.resolve(),)


def test_offers_are_listed_by_kind_and_name() -> None:
    registry = Registry()
    registry.register(offering(Component("b", Options, Options), Component("a", Options, Options)), "sut")
    assert [offer.component.name for offer in registry.all()] == ["a", "b"]


def test_observers_are_called_through_the_registry() -> None:
    heard: list[object] = []

    def ponder_stage_started(context: object) -> None:
        heard.append(context)

    registry = Registry()
    registry.register(types.SimpleNamespace(ponder_stage_started=hookimpl(ponder_stage_started)), "sut")
    registry.hook.ponder_stage_started(context="reason")
    assert heard == ["reason"]


def test_a_broken_plugin_observes_nothing() -> None:
    heard: list[object] = []

    def ponder_stage_started(context: object) -> None:
        heard.append(context)

    plugin = offering("not a component")
    plugin.ponder_stage_started = hookimpl(ponder_stage_started)
    registry = Registry()
    registry.register(plugin, "sut")
    registry.hook.ponder_stage_started(context="reason")
    assert heard == []


def test_a_hook_may_offer_nothing() -> None:
    registry = Registry()
    registry.register(offering(), "sut")
    assert (registry.broken, registry.all()) == ({}, [])


def test_a_hook_that_returns_none_breaks_its_plugin() -> None:
    text = broken_text(types.SimpleNamespace(ponder_rewards=hookimpl(named("ponder_rewards", lambda: None))))
    assert text.startswith("ponder_rewards returns None; `yield Component(...)` in it")


def test_what_is_not_a_component_breaks_its_plugin() -> None:
    assert broken_text(offering({"name": "x"})) == "ponder_rewards yields dict, not Component"


def test_a_hook_that_raises_breaks_its_plugin() -> None:
    def ponder_rewards() -> list[object]:
        raise RuntimeError("no luck")

    assert broken_text(types.SimpleNamespace(ponder_rewards=hookimpl(ponder_rewards))) == "no luck"


def test_a_plugin_without_any_hook_is_broken() -> None:
    assert "implements no hook" in broken_text(types.SimpleNamespace(ponder_reward=None))


def test_a_hook_without_its_marker_breaks_its_plugin() -> None:
    def ponder_rewards() -> list[object]:
        return []

    assert "put @hookimpl above it" in broken_text(types.SimpleNamespace(ponder_rewards=ponder_rewards))


def test_a_hook_with_an_argument_nobody_passes_breaks_its_plugin() -> None:
    def ponder_rewards(colour: str) -> list[object]:
        return []

    (line,) = broken_text(types.SimpleNamespace(ponder_rewards=hookimpl(ponder_rewards))).splitlines()
    assert "ponder_rewards(colour: 'str')" in line
    assert "Argument(s) {'colour'} are declared" in line


def test_one_plugin_offering_a_name_twice_is_broken() -> None:
    twice = Component("a", Options, Options)
    assert "offered twice" in broken_text(offering(twice, twice))


@dataclasses.dataclass(kw_only=True)
class Thawed:
    """Not frozen."""


@dataclasses.dataclass(frozen=True)
class Positional:
    """Not keyword-only."""

    size: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unevaluable:
    """Annotated with what does not exist."""

    size: NoSuchType = 1  # type: ignore[name-defined]  # noqa: F821


@dataclasses.dataclass(frozen=True, kw_only=True)
class Typed:
    """Has an option that clashes with the key `type`."""

    type: str = "x"


class Undecorated(Options):
    """Adds an option, and is no dataclass itself."""

    size: int = 1


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (dict, "is not a dataclass"),
        (Options(), "is not a dataclass"),
        (Undecorated, "config Undecorated is not a dataclass; write @dataclass(frozen=True, kw_only=True) above it"),
        (Thawed, "is not frozen"),
        (Positional, "is not keyword-only (size)"),
        (Unevaluable, "has an annotation that cannot be evaluated"),
        (Typed, "has an option named 'type'"),
    ],
)
def test_a_config_that_is_no_frozen_dataclass_breaks_its_plugin(config: Any, fault: str) -> None:
    assert fault in broken_text(offering(Component("x", config, Options), hook="ponder_samplers"))


def test_a_reward_whose_options_carry_no_weight_breaks_its_plugin() -> None:
    frozen = dataclasses.make_dataclass("Frozen", [], frozen=True, kw_only=True)
    assert "does not extend RewardConfig" in broken_text(offering(Component("x", frozen, frozen)))


@pytest.mark.parametrize("name", ["", "Upper", "a b", "../x", "a/b", ".hidden", "-dash", "ü", 3])
def test_a_component_name_unfit_for_recipes_breaks_its_plugin(name: Any) -> None:
    assert "names are lower-case letters" in broken_text(offering(Component(name, Options, Options)))


def test_a_build_that_cannot_be_called_breaks_its_plugin() -> None:
    assert "build is str, not callable" in broken_text(offering(Component("x", Options, "nope")))  # type: ignore[arg-type]


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__ = name
    return function
