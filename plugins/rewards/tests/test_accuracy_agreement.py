"""Verdicts beside math-verify's own, in its default configuration: the same, save for a list that says why."""

import logging
import random

import math_verify
import pytest

from ponder import Completion, Example
from ponder_rewards import AccuracyConfig
from ponder_rewards.accuracy import Accuracy
from ponder_rewards.polynomials import polynomial

# fmt: off
PAIRS: dict[str, list[str]] = {
    r"\frac{1}{2}": ["0.5", "1/2", r"\frac{2}{4}", r"\dfrac12", r"\tfrac{1}{2}", "50\\%", "0.50", "2", r"\frac{1}{3}", "-0.5"],
    "1,234": ["1234", "1,234.0", "1234.5", "1.234"],
    r"\{1,2,3\}": [r"\{3,2,1\}", "1,2,3", r"\{1,2\}", "3, 2, 1", "(1,2,3)", "1, 2 and 3", "1,2,3,4"],
    "(1,2)": ["(1,2)", "(1, 2)", "1,2", "(2,1)", "[1,2]", "(1.0,2.0)"],
    "[0,1)": ["[0, 1)", "(0,1)", "[0,1]", r"\left[0,1\right)", r"0 \le x < 1"],
    r"(-\infty,3)": [r"(-\infty, 3)", "x<3", r"(-\infty,3]", r"\left(-\infty,3\right)"],
    r"(1,2)\cup(3,4)": [r"(3,4)\cup(1,2)", "(1,2)"],
    "x=5": ["5", "x=5", "x=6", "y=5", r"\boxed{5}"],
    "y=2x+1": ["y=2x+1", "2x+1", "y=1+2x", "y-2x=1", "y=2x"],
    "3x+2y=6": ["2y+3x=6", "6x+4y=12", "y=3-1.5x", "3x+2y=7", "6"],
    "x>3": ["3<x", r"x\ge 3", "x > 3", "x<3"],
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}": [r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}"],
    r"\sqrt{8}": [r"2\sqrt{2}", r"\sqrt8", "2.828427", "2.83", "8^{1/2}"],
    r"2\pi": ["6.283185", r"2\cdot\pi", "6.28", r"\pi 2", r"\pi"],
    "5 cm": ["5", "5 meters", r"5\text{ cm}", "6 cm", "5cm"],
    r"90^\circ": ["90", "90 degrees", r"\frac{\pi}{2}"],
    "20\\%": ["20\\%", "20", "0.2", "20%", "20 percent", "21\\%", r"\frac{1}{5}"],
    "2^{10}": ["1024", "1023", "4^5"],
    "x^2+2x+1": ["(x+1)^2", "1+2x+x^2", "x^2+2x", "(x+1)(x+1)", "y^2+2y+1", "x^{2}+2x+1"],
    "x^2-y^2": ["(x-y)(x+y)", "y^2-x^2"],
    r"\frac{x+1}{2}": [r"\frac{1+x}{2}", "0.5x+0.5", "(x+1)/2", r"\frac{x}{2}+\frac{1}{2}", "x+1/2"],
    r"\frac{1}{x}": ["1/x", "x^{-1}", r"\frac{2}{2x}", "x"],
    r"\sin(2x)": [r"2\sin x\cos x", r"\cos(2x)"],
    r"\log_2 8": ["3", "8"],
    "3+4i": ["4i+3", "3-4i"],
    "10!": ["3628800", "3628801"],
    r"\binom{5}{2}": ["10", r"\binom{5}{3}", "11"],
    r"\frac{\sqrt{3}}{2}": [r"\frac{\sqrt3}{2}", "0.866025", r"\sqrt{0.75}", "0.87", r"\frac{3}{2\sqrt{3}}"],
    "-3": ["-3", "\N{MINUS SIGN}3", "3", "(-3)", "- 3", "-3.0"],
    "0": ["0.0", "1", "-0", r"\frac{0}{5}"],
    "1/3": ["0.333333", "0.33", "0.333334", r"\frac{2}{6}"],
    "1/17": ["0.058824", "0.0588235", "0.0588"],
    "1234.5678": ["1234.568", "1234.5678", "1234.56780"],
    "2\\frac{1}{2}": ["2.5", "5/2", r"\frac{5}{2}", "1"],
    "A": ["(A)", r"\text{A}", "B", r"\textbf{(A)}"],
    r"\text{east}": ["east", "west"],
    r"\infty": [r"-\infty", "infinity"],
    r"\pm 3": ["3,-3", "3", r"\{-3,3\}"],
    "x=1,2": ["1,2", "x=1 or x=2", "2,1"],
    "a+b": ["b+a", "a-b"],
    "7": ["the answer is 7", "7 apples", "x=7", "3+4=7", "7 or 8", "seven", "07", "+7", r"\(7\)", "7.", r"\sqrt{49}", "7,7"],
    r"6\text{ or }7": ["6,7", "7,6", "6 or 7", "6"],
    r"16\pi": ["50.265482", r"16\pi \text{ cm}^2", "16"],
    r"(3, \frac{\pi}{2})": [r"(3,\pi/2)", r"(\frac{\pi}{2},3)"],
    "100,000": ["100000", "10^5"],
    "0.1": ["1/10", "10\\%", ".1", "0.1000001"],
    "n(n+1)/2": [r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}", "n(n-1)/2"],
    "R_{blue}:R=2:5": ["2:5", "0.4", "5:2", "2"],
    "y_1=x+1, y_2=2x": [r"$y_1 = \boxed{x+1}$ and $y_2 = \boxed{2x}$", r"$y_1 = \boxed{x+1}$ and $y_2 = \boxed{3x}$"],
    "72": [r"It was \boxed{70}. Final Answer: The final answer is $72$. I hope it is correct. Note: 74"],
    r"The answer is $\frac{3}{4}$": ["0.75", r"$\frac34$", "0.7"],
}
# fmt: on

