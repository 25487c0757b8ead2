import subprocess
import sys
import time

import pytest

from ponder import Completion, Example, Rollout
from ponder.rubric import Limits, NamedReward, Rubric
from ponder_rewards import AccuracyConfig, mathematics
from ponder_rewards.accuracy import Accuracy
from ponder_rewards.plain import is_safe

accuracy = Accuracy(AccuracyConfig())


def score(answer: str | None, text: str) -> float | None:
    return accuracy(Example("q", answer), Completion(text))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("4", "<think>2+2</think> <answer>4</answer>"),
        ("4", "<answer>3</answer> no: <answer> 4. </answer>"),
        ("4", "so it is \\boxed{4}"),
        ("4", "2+2</think>\n4"),
        ("4", "4"),
        ("4", "$4$"),
        ("4", "\\(4\\)"),
        ("4", "**4**"),
        ("4", "4.0"),
        ("4", "+4"),
        ("4", "The answer is 4"),
        ("4", "line after line\n" * 200 + "4"),
        ("-4", "\N{MINUS SIGN}4"),
        ("1234", "1,234"),
        ("0.5", "1/2"),
        ("1/2", "0.5"),
        ("\\frac{1}{2}", "0.5"),
        ("$\\frac{1}{2}$", "\\boxed{\\frac{2}{4}}"),
        ("0.333333", "0.3333331"),
        ("x+1", "1+x"),
        ("x^2+2x+1", "$(x+1)^2$"),
        ("2\\pi", "2\\pi"),
        ("\\sqrt{8}", "2\\sqrt{2}"),
        ("\\{1,2\\}", "\\{2,1\\}"),
        ("5", "x = 5"),
        ("5", "$2 + 3 = 5$"),
        ("5", "5 apples"),
        ("5", "\\theta = 5"),
        ("Paris", "<answer>paris.</answer>"),
        ("B", "<answer>(b)</answer>"),
        ("北京", "<answer>北京</answer>"),
    ],
)
def test_a_right_answer_scores_one_however_it_is_written(answer: str, text: str) -> None:
    assert score(answer, text) == 1.0


UNDONE = [
    "3 + 4 - 2",
    "\\boxed{3+4-2}",
    "<answer>3 + 4 - 2</answer>",
    "The equation 3 + 4 - 2 is a classic.",
    "x = 3 + 4 - 2",
    "-2 + 3 + 4",
    "7 - 2",
    "(3 + 4) - 2",
    "3 + 4 - 2 = 10 / 2 + 0",
    "$3 + 4 \N{MINUS SIGN} 2$",
    "2 \\times 2 + 1",
]


@pytest.mark.parametrize("text", UNDONE)
def test_a_calculation_is_no_answer_to_a_calculation(text: str) -> None:
    assert accuracy(Example("What is 3 + 4 - 2?", "5"), Completion(text)) == 0.0
    assert accuracy(Example([{"role": "user", "content": "3 + 4 - 2 ="}], "5"), Completion(text)) == 0.0


@pytest.mark.parametrize("text", [text for text in UNDONE if "is a" not in text])
def test_elsewhere_a_calculation_is_what_it_equals(text: str) -> None:
    assert score("5", text) == 1.0


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        ("What is 3 + 4 - 2?", "5", "3 + 4 - 2 = 5"),
        ("What is 3 + 4 - 2?", "5", "3 + 4 - 2 = 7 - 2 = 5."),
        ("What is 3 + 4 - 2?", "5", "$3 + 4 - 2 = 5$"),
        ("What is 3 + 4 - 2?", "5", "The result of 3 + 4 - 2 is 5."),
        ("What is 3 + 4 - 2?", "5", "5 = 3 + 4 - 2"),
        ("What is 3 + 4 - 2?", "5", "x = 5"),
        ("What is 3 - 4 - 2?", "-3", "\\boxed{-3}"),
        ("What is 3 - 4 - 2?", "-3", "3 - 4 - 2 = -3"),
        ("What is 200000 * 3?", "600000", "6 \\times 10^5"),
        ("What is 1/2 + 1/3?", "5/6", "\\frac{5}{6}"),
        ("What is 10 / 2?", "5", "10 / 2 = 5"),
        ("What is 10 / 4?", "2.5", "5/2"),
        ("Which is larger, 1/2 or 1/3?", "1/2", "1/2"),
        ("What is 2^10 - 1?", "1023", "1024 - 1 = 1023"),
    ],
)
def test_its_result_is_an_answer_whatever_stands_beside_it(question: str, answer: str, text: str) -> None:
    assert accuracy(Example(question, answer), Completion(text)) == 1.0


