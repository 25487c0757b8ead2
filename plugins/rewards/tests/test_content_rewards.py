"""Rewards that read what a response says: `json_schema` and `instruction`."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Completion, Example
from ponder.errors import InputError
from ponder_rewards import InstructionConfig, JsonSchemaConfig
from ponder_rewards.instruction import Instruction
from ponder_rewards.json_schema import JsonSchema
from ponder_rewards.strict_json import NotJsonError, read_json
from ponder_rewards.wishes import CHECKS, sentences_of

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


# json_schema


def valid(text: str, own: Any = SCHEMA, **options: Any) -> float | None:
    return JsonSchema(JsonSchemaConfig(**options))(Example("q", metadata={"schema": own}), Completion(text))


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"age": 3}', 1.0),
        ('<think>{"no": 1}</think>\n{"age": 3}', 1.0),
        ('<think>a</think> <answer>```json\n{"age": 3}\n```</answer>', 1.0),
        ('{"age": -1}', 0.0),
        ("{}", 0.0),
        ('{"age": "3"}', 0.0),
        ('Here you are: {"age": 3}', 0.0),
        ('{"age": 3} {"age": 3}', 0.0),
        ('{"age": 3, "age": 3}', 0.0),
        ('{"age": NaN}', 0.0),
        ('{"age": ' + "9" * 5000 + "}", 0.0),
        ('{"age": 3, "x": 1e999}', 0.0),
        ('{"age": 3, "x": ' + "[" * 100 + "]" * 100 + "}", 0.0),
        ("[" * 200_000, 0.0),
        ('{"age": 3, "x": "' + "x" * 300_000 + '"}', 0.0),
        ("", 0.0),
    ],
)
def test_the_answer_must_be_json_that_the_schema_allows(text: str, score: float) -> None:
    assert valid(text) == score


@given(values)
def test_strict_reading_reads_what_json_writes(value: Any) -> None:
    assert read_json(json.dumps(value)) == value


@given(st.text(alphabet='{}[]",:0 \\ntrue', max_size=30))
def test_strict_reading_gives_a_value_or_says_why_not(text: str) -> None:
    with contextlib.suppress(NotJsonError):
        assert read_json(text) == json.loads(text)


def test_the_schema_may_be_text_or_stand_in_the_recipe_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    assert valid('{"age": 3}', json.dumps(SCHEMA)) == 1.0
    for options in ({"schema": {"type": "array"}}, {"file": tmp_path / "schema.json"}):
        assert valid("3", True, **options) == 0.0
    assert valid("[]", None, schema={"type": "array"}) == 1.0


@pytest.mark.parametrize(
    "schema",
    [
        None,
        7,
        "no schema",
        {"type": "strange"},
        {"pattern": "("},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$dynamicRef": "http://127.0.0.1:9/schema.json"},
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"a": [[]]} | {"not": json.loads('{"not":' * 80 + "true" + "}" * 80)},
    ],
)
def test_a_schema_that_is_none_or_refers_elsewhere_abstains_and_fetches_nothing(
    schema: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is fetched")

    monkeypatch.setattr("urllib.request.urlopen", fetched)
    assert valid('{"age": 3}', schema) is None


def test_a_number_too_large_to_be_compared_is_not_allowed() -> None:
    assert valid("1" + "0" * 400, {"multipleOf": 0.1}) == 0.0


def test_a_recipe_with_a_bad_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{")
    for options in ({"schema": {"type": "strange"}}, {"file": tmp_path / "schema.json"}, {"file": tmp_path / "absent"}):
        with pytest.raises(InputError, match="reward json_schema"):
            JsonSchema(JsonSchemaConfig(**options))
    with pytest.raises(ValueError, match="file and schema"):
        JsonSchemaConfig(schema=SCHEMA, file=tmp_path / "schema.json")


# instruction

ENGLISH = "The sum of both numbers is four, and that is what we wanted to know."
GERMAN = "Die Summe der beiden Zahlen ist vier, und das wollten wir ja auch wissen."


@pytest.mark.parametrize(
    ("name", "arguments", "granted", "refused"),
    [
        ("keywords:existence", {"keywords": ["Sum", "four"]}, "the sum is FOUR", "the summit is four"),
        ("keywords:forbidden_words", {"forbidden_words": ["sum"]}, "the summit", "a Sum."),
        ("keywords:frequency", {"keyword": "a", "frequency": 2, "relation": "at least"}, "a cat, a dog", "a cat"),
        ("keywords:frequency", {"keyword": "a", "frequency": 2, "relation": "less than"}, "a cat", "a cat, a dog"),
        ("keywords:letter_frequency", {"letter": "q", "let_frequency": 1, "let_relation": "less than"}, "no", "Q"),
        ("language:response_language", {"language": "en"}, ENGLISH, GERMAN),
        ("language:response_language", {"language": "de"}, GERMAN, ENGLISH),
        ("language:response_language", {"language": "zh-cn"}, "总数是四。", "The sum is four."),
        ("length_constraints:number_words", {"num_words": 3, "relation": "at most"}, "one two three", "one two 3 4"),
        ("length_constraints:number_words", {"num_words": 3, "relation": "exactly"}, "one two three", "one two"),
        ("length_constraints:number_words", {"num_words": 2, "relation": "more than"}, "我们想", "我们"),
        ("length_constraints:number_sentences", {"num_sentences": 2}, "One is 3.5. Two!", "Dr. No is one, e.g. this."),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 3}, "a *** b *** c", "a *** *** b"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2, "separator": "blank line"}, "a\n\nb", "a\nb"),
        ("length_constraints:nth_paragraph_first_word",
         {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "So"}, "a\n\n**so**, b", "So\n\nb"),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] [town]", "[name] []"),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}, "hi\nP.S. bye", "hi\nP.S."),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "- a\n* b", "-\n- a"),
        ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and **b**", "*a* and ** **"),
        ("detectable_format:multiple_sections", {"section_spliter": "Part", "num_sections": 2}, "Part 1\nx\n**Part 2**", "Part 1 Part 2"),
        ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
        ("detectable_format:title", {}, "<<a poem>>\nhi", "<<>> hi"),
        ("combination:two_responses", {}, "a\n******\nb", "a\n******\na"),
        ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "Say hi. Hi!", "Say hi."),
        ("startend:start_checker", {"start_phrase": "Well"}, "well, it is", "it is well"),
        ("startend:end_checker", {"end_phrase": "the end."}, "so it is The End.", "the end. or not"),
        ("startend:quotation", {}, '"a"', '"a" b'),
        ("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": "at least"}, "it is BIG", "it is Big"),
        ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH),
        ("change_case:english_lowercase", {}, ENGLISH.lower(), ENGLISH),
        ("punctuation:no_comma", {}, "a and b", "a， b"),
    ],
)  # fmt: skip
def test_a_wish_is_granted_or_not(name: str, arguments: dict[str, Any], granted: str, refused: str) -> None:
    example = Example("q", metadata={"instructions": [{"id": name, **arguments}]})
    scores = [Instruction(InstructionConfig())(example, Completion(text)) for text in (granted, refused)]
    assert scores == [1.0, 0.0]


ROW = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"num_words": 2, "relation": "at least", "keywords": None}],
}


def test_rows_of_ifeval_are_read_as_they_are() -> None:
    share, every = Instruction(InstructionConfig()), Instruction(InstructionConfig(score="all"))
    for text, expected in (("a b", 1.0), ("a, b", 0.5), ("a,", 0.0)):
        assert share(Example("q", metadata=ROW), Completion(text)) == expected
        assert every(Example("q", metadata=ROW), Completion(text)) == float(expected == 1.0)


def test_reasoning_is_left_out_unless_asked_for() -> None:
    completion = Completion("<think>a, b</think>c d")
    assert Instruction(InstructionConfig())(Example("q", metadata=ROW), completion) == 1.0
    assert Instruction(InstructionConfig(of="response"))(Example("q", metadata=ROW), completion) == 0.5


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "<think>never ends", "a " * 200_000])
def test_nothing_or_far_too_much_grants_no_wish(text: str) -> None:
    example = Example("q", metadata={"instructions": [{"id": "punctuation:no_comma"}]})
    assert Instruction(InstructionConfig())(example, Completion(text)) == 0.0


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"instructions": []},
        {"instructions": "text"},
        {"instructions": [7]},
        {"instructions": [{"id": "no:such"}]},
        {"instructions": [{"id": "keywords:existence"}]},
        {"instructions": [{"id": "keywords:existence", "keywords": "word"}]},
        {"instructions": [{"id": "keywords:existence", "keywords": ["word", " "]}]},
        {"instructions": [{"id": "length_constraints:number_words", "num_words": 1.5}]},
        {"instructions": [{"id": "length_constraints:number_words", "num_words": float("nan")}]},
        {"instructions": [{"id": "length_constraints:number_words", "num_words": 1, "relation": "about"}]},
        {"instructions": [{"id": "language:response_language", "language": "xx"}]},
        {"instruction_id_list": ["keywords:frequency"]},
    ],
)
def test_an_example_without_wishes_that_can_be_read_abstains(metadata: dict[str, Any]) -> None:
    assert Instruction(InstructionConfig())(Example("q", metadata=metadata), Completion("a b")) is None


def test_every_wish_says_what_it_means() -> None:
    assert len(CHECKS) == 26
    assert all(check.__doc__ for check in CHECKS.values())


def test_sentences_end_where_people_end_them() -> None:
    text = "Dr. Who has 3.5 apples, e.g. red ones. Really?! Yes (he does.) 是的。好！\n\nNo full stop"
    assert sentences_of(text) == [
        "Dr. Who has 3.5 apples, e.g. red ones.", "Really?!", "Yes (he does.)", "是的。", "好！", "No full stop"
    ]  # fmt: skip
