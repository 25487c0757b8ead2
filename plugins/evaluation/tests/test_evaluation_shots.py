import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Example
from ponder.errors import InputError
from ponder_evaluation.shots import Shots


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def sums(count):
    return [Example([user(f"{number} + 1 =")], str(number + 1)) for number in range(count)]


def test_solved_examples_are_earlier_turns_of_the_conversation():
    made = Shots([Example([user("1 + 1 =")], "2")], 1, "solved").before(Example([user("2 + 2 =")], "4"))
    assert made.prompt == [user("1 + 1 ="), assistant("2"), user("2 + 2 =")]
    assert made.answer == "4"


def test_a_response_is_shown_rather_than_the_bare_answer():
    solved = Example("1 + 1 =", "2", {"response": "<think>add</think>2"})
    made = Shots([solved], 1, "solved").before(Example([user("2 + 2 =")], "4"))
    assert made.prompt[:2] == [user("1 + 1 ="), assistant("<think>add</think>2")]


def test_the_questions_system_message_stays_first_and_a_prefill_last():
    system = {"role": "system", "content": "think"}
    question = Example([system, user("2 + 2 ="), assistant("<think>")], "4")
    solved = Example([{"role": "system", "content": "other"}, user("1 + 1 =")], "2")
    made = Shots([solved], 1, "solved").before(question)
    assert made.prompt == [system, user("1 + 1 ="), assistant("2"), user("2 + 2 ="), assistant("<think>")]


def test_before_plain_text_examples_are_text():
    made = Shots([Example([user("1 + 1 =")], "2"), Example("3 + 3 =", "6")], 2, "solved").before(
        Example("2 + 2 =", "4")
    )
    assert set(made.prompt.split("\n\n")) == {"1 + 1 = 2", "3 + 3 = 6", "2 + 2 ="}
    assert made.prompt.endswith("\n\n2 + 2 =")


@given(st.integers(0, 19), st.integers(1, 5))
def test_the_question_is_never_its_own_example_and_always_has_the_same_ones(number, count):
    question = sums(20)[number]
    made = Shots(sums(20), count, "solved").before(question)
    turns = [message["content"] for message in made.prompt if message["role"] == "user"]
    assert len(turns) == len(set(turns)) == count + 1
    assert turns[-1] == question.prompt[0]["content"]
    assert made == Shots(sums(20), count, "solved").before(question)


def test_different_questions_have_different_examples():
    shots = Shots(sums(50), 2, "solved")
    chosen = {shots.before(question).prompt[0]["content"] for question in sums(50)}
    assert len(chosen) > 10


def test_too_few_solved_examples_are_counted():
    unsolved = Example([user("why?")])
    shots = Shots([unsolved, *sums(2)], 2, "solved")
    with pytest.raises(
        InputError, match=r"shots: 2 solved examples .* task 'solved' has 1 with a response or an answer"
    ):
        shots.before(sums(1)[0])