def test_the_question_is_the_users_where_the_assistants_turn_has_begun() -> None:
    prompt = [{"role": "user", "content": "What is 3 + 4?"}, {"role": "assistant", "content": "<think>"}]
    assert accuracy(Example(prompt, "7"), Completion("So 3 + 4.</think> 3 + 4")) == 0.0
    assert accuracy(Example(prompt, "7"), Completion("So 3 + 4.</think> 7")) == 1.0


@pytest.mark.parametrize("text", ["10 / 2", "\\frac{10}{2}", "<answer>10/2</answer>", "$10/2$"])
def test_a_fraction_of_the_question_is_not_yet_its_value(text: str) -> None:
    assert accuracy(Example("What is 10 / 2?", "5"), Completion(text)) == 0.0
    assert score("5", text) == 1.0


def test_looking_for_calculations_takes_no_time_that_grows_with_hostile_texts() -> None:
    started = time.monotonic()
    for hostile in ("(" * 100_000, "( " * 50_000, "1+" * 50_000, "1 " * 50_000, "-" * 100_000, "1+(" * 30_000):
        assert accuracy(Example(hostile, "5"), Completion(hostile)) == 0.0
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("4", "<answer>5</answer>"),
        ("4", "<answer>4</answer> <answer>5</answer>"),
        ("4", "<answer></answer>"),
        ("4", ""),
        ("4", "no idea"),
        ("100000000000000000001", "100000000000000000002"),
        ("0.5", "0.51"),
        ("1e-9", "2e-9"),
        ("1/3", "0.33"),
        ("x+1", "x+2"),
        ("2\\pi", "2"),
        ("5", "0 = 5"),
        ("3", "x + y = 3"),
        ("Paris", "spair"),
        ("4", "\\boxed{" * 5000),
        ("4", "(" * 400 + "4" + ")" * 400),
        ("4", "4" * 400),
        ("4", "4\u200b\x00"),
        ("4", "x" * 1_000_000),
        ("4", "1/0"),
        ("4", "\ud800"),
    ],
)
def test_a_wrong_or_unreadable_answer_scores_zero(answer: str, text: str) -> None:
    assert score(answer, text) == 0.0


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("{1,2,3}", r"\boxed{1} and \boxed{2} and \boxed{3}"),
        ("(2, 2), (6, 2)", r"\boxed{(2, 2)} \quad \text{and} \quad \boxed{(6, 2)}"),
        ("k = 45, n = 2", r"So \boxed{k = 45} \quad \text{and} \quad \boxed{n = 2}"),
        (r"\{\frac{1}{2}, 10^{\frac{1}{6}}\}", r"\boxed{\frac{1}{2}}, \boxed{10^{\frac{1}{6}}}"),
    ],
)
def test_several_answers_side_by_side_are_the_answer_to_a_problem_with_several(answer: str, text: str) -> None:
    assert score(answer, text) == 1.0
    assert score(answer, text.replace("2", "7")) == 0.0


