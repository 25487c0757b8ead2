"""The synthetic web: what its pages say, and what they never say."""

import itertools
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.text import R1_ZERO_TEMPLATE, extract_answer, split_response
from ponder_tasks import MiniWebConfig, ReasoningGymConfig
from ponder_tasks.gym import ReasoningGym
from ponder_tasks.mini_web import QUESTION, QUESTION_IN_CHINESE, MiniWeb, Sum
from ponder_tasks.split import in_split, is_held_out

SUMS = st.lists(st.integers(0, 9), min_size=2, max_size=6).flatmap(
    lambda terms: st.lists(st.sampled_from((1, -1)), min_size=len(terms) - 1, max_size=len(terms) - 1).map(
        lambda signs: Sum(tuple(terms), tuple(signs))
    )
)
EXPRESSION = re.compile(r"-?\d+(?: [+-] \d+)+")


def pages(count=2000, *, general=0.0, **options):
    return [
        example.prompt for example in MiniWeb(MiniWebConfig(documents=count, general=general, **options)).examples()
    ]


@given(SUMS)
def test_each_step_of_the_working_adds_up_the_first_two_terms_and_keeps_the_rest(problem):
    steps = problem.working()
    assert steps[0] == problem
    for before, after in itertools.pairwise(steps):
        assert after.terms[0] == before.terms[0] + before.signs[0] * before.terms[1]
        assert (after.terms[1:], after.signs) == (before.terms[2:], before.signs[1:])
    assert steps[-1].terms == (problem.answer,)


@given(SUMS)
def test_the_answer_is_what_the_expression_comes_to(problem):
    value, *rest = problem.expression.split()
    total = int(value)
    for operator, term in zip(rest[::2], rest[1::2], strict=True):
        total = total + int(term) if operator == "+" else total - int(term)
    assert total == problem.answer


def test_a_page_is_a_function_of_the_seed_and_its_number():
    assert pages(20) == pages(40)[:20]
    assert pages(20) != pages(20, seed=1)


@pytest.mark.parametrize("seed", [0, 7])
def test_no_page_states_a_held_out_problem_not_even_as_a_step(seed):
    written = pages(4000, split_seed=seed)
    stated = [expression for page in written for expression in EXPRESSION.findall(page.split("User: ")[-1])]
    assert len(set(stated)) > 2000
    assert not any(is_held_out(QUESTION.format(expression=expression), 10.0, seed) for expression in stated)


def test_the_held_out_split_is_pages_on_held_out_problems_alone():
    held_out = pages(400, split="held_out", general=0.5)
    asked = [EXPRESSION.search(page.split("User: ")[-1]).group() for page in held_out]
    assert all(is_held_out(QUESTION.format(expression=expression), 10.0, 0) for expression in asked)
    assert not set(held_out) & set(pages(4000, general=0.2))


@pytest.mark.parametrize("split_seed", [0, 7])
def test_the_web_the_training_problems_and_the_held_out_problems_never_meet(split_seed):
    def questions(split, seed):
        options = {"min_terms": 3, "max_terms": 4, "min_digits": 1, "max_digits": 1}
        config = ReasoningGymConfig(
            dataset="chain_sum", size=800, seed=seed, split=split, split_seed=split_seed, options=options
        )
        return {example.prompt[0]["content"] for example in ReasoningGym(config).examples()}

    # The same generator seed on both sides: without the split every problem would be shared.
    train, held_out = questions("train", 1), questions("held_out", 1)
    written = pages(4000, split_seed=split_seed)
    web = {QUESTION.format(expression=EXPRESSION.search(page.split("User: ")[-1]).group()) for page in written}
    assert len(train) == len(held_out) == 800
    assert not held_out & (train | web)
    assert train & web


def test_the_split_holds_out_about_its_share():
    questions = [f"{a} + {b} + {c}" for a, b, c in itertools.product(range(10), repeat=3)]
    assert 70 < sum(in_split(question, "held_out", 10.0, 0) for question in questions) < 130
    assert all(in_split(question, "all", 10.0, 0) for question in questions)


def test_another_seed_holds_out_others():
    questions = [f"{a} + {b} + {c}" for a, b, c in itertools.product(range(10), repeat=3)]
    first, second = ({question for question in questions if is_held_out(question, 10.0, seed)} for seed in (0, 1))
    assert 70 < len(second) < 130
    assert len(first & second) < 30


def test_every_style_and_both_languages_occur_but_tags_are_not_the_habit():
    found = Counter()
    for page in pages(6000):
        response = page.rsplit("Assistant:", 1)[-1]
        found["tagged"] += "<think>" in response
        found["english"] += "The answer is" in response
        found["chinese"] += "答案是" in response
        found["second thoughts"] += "Wait, that is wrong" in response
        found["template"] += page.startswith(R1_ZERO_TEMPLATE[:40])
    assert min(found.values()) > 50
    assert found["tagged"] < 300
    assert found["template"] > 2000


def test_a_tagged_page_has_reasoning_and_an_answer():
    for page in pages(500, tagged=1.0, textbooks=0.0):
        response = split_response(page.rsplit("Assistant:", 1)[-1])
        assert response.reasoning
        assert re.fullmatch(r"-?\d+", response.answer)


def test_some_bare_answers_are_wrong():
    only_bare = pages(600, bare=1.0, tagged=0.0, textbooks=0.0, wrong=0.5)
    wrong = 0
    for page in only_bare:
        expression = EXPRESSION.search(page).group().split()
        terms, signs = expression[::2], [1, *(1 if sign == "+" else -1 for sign in expression[1::2])]
        value = sum(int(term) * sign for term, sign in zip(terms, signs, strict=True))
        wrong += (
            int(re.findall(r"-?\d+", page[page.index(" ".join(expression)) + len(" ".join(expression)) :])[-1]) != value
        )
    assert 200 < wrong < 400


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"documents": 0}, "documents"),
        ({"min_terms": 1}, "min_terms"),
        ({"min_terms": 5}, "max_terms"),
        ({"tagged": 1.5}, "tagged"),
        ({"bare": -1.0}, "bare"),
        ({"chinese": -1.0}, "chinese"),
        ({"held_out_percent": 100.0}, "held_out_percent"),
        ({"split_seed": -1}, "split_seed"),
        ({"held_out_percent": 0.0, "split": "held_out"}, "held_out_percent"),
    ],
)
def test_impossible_options_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        MiniWebConfig(**options)


def test_questions_stand_in_both_languages():
    posts = [page.split("User: ")[-1] for page in pages(200, textbooks=0.0)]
    assert 60 < sum(post.startswith(QUESTION.split("{")[0]) for post in posts) < 140
    assert all(post.startswith((QUESTION.split("{")[0], QUESTION_IN_CHINESE.split("{")[0])) for post in posts)


def test_some_working_mixes_languages():
    mixed = pages(300, textbooks=1.0, english=0.0, chinese=0.0, second_thoughts=0.0, mixed=1.0)
    assert all(re.search(r"(Step by step|We add up from the left): [^。]*。 算完了。 答案是", page) for page in mixed)


def test_worked_textbooks_box_some_of_their_answers():
    boxed = [page for page in pages(400, textbooks=1.0, boxed=0.5) if "\\boxed{" in page]
    assert 130 < len(boxed) < 270
    assert all(extract_answer(page) == re.search(r"(-?\d+)\D*$", page)[1] for page in boxed)


def test_a_share_of_the_pages_is_about_other_things():
    general = [page for page in pages(1000, general=0.2) if not EXPRESSION.search(page.split("User: ")[-1])]
    assert 140 < len(general) < 260
