import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Completion, Example, Rollout
from ponder.rubric import Score
from ponder.text import readable_prompt
from ponder_evaluation.samples import Yardstick, group_of, key_of, make_sample, write_samples

EXAMPLE = Example("1 + 1 =", "2")


def sample(text, verdict=1.0, example=EXAMPLE, yardstick=None, **fields):
    score = Score(verdict, {"accuracy": verdict}, {"accuracy": "ok"})
    return make_sample(Rollout(example, Completion(text, **fields), 3), score, "accuracy", yardstick or Yardstick())


@pytest.mark.parametrize(
    "text",
    [
        "<think>1 + 1 is 2</think><answer>2</answer>",
        " <think> line\nline </think>\n\n<answer> 2 </answer>\n",
    ],
)
def test_reasoning_then_answer_is_the_format(text):
    assert sample(text).formatted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "<answer>2</answer>",
        "<think>so</think>2",
        "<think>so</think><answer>2</answer> and more",
        "before <think>so</think><answer>2</answer>",
        "<think>so</think> between <answer>2</answer>",
        "<think>so<think></think><answer>2</answer>",
        "<think>so</think><answer>2</answer><answer>3</answer>",
        "<think></think><answer>2</answer>",
        "<think>so</think><answer> </answer>",
        "<answer>2</answer><think>so</think>",
    ],
)
def test_anything_else_is_not(text):
    assert not sample(text).formatted


def test_a_tag_at_the_end_of_a_plain_prompt_counts_as_the_responses_own():
    example = Example("1 + 1 = <think>\n", "2")
    assert sample("so</think><answer>2</answer>", example=example).formatted
    assert sample("<think>so</think><answer>2</answer>", example=example).formatted


def test_a_sample_carries_what_was_measured():
    made = sample("Wait, it is two", token_ids=(1, 2, 3), finish_reason="length")
    assert (made.problem, made.correct, made.length, made.truncated) == (3, True, 3, True)
    assert (made.reflections, made.language, made.mixed) == (1, 1.0, False)
    assert made.scores == {"accuracy": 1.0}


def test_a_score_below_the_threshold_is_wrong():
    assert not sample("2", verdict=0.99).correct


def test_no_score_is_wrong_and_marked():
    made = sample("2", verdict=None)
    assert (made.correct, made.scored) == (False, False)


def test_an_empty_completion_has_no_vote_and_no_words():
    made = sample("")
    assert (made.vote, made.language, made.formatted) == (None, None, False)


def test_votes_do_not_hang_on_spaces():
    assert sample("<answer> 1\n 2 </answer>").vote == sample("<answer>1 2</answer>").vote == "1 2"


@pytest.mark.parametrize(
    ("value", "expected"), [(4, "4"), ("hard", "hard"), ({"terms": 2}, None), (None, None), (True, None)]
)
def test_a_difficulty_is_a_word_or_a_number(value, expected):
    assert group_of(Example("?", "!", {"difficulty": value}), "difficulty") == expected


def test_a_lone_message_reads_as_its_content():
    assert readable_prompt([{"role": "user", "content": "1 + 1"}]) == "1 + 1"
    assert (
        readable_prompt([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]) == "system: s\nuser: u"
    )


def test_r1s_own_format_ends_with_a_summary_in_no_tags():
    r1 = Yardstick(format="r1")
    assert sample("<think>\nso\n</think>\n\nIt is 2.", yardstick=r1).formatted
    assert not sample("<think>so</think><answer>2</answer>", yardstick=r1).formatted


@pytest.mark.parametrize(
    ("prompt", "reasoning", "is_readable"),
    [
        ("What is one plus one?", "One and one are two", True),
        ("What is one plus one?", "一加一等于二", False),
        ("一加一等于多少？", "一加一等于二", True),
        ("What is one plus one?", "We add 一加一等于二", False),
        ("What is one plus one?", "1 + 1 = 2", True),
    ],
)
def test_readable_is_whole_well_formed_and_in_the_questions_language(prompt, reasoning, is_readable):
    text, example = f"<think>{reasoning}</think><answer>2</answer>", Example(prompt, "2")
    assert sample(text, example=example).readable == is_readable
    assert not sample(text, example=example, finish_reason="length").readable
    assert not sample(reasoning, example=example).readable


def test_a_long_response_may_hold_a_foreign_name():
    words = " ".join(["word"] * 40)
    assert sample(f"<think>{words} 数学</think><answer>2</answer>", example=Example("How many?", "2")).readable


@pytest.mark.parametrize(("language", "share"), [("en", 0.0), ("zh", 1.0), ("question", 1.0)])
def test_the_language_that_is_wanted_may_be_the_questions(language, share):
    made = sample("一加一等于二", example=Example("一加一等于多少？", "2"), yardstick=Yardstick(language=language))
    assert (made.language, made.asked_in) == (share, "zh")


def test_samples_know_the_groups_that_are_asked_for():
    example = Example("?", "2", {"kind": "safety", "wish": "json", "difficulty": 3, "other": "x"})
    made = sample("2", example=example, yardstick=Yardstick(groups=("difficulty", "kind", "task")))
    assert made.groups == {"difficulty": "3", "kind": "safety"}


def test_a_problem_has_the_same_key_in_every_evaluation():
    chat = Example([{"role": "user", "content": "1 + 1 ="}], "2", {"difficulty": 3})
    assert key_of(EXAMPLE) == key_of(chat) == sample("2").key
    assert key_of(Example("1 + 1 =", "3")) != key_of(EXAMPLE)
    assert key_of(Example("\ud800", None))


@given(st.text(st.characters(exclude_categories=())))
def test_any_completion_is_written_and_read_back(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "samples.jsonl"
    write_samples(path, [sample(text)])
    (line,) = path.read_bytes().splitlines()
    assert json.loads(line)["completion"] == text