@pytest.mark.parametrize("text", [r"\boxed{4} or \boxed{5}", r"\boxed{5} \quad \text{and} \quad \boxed{4}"])
def test_several_answers_to_a_problem_with_one_are_none(text: str) -> None:
    assert score("4", text) == 0.0


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("120", "We multiply. " * 60 + "Final Answer: The volume is 120. I hope it is correct."),
        ("We add. " * 80 + r"So it is $\boxed{\frac{3}{4}}$.", r"\boxed{0.75}"),
        ("14916", r"\boxed{14{,}916}"),
        ("12000023", r"\boxed{12,\!000,\!023}"),
        ("1000", "1 000"),
    ],
)
def test_long_texts_and_large_numbers_are_read_as_people_write_them(answer: str, text: str) -> None:
    assert score(answer, text) == 1.0


@pytest.mark.parametrize(
    "text",
    ["(x+y+z+w)^{200}", "(1+x)^{9999}", r"\cos(\cos(\cos(\cos(\cos(x)))))", "x^{1000}", r"\frac{1}{(1+x)^{500}}"],
)
def test_a_formula_is_refuted_by_its_value_without_algebra(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics.math_verify, "verify", lambda *_, **__: pytest.fail("algebra was asked"))

    assert not mathematics.same("4", text)


@pytest.mark.parametrize(
    ("reference", "text"), [("4", "x+4-x"), ("x+1", r"\frac{x^2+x}{x}"), (r"\sin(2x)", r"2\sin x\cos x")]
)
def test_equal_values_are_left_to_algebra(reference: str, text: str) -> None:
    assert mathematics.same(reference, text)


@pytest.mark.parametrize(
    "text",
    [
        "((9!)!)!",
        r"\binom{10^9}{5}",
        r"\operatorname{eye}(100000)",
        "[[[[[4]]]]]",
        r"\sqrt[99999]{4}",
        "(1,2)" + r"\cup(1,2)" * 9,
    ],
)
def test_what_a_parser_chokes_on_is_refused_unread(text: str) -> None:
    assert not is_safe(text)


@pytest.mark.parametrize(
    "text", ["(3!)!", r"\binom{100}{50}", "[[1,2],[3,4]]", r"\sqrt[3]{4}", r"(1,2)\cup(3,4)", r"\sin(\cos(x))"]
)
def test_what_people_write_is_read(text: str) -> None:
    assert is_safe(text)


@pytest.mark.parametrize("answer", [None, "", "   ", "???", "(" * 100, "\x00", "x" * 100 + "=(" * 300])
def test_an_example_without_a_readable_answer_abstains(answer: str | None) -> None:
    assert score(answer, "<answer>4</answer>") is None
    assert score(answer, "") is None


def test_an_answer_that_repeats_one_that_cannot_be_read_is_right() -> None:
    assert score(r"x = 1, x = 2 \pm y", r"\boxed{x = 1, x = 2 \pm y}") == 1.0


def test_the_tolerance_is_a_share_of_the_reference() -> None:
    lenient = Accuracy(AccuracyConfig(tolerance=0.01))
    assert lenient(Example("q", "200.0"), Completion("201.5")) == 1.0
    assert lenient(Example("q", "200.0"), Completion("203")) == 0.0
    assert lenient(Example("q", "200"), Completion("201")) == 0.0


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match="tolerance"):
        AccuracyConfig(tolerance=-1.0)


def test_thousands_of_integers_are_compared_within_a_second() -> None:
    completion = Completion("<think>" + "3 + 4 = 7, " * 20 + "</think> <answer>42</answer>")
    started = time.process_time()
    assert all(accuracy(Example("q", str(number)), completion) == float(number == 42) for number in range(5000))
    assert time.process_time() - started < 1.0


