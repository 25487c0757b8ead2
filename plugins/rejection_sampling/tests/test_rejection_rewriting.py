"""From what a policy said to R1's own format."""

from hypothesis import given
from hypothesis import strategies as st

from ponder.text import extract_answer, is_well_formed, split_response
from ponder_rejection_sampling import RejectionSamplingConfig
from ponder_rejection_sampling.rewriting import rewritten

SUMMARIES = RejectionSamplingConfig(policy="p", task="t").summaries


def test_a_response_of_r1_zero_becomes_one_of_r1():
    said = "<think> 4 - 1 = 3 </think> <answer> 3 </answer>"
    assert rewritten(said, "en", SUMMARIES) == "<think>\n4 - 1 = 3\n</think>\n\nThe answer is \\boxed{3}."
    assert rewritten(said, "zh", SUMMARIES) == "<think>\n4 - 1 = 3\n</think>\n\n答案是 \\boxed{3}。"


def test_a_response_of_r1_gets_a_new_summary_with_its_answer():
    said = "<think>\nso 3\n</think>\n\nI say it is \\boxed{3}, and 7 is not."
    assert rewritten(said, "en", SUMMARIES) == "<think>\nso 3\n</think>\n\nThe answer is \\boxed{3}."


def test_what_has_no_reasoning_or_no_answer_cannot_be_rewritten():
    for said in (
        "3",
        "<think>so 3",
        "<think>so 3</think>",
        "<think></think><answer>3</answer>",
        "<answer>3</answer>",
        "",
    ):
        assert rewritten(said, "en", SUMMARIES) is None


def test_an_answer_that_the_summary_would_not_give_back_is_no_rewriting():
    assert rewritten("<think>so</think><answer>3}</answer>", "en", SUMMARIES) is None
    assert rewritten("<think>a <think> b</think><answer>3</answer>", "en", SUMMARIES) is None


def test_an_answer_may_look_like_the_template_itself():
    response = rewritten("<think>so</think><answer>{answer}</answer>", "en", SUMMARIES)
    assert response == "<think>\nso\n</think>\n\nThe answer is \\boxed{{answer}}."


@given(st.text(), st.text())
def test_what_is_rewritten_is_well_formed_and_says_the_same(reasoning, answer):
    said = f"<think>{reasoning}</think><answer>{answer}</answer>"
    response = rewritten(said, "en", SUMMARIES)
    if response is not None:
        assert is_well_formed(response, "r1")
        assert split_response(response).reasoning == split_response(said).reasoning
        assert extract_answer(response) == extract_answer(said)
