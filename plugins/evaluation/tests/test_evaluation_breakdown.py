import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Completion, Example, Rollout
from ponder.rubric import Score
from ponder_evaluation.breakdown import curves, doublings, groups, tally
from ponder_evaluation.samples import Yardstick, make_sample
from ponder_evaluation.summary import group_metrics

RIGHT = "<think>we add</think><answer>2</answer>"


def sample(problem, correct, length, number=0, finish="stop", prompt="1 + 1 =", text=RIGHT, **metadata):
    value = float(correct)
    example = Example(prompt, "2", metadata)
    completion = Completion(text, tuple(range(length)), finish_reason=finish)
    score = Score(value, {"accuracy": value}, {"accuracy": "ok"})
    yardstick = Yardstick(language="question", groups=("difficulty", "kind"))
    return make_sample(Rollout(example, completion, problem), score, "accuracy", yardstick, number)


SAMPLES = [
    sample(0, True, 2, difficulty=3),
    sample(0, True, 6, 1, difficulty=3),
    sample(1, False, 10, difficulty=10),
    sample(1, True, 10, 1, finish="length", difficulty=10),
]


def test_the_counts_double_up_to_all_samples():
    assert doublings(1) == [1]
    assert doublings(6) == [1, 2, 4, 6]
    assert doublings(16) == [1, 2, 4, 8, 16]


def test_pass_and_cons_are_curves_over_k():
    made = curves(SAMPLES)
    assert [(point["k"], point["value"]) for point in made["pass@k"]] == [(1, 0.75), (2, 1.0)]
    assert [(point["k"], point["value"]) for point in made["cons@k"]] == [(1, 0.75), (2, 0.75)]
    assert all(0 <= point["low"] <= point["value"] <= point["high"] <= 1 for point in made["cons@k"])


def test_a_limit_makes_wrong_what_is_longer():
    points = {point["tokens"]: (point["value"], point["finished"]) for point in curves(SAMPLES)["limit"]}
    assert points[1] == (0.0, 0.0)
    assert points[2] == (0.25, 0.25)
    assert points[5] == (0.25, 0.25)
    assert points[6] == (0.5, 0.5)
    assert points[10] == (0.75, 0.75)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 30)), min_size=1, max_size=20))
def test_more_tokens_never_cost_accuracy(rows):
    made = curves([sample(problem, correct, length) for problem, correct, length in rows])
    values = [point["value"] for point in made["limit"]]
    assert values == sorted(values)
    assert sum(point["samples"] for point in made["length"]) == len(rows)
    assert all(point["from"] <= point["mean"] <= point["to"] for point in made["length"])


def test_lengths_fall_into_bins_of_about_as_many_samples():
    bins = curves([sample(number, number < 50, number + 1) for number in range(100)])["length"]
    assert [(row["from"], row["to"], row["samples"]) for row in bins] == [
        (1, 20, 20),
        (21, 40, 20),
        (41, 60, 20),
        (61, 80, 20),
        (81, 100, 20),
    ]
    assert [row["value"] for row in bins] == [1.0, 1.0, 0.5, 0.0, 0.0]


def test_responses_of_one_length_are_one_bin():
    (row,) = curves([sample(0, True, 7), sample(1, False, 7)])["length"]
    assert (row["from"], row["to"], row["value"]) == (7, 7, 0.5)


def test_groups_are_the_questions_language_and_what_the_metadata_names():
    chinese = sample(2, False, 4, prompt="请计算：一加一等于多少", kind="zh sums")
    found = groups([*SAMPLES, chinese], ["difficulty", "kind", "wish"])
    assert list(found) == ["language", "difficulty", "kind"]
    assert [(row["value"], row["problems"], row["pass@1"]) for row in found["language"]] == [
        ("en", 2, 0.75),
        ("zh", 1, 0.0),
    ]
    assert [row["value"] for row in found["difficulty"]] == ["3", "10"]
    assert found["difficulty"][1]["pass@1"] == 0.5
    assert found["difficulty"][1]["pass@1_low"] < 0.5 < found["difficulty"][1]["pass@1_high"]


def test_group_metrics_leave_out_groups_of_one_value_and_names():
    rows = [{"value": str(number), "pass@1": 0.5, "response_length": 3.0} for number in range(30)]
    assert group_metrics({"language": rows[:1], "kind": rows[:2], "task": rows}) == {
        "pass@1/kind/0": 0.5,
        "pass@1/kind/1": 0.5,
    }
    assert group_metrics({"difficulty": rows[:1]}) == {"pass@1/0": 0.5, "response_length/0": 3.0}


def test_a_problem_is_tallied_over_its_samples():
    problem = tally(SAMPLES[2:])
    assert (problem.problem, problem.samples, problem.correct, problem.formatted) == (1, 2, 1, 2)
    assert problem.readable == 1
    assert (problem.length, problem.consistency, problem.reward) == (10.0, 1.0, 0.5)
    assert (problem.difficulty, problem.groups, problem.asked_in) == ("10", {"difficulty": "10"}, "en")


def test_a_problem_whose_answers_have_no_words_has_no_language():
    assert tally([sample(0, True, 1, text="2")]).consistency is None


@pytest.mark.parametrize("count", [1, 3])
def test_a_single_sample_has_every_curve(count):
    made = curves([sample(0, True, 3, number) for number in range(count)])
    assert made["pass@k"][0]["value"] == made["cons@k"][-1]["value"] == 1.0
    assert made["limit"][-1]["value"] == 1.0