def test_hostile_answers_are_bounded_and_their_neighbours_scored() -> None:
    hostile = [
        "9^{9^{9^{9^{9}}}}",
        "3" + "!" * 300,
        "\\operatorname{eye}(100000)",
        "\\binom{10^9}{5\\cdot10^8}",
        "\\sum_{i=1}^{10^{10}} i^i",
        "__import__('os')._exit(0)",
        "\\frac{" * 15 + "1" + "}{2}" * 15,
    ]
    texts = [text for attack in hostile for text in (f"\\boxed{{{attack}}}", "\\boxed{\\frac{8}{2}}")]
    rollouts = [Rollout(Example("q", "4"), Completion(text), 0) for text in texts]
    rewards = [NamedReward("accuracy", 1.0, accuracy, AccuracyConfig())]
    with Rubric(rewards, limits=Limits(workers=1, cpu_seconds=0.5), say=lambda _: None) as rubric:
        scores = rubric.score(rollouts)
    assert [found.total for found in scores[1::2]] == [1.0] * len(hostile)
    assert all(found.total in (None, 0.0) for found in scores[::2])


def test_building_the_reward_does_not_load_the_algebra() -> None:
    program = (
        "import sys; from ponder_rewards import AccuracyConfig; from ponder_rewards.accuracy import Accuracy;"
        "Accuracy(AccuracyConfig()); sys.exit('sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        ("6", "2×3"),
        ("3", "6÷2"),
        (r"2\pi", "2π"),
        (r"x\le 3", "x ≤ 3"),
        ("1/2", "½"),
        ("2.5", "2½"),
        (r"\sqrt{15}", "√(15)"),
        (r"3\sqrt{5}", "3√5"),
        ("x^2", "x²"),
        ("100000", "1×10⁵"),
        ("1/7", "7⁻¹"),
        (r"(-\infty,3)", "(−∞, 3)"),
        (r"\pm 3", "±3"),
        ("a_1+b", "a₁+b"),
        ("4000000", "4 million"),
        ("48", "4 dozen"),
        ("30000", "3万"),
        ("16", "16 cm²"),
    ],
)
def test_mathematics_in_signs_of_unicode_is_read(answer: str, written: str) -> None:
    for text in (written, f"<answer>{written}</answer>", f"\\boxed{{{written}}}"):
        assert score(answer, text) == 1.0


@pytest.mark.parametrize(
    "written",
    [
        "4×5",
        "4·5",
        "4÷5",
        "4π",
        "4√2",
        "4²",
        "4 million",
        "4±1",
        "4–5",
        "4...5",
        "4 +",
        "4|5",
        "4&5",
        "4、5",
        "4或5",
        "4和5",
        "4½",
        "≥4",
        r"\ge 4",
        "≠4",
        "not 4",
        "> 4",
        "4 to 5",
    ],
)
def test_a_number_with_something_beside_it_is_another_answer(written: str) -> None:
    for text in (written, f"<answer>{written}</answer>", f"\\boxed{{{written}}}"):
        assert score("4", text) == 0.0


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("B", "The answer is (B)."),
        ("B", "**Answer: B**"),
        ("B", "A was tempting. The correct choice is **B**."),
        ("Paris", "The answer is Paris. It lies on the Seine."),
        ("4", "所以答案是4。"),
        ("4", "答案：4"),
        ("5", "4不对，答案是5。"),
        ("42", "The answer is 42 because 6*7=42."),
    ],
)
def test_a_sentence_that_states_the_answer_is_read(answer: str, text: str) -> None:
    assert score(answer, text) == 1.0


@pytest.mark.parametrize(
    ("answer", "text"),
    [("B", "The answer is A, not B."), ("B", "The answer is not B."), ("B", "B is wrong."), ("4", "4不对，答案是5。")],
)
def test_what_a_sentence_only_mentions_is_no_answer(answer: str, text: str) -> None:
    assert score(answer, text) == 0.0


def test_a_box_in_the_reasoning_does_not_count_when_an_answer_follows_it() -> None:
    text = r"<think>Maybe \boxed{4} or \boxed{6}? No.</think> The answer is 5."
    assert [score(answer, text) for answer in ("5", "4", "6")] == [1.0, 0.0, 0.0]
