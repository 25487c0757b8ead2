"""The bounded YAML reader: what it reads, what it refuses, and where it says a fault is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ponder.errors import InputError
from ponder.problems import Place, Problems
from ponder.yaml_reader import MAX_DEPTH, MAX_NODES, Node, read_file, read_text, read_value

PLACE = Place("r.yaml", 0, Path())


def read(text: str) -> Any:
    """The plain data of a text; InputError for any fault."""
    problems = Problems()
    node = read_text(text, PLACE, problems)
    problems.raise_any("r.yaml")
    return node.plain()


def fault(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5),
        ("1.5e+3", 1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+3", 3),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("'8'", "8"),
        ('"true"', "true"),
        ("|\n  two\n  lines", "two\nlines"),
        ("9223372036854775807", 2**63 - 1),
        ("0000000000000000000000000000000000007", 7),
        ("[1, a, null]", [1, "a", None]),
        ("{b: {c: 1}}", {"b": {"c": 1}}),
        ("中文", "中文"),
    ],
)
def test_values_mean_what_yaml_1_2_says(written: str, value: Any) -> None:
    found = read(f"a: {written}")["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "r.yaml:1: holds nothing; a recipe is a mapping with a section 'stages'"),
        ("# only a comment\n", "r.yaml:1: holds nothing; a recipe is a mapping with a section 'stages'"),
        ("- a\n- b\n", "r.yaml:1: holds a list; a recipe is a mapping with a section 'stages'"),
        ("\nhello", "r.yaml:2: holds a single value; a recipe is a mapping with a section 'stages'"),
        ("a: 1\nb: 2\na: 3", "r.yaml:3: a: stands twice, first on line 1"),
        ("s:\n  x: {k: 1, k: 2}", "r.yaml:2: s.x.k: stands twice, first on line 2"),
        ("a: !!python/object:os.system x", "r.yaml:1: a: tags such as tag:yaml.org,2002:python/object:os.system"),
        ("a: !!int '3'", "r.yaml:1: a: tags such as tag:yaml.org,2002:int are not read; take it out"),
        ("a: ! 3", "r.yaml:1: a: tags such as ! are not read"),
        ("a: !mine 3", "r.yaml:1: a: tags such as !mine are not read"),
        ("a: 1\n---\nb: 2", "r.yaml:2: a second document starts here; keep one"),
        ("a:\n\tb: 1", "r.yaml:2: a tab stands where YAML allows only spaces; indent with spaces"),
        ("a: b: c", "r.yaml:1: is not YAML: mapping values are not allowed here"),
        ("a: 'open", "r.yaml:1: is not YAML: found unexpected end of stream"),
        ("a: [1, 2", "r.yaml:1: is not YAML: expected ',' or ']'"),
        ("a: 1\nb: x\0y", "r.yaml:2: holds the control character #x00; take it out"),
        ("a: .nan", "r.yaml:1: a: .nan is not a finite number"),
        ("a: [-.inf]", "r.yaml:1: a.0: -.inf is not a finite number"),
        ("a: 1e999", "r.yaml:1: a: the number is larger than a float can hold"),
        ("a: " + "9" * 5000, "r.yaml:1: a: a number of 5000 digits does not fit into 64 bits"),
        ("a: 9223372036854775808", "r.yaml:1: a: a number of 19 digits does not fit into 64 bits"),
        ("1: a", "r.yaml:1: 1: a key must be a text; quote it"),
        ("a: {true: 1}", "r.yaml:1: a.true: a key must be a text; quote it"),
        ("null: a", "r.yaml:1: null: a key must be a text; quote it"),
        ("? [a]\n: b", "r.yaml:1: ?: a key must be a text; quote it"),
        ("a: &x {b: 1}\nc: {<<: *x}", "r.yaml:2: c.<<: merge keys (<<) are not read; layer files with 'extends'"),
        ("a: *nothing", "r.yaml:1: *nothing has no anchor &nothing before it"),
        ("a: &a [*a]", "r.yaml:1: *a stands inside its own anchor; write the value out"),
        ('a: "\\U00110000"', "r.yaml:1: is not YAML"),
        ("%YAML 3.0\n---\na: 1", "r.yaml:1: is not YAML"),
        (f"%YAML {'1' * 5000}.1\n---\na: 1", "r.yaml:1: is not YAML"),
    ],
)
def test_a_fault_is_said_with_its_line_and_key(text: str, expected: str) -> None:
    assert fault(text).startswith(expected)


def test_several_faults_are_said_at_once() -> None:
    assert fault("a: .nan\nb: !x 1\nb: 2").splitlines() == [
        "r.yaml: 3 problems",
        "r.yaml:1: a: .nan is not a finite number; write a finite one, or quote it if it is a text",
        "r.yaml:2: b: tags such as !x are not read; take it out",
        "r.yaml:3: b: stands twice, first on line 2",
    ]


def test_an_alias_stands_for_its_anchor() -> None:
    assert read("a: &x {b: 1}\nc: *x") == {"a": {"b": 1}, "c": {"b": 1}}


def test_a_value_stands_where_its_key_does() -> None:
    node = read_text("a:\n  b:\n    - x\n    - y\n", PLACE, Problems())
    inner = node.mapping["a"].mapping["b"]
    assert isinstance(inner.value, list)
    assert [node.mapping["a"].place.line, inner.place.line, inner.value[1].place.line] == [1, 2, 4]


def test_values_are_counted_and_bounded() -> None:
    assert read("a: [" + "1," * (MAX_NODES - 4) + "]")
    assert "more than 10,000 values" in fault("a: [" + "1," * MAX_NODES + "]")


def test_aliases_count_in_full() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 10,000 values" in fault("\n".join(lines))


def test_depth_is_bounded() -> None:
    assert read("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))
    assert f"nested deeper than {MAX_DEPTH} levels" in fault("a: " + "[" * 5000)


def test_depth_through_aliases_is_bounded() -> None:
    half = MAX_DEPTH // 2
    text = f"a: &a {'[' * half}{']' * half}\nb: {'[' * half}*a{']' * half}"
    assert f"nested deeper than {MAX_DEPTH} levels" in fault(text)


def test_nested_brackets_without_end_are_refused_quickly() -> None:
    start = time.process_time()
    fault("a: " + "[" * 900_000)
    fault("{" * 900_000)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("name", ["SECRET", "HF_TOKEN", "ponder_x", "PONDER", "PATH"])
def test_variables_of_other_names_are_not_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "canary-value")
    text = fault(f"a: ${{oc.env:{name}}}")
    assert "may read only environment variables named PONDER_*" in text
    assert "canary-value" not in text


@pytest.mark.parametrize(
    "text",
    ["${a.b}", "${oc.decode:'[1]'}", "${oc.create:{a: 1}}", "${", "x${oc.env:PONDER_X}${y}", "${oc.env:${PONDER_X}}"],
)
def test_no_other_interpolation_is_read(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PONDER_X", "1")
    assert "no other ${...} is read" in fault(f"a: {text!r}".replace("'[1]'", "[1]"))


def test_an_allowed_variable_is_filled_in_and_typed_as_if_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONDER_SIZE", "8")
    text = 'a: ${oc.env:PONDER_SIZE}\nb: "${oc.env:PONDER_SIZE}"\nc: x/${oc.env:PONDER_SIZE}/y'
    assert read(text) == {"a": 8, "b": "8", "c": "x/8/y"}


def test_a_variable_that_is_not_set_needs_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PONDER_SIZE", raising=False)
    assert read("a: ${oc.env:PONDER_SIZE,3}") == {"a": 3}
    assert "environment variable PONDER_SIZE is not set; set it" in fault("a: ${oc.env:PONDER_SIZE}")


def test_a_variable_is_not_interpolated_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONDER_X", "${oc.env:HOME}")
    assert "not read a second time" in fault("a: ${oc.env:PONDER_X}")


def test_what_came_from_the_environment_is_kept_apart_from_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONDER_X", "canary-value")
    node = read_text("a: [{b: '${oc.env:PONDER_X}'}]", PLACE, Problems())
    assert node.plain() == {"a": [{"b": "canary-value"}]}
    assert node.as_written() == {"a": [{"b": "${oc.env:PONDER_X}"}]}


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: é".encode(), {"a": "é"}),
    ],
)
def test_byte_order_marks_and_line_ends_do_no_harm(tmp_path: Path, contents: bytes, expected: Any) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(contents)
    assert read_file(file, Problems()).plain() == expected


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (b"a: 1\nb: \xff\n", ":2: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), ":1: byte 0xff is not UTF-8"),
        (b"a: '" + b"x" * 1_000_000 + b"'", ": larger than 1,000,000 bytes; put data in a file of its own"),
    ],
)
def test_what_is_no_text_or_too_long_is_refused(tmp_path: Path, contents: bytes, expected: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(contents)
    with pytest.raises(InputError) as caught:
        read_file(file, Problems())
    assert str(caught.value).startswith(f"{file}{expected}")


def test_a_missing_file_a_directory_and_an_impossible_path_are_input_errors(tmp_path: Path) -> None:
    for path, expected in (
        (tmp_path / "nope.yaml", "no such file"),
        (tmp_path, "not a file"),
        (tmp_path / ("x" * 5000), "cannot be read"),
        (tmp_path / "a\0b", "cannot be read"),
    ):
        with pytest.raises(InputError, match=expected):
            read_file(path, Problems())


MARKS = [": ", "- ", "\n", "  ", *"[]{},'\">#%?\t\\\0\ud800\x85", "&x ", "*x", "!t ", "---", "...", "<<", "${"]
WORDS = st.sampled_from([*MARKS, "|", "a", "b: ", "1", "1e5", ".nan", "null", "${oc.env:PONDER_X}", "中"])


@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=40).map("".join)))
@example("? ? ? a")
@example("- - - - [")
@example("&a : *a")
@example("!<> a: 1")
@example("a: |99\n b")
@example("\ufeff\ufeff")
def test_any_text_gives_a_mapping_or_an_input_error(text: str) -> None:
    try:
        assert isinstance(read(text), dict)
    except InputError as error:
        assert str(error).startswith("r.yaml")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$")),
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.lists(SCALARS, max_size=4), max_size=5))
def test_json_is_read_as_json(data: dict[str, Any]) -> None:
    import json

    assert read(json.dumps(data)) == data


@given(st.text(max_size=100))
def test_any_text_after_an_equals_sign_gives_a_value_or_an_input_error(text: str) -> None:
    try:
        node = read_value(text, Place("override a", -1, Path()), Problems())
    except InputError as error:
        assert str(error).startswith("override a: ")
    else:
        assert node is None or isinstance(node, Node)