# What math-verify accepts or refuses, and we do not.
DIFFERENCES = {
    ("7", "0=7"): (True, "a side of an equation that does not hold"),
    ("7", "x+y=7"): (True, "a side of an equation in something else"),
    ("42", "42\\%"): (True, "a percent sign is a hundredth"),
    ("42", "42 percent"): (True, "the same"),
    ("0.0000001", "0.0000002"): (True, "tiny is not equal"),
    (r"\pi^{-60}", "e^{-50}"): (True, "the same"),
    ("4", r"\ge 4"): (True, "a bound is no number"),
    ("4", r"\ne 4"): (True, "the same"),
    ("4", "4²"): (True, "a power in Unicode is one"),
    (r"\sqrt{2}", "√2"): (False, "so is a root"),
    (r"1 - \frac{1}{\mathrm{e}}", r"1 + \frac{1}{\mathrm{e}}"): (True, "it reads neither to the end"),
    ("Paris", "spair"): (True, "a word is no product of its letters"),
    ("7", "**7**"): (False, "emphasis only surrounds"),
    ("A", "A. Amsterdam"): (False, "an option's letter with what it stands for"),
    ("\\$12.50", "12.5"): (False, "a price is its number"),
    ("1,234", "1 234"): (False, "thousands set apart, which it knows outside of formulas"),
    ("1000.99", "1000,99"): (False, "a decimal comma, which it knows outside of formulas"),
}

accuracy = Accuracy(AccuracyConfig())


def ours(gold: str, answer: str) -> float | None:
    return accuracy(Example("q", gold), Completion(answer))


def theirs(gold: str, answer: str) -> bool:
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    parsed = [math_verify.parse(_delimited(text), parsing_timeout=None) for text in (gold, answer)]
    return bool(math_verify.verify(*parsed, timeout_seconds=None))


def _delimited(text: str) -> str:
    return text if "$" in text or "\\(" in text or "\\boxed" in text else f"${text}$"


@pytest.mark.parametrize("gold", PAIRS)
def test_verdicts_are_those_of_math_verify(gold: str) -> None:
    assert {answer: ours(gold, answer) for answer in PAIRS[gold]} == {
        answer: float(theirs(gold, answer)) for answer in PAIRS[gold]
    }


@pytest.mark.parametrize(("gold", "answer"), DIFFERENCES)
def test_where_verdicts_differ_it_is_meant(gold: str, answer: str) -> None:
    expected, _ = DIFFERENCES[gold, answer]
    assert theirs(gold, answer) is expected
    assert ours(gold, answer) == float(not expected)


def test_polynomials_are_equal_where_math_verify_says_so() -> None:
    choose = random.Random(11)
    checked = 0
    for _ in range(60):
        letters = choose.choice(["xy", "ab", "x", "nk", "pq"])
        gold, answer = _polynomial(choose, letters), _polynomial(choose, letters)
        for one, other in ((gold, answer), (gold, f"{gold}+{answer}-({answer})")):
            mine = (polynomial(one), polynomial(other))
            if None in mine:
                continue
            assert (mine[0] == mine[1]) is theirs(one, other), (one, other)
            checked += 1
    assert checked > 80


def _polynomial(choose: random.Random, letters: str) -> str:
    def letter() -> str:
        return choose.choice(letters)

    shapes = [
        f"{choose.randint(2, 9)}{letter()}^2",
        f"({letter()}+{choose.randint(1, 5)})({letter()}-1)",
        f"{choose.randint(2, 4)}({letter()}-{choose.randint(1, 9)})",
        rf"\frac{{{letter()}+1}}{{3}}",
        rf"{letter()} \cdot {letter()}^{{3}}",
        f"{choose.randint(1, 20)}",
    ]
    return "+".join(choose.sample(shapes, 2))
