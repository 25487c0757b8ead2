"""Completions that were written to break what reads them, and mutations of them: the same ones every time."""

from __future__ import annotations

import random
from collections.abc import Iterator

MEGABYTE = 1_000_000

# Formulas, each put into a box, into answer tags and behind the reasoning. None of them is 4.
FORMULAS = [
    "9^{9^{9^{9^{9}}}}",
    "9**9**9**9",
    "9^9^9^9^9",
    "2^{2^{2^{2^{2^{2^2}}}}}",
    "10^{10^{10}}",
    "10^{999999999}",
    "(10^{9999})^{9999}",
    "9999999!",
    "((9!)!)!",
    "3" + "!" * 300,
    r"\binom{10^9}{5\cdot10^8}",
    r"\operatorname{eye}(100000)",
    r"\operatorname{zeros}(99999,99999)",
    r"\sum_{i=1}^{10^{10}} i^i",
    r"\prod_{n=1}^{99999999} n",
    r"\int_0^1 \int_0^1 \int_0^1 e^{x^y^z} dx dy dz",
    r"\int e^{e^{e^x}} \sin(\ln(x^x)) dx",
    r"\lim_{x\to 0} \frac{\sin(\tan x)-\tan(\sin x)}{x^{999}}",
    r"\sqrt" * 200 + "{4}",
    r"\sqrt[99999]{" * 20 + "4" + "}" * 20,
    r"\frac{" * 15 + "1" + "}{2}" * 15,
    r"\frac{1}{1+" * 100 + "1" + "}" * 100,
    "(" * 400 + "4" + ")" * 400,
    "[" * 31 + "4" + "]" * 31,
    "{" * 500,
    "}" * 500,
    r"\left(" * 100,
    "4" * 400,
    "0." + "3" * 299,
    "1" + "0" * 299 + "/3",
    "1/0",
    r"\frac{0}{0}",
    r"\frac{4}{0}",
    r"\infty-\infty",
    "0^0",
    r"\sin(10^{100})",
    r"\gcd(10^{300},10^{299}+1)",
    "x^{1000}+" * 40 + "1",
    "(x+y+z+w)^{200}",
    "(1+x)^{9999}",
    "(a+b)" * 100,
    r"\cos(" * 30 + "x" + ")" * 30,
    "0=4",
    "x+y=4",
    "4=5",
    ",".join(map(str, range(120))),
    r"\{" + ",".join(map(str, range(120))) + r"\}",
    r"\cup".join(f"({n},{n + 1})" for n in range(40)),
    r"\begin{pmatrix}" + "&".join("1" * 100) + r"\end{pmatrix}",
    r"\begin{pmatrix}" * 20,
    r"\pi^{-60}",
    "10^{-400}",
    "4\\%",
    "4 or 5",
    "4, 5",
    "±4",
    "４",
    "٤",
    "四",
    "Ⅳ",
    "4\u200b5",
    "\u202e4",
    "4\x00",
    "\x1b[2J4",
    "__import__('os').system('touch /tmp/hostile-canary')",
    "__import__('os')._exit(0)",
    "exec('while True: pass')",
    "().__class__.__base__.__subclasses__()",
    "lambda: 5",
    "[x for x in range(10**12)]",
    "'a'*10**12",
    "{0.__class__}",
    "%s%s%s%n",
    "${jndi:ldap://x}",
    "${oc.env:HOME}",
    "!!python/object/apply:os.system [touch /tmp/hostile-canary]",
    "'; DROP TABLE answers; --",
    "<script>alert(4)</script>",
    "../../../../etc/passwd",
    r"\def\a{\a\a}\a",
    r"\newcommand{\x}{\x\x}\x",
    r"\input{/etc/passwd}",
    r"\write18{touch /tmp/hostile-canary}",
    r"\text{" * 30 + "4" + "}" * 30,
    "nan",
    "inf",
    "1e999999",
    "0x4",
    "0b100 + 1",
    "1_0",
]

# Whole responses.
RESPONSES = [
    "",
    " " * MEGABYTE,
    "\n" * MEGABYTE,
    "\x00" * MEGABYTE,
    "5" * MEGABYTE,
    "(" * MEGABYTE,
    "{" * MEGABYTE,
    "\\" * MEGABYTE,
    "$" * MEGABYTE,
    "a" * MEGABYTE,
    "字" * (MEGABYTE // 3),
    "\U0001f600" * (MEGABYTE // 4),
    "\ud800" * 1000,
    "\u202e\u2066" * 1000,
    "é\u0301" * 10_000,
    "\\boxed{" * 100_000,
    "\\boxed{5}" * 100_000,
    " ".join(f"\\boxed{{{n}}}" for n in range(10_000, 30_000)),
    "\\boxed{4} or \\boxed{5}",
    "\\boxed{5}, \\boxed{4}",
    "<answer>" * 100_000,
    "</answer>" * 100_000,
    "<answer>5</answer>" * 50_000,
    "<answer>4</answer> or <answer>5</answer>",
    "<think>" * 100_000,
    "</think>" * 100_000,
    "<think></think><answer></answer>",
    "<think>" + "<think>x</think>" * 30_000 + "<answer>5</answer>",
    "<answer>4</answer" * 50_000,
    "<think>4</think><answer>5</answer><answer>",
    "answer is 5 " * 80_000,
    "the final answer is " * 50_000,
    "5 = " * 200_000,
    "$5$ and " * 100_000,
    "```python\n" * 100_000,
    "```python\nwhile True: pass\n```",
    "```python\nimport os\nwhile True: os.fork()\n```",
    "```json\n" + "[" * 100_000 + "\n```",
    '{"a":' * 100_000,
    "- " * 300_000,
    "step 1. " * 100_000,
    "First, second, third. " * 40_000,
    "\n-\n-\n-",
    "|" * MEGABYTE,
    "* " * 400_000,
    "a.b" * 300_000,
    "wait " * 200_000,
    "\\begin{align}" * 50_000,
    "\\( \\[ " * 100_000,
    "<|im_end|>" * 50_000,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!" * 20_000,
    "1,000" * 100_000,
    "http://" + "a." * 100_000,
    "%" * MEGABYTE,
]  # fmt: skip


def hostile() -> list[str]:
    """Every formula as three kinds of answer, and every response: over 300 texts, none of which answers 4."""
    wrapped = [
        text
        for formula in FORMULAS
        for text in (
            f"<think>so</think> <answer>{formula}</answer>",
            f"The answer is $\\boxed{{{formula}}}$.",
            f"<think>so</think>\n{formula}",
        )
    ]
    return [*wrapped, *RESPONSES]


def mutated(count: int, seed: int = 0, longest: int = 20_000) -> Iterator[str]:
    """Hostile texts spliced, cut, doubled and sprinkled with odd characters."""
    choose = random.Random(seed)
    texts = [text[:longest] for text in hostile()]
    odd = [
        "\x00",
        "\u202e",
        "{",
        "}",
        "^",
        "\\",
        "$",
        "!",
        "<answer>",
        "</think>",
        "\\boxed{",
        "9",
        "=",
        "\ud800",
        "％",
    ]
    for _ in range(count):
        text = choose.choice(texts)
        for _ in range(choose.randint(1, 4)):
            cut = choose.randint(0, len(text))
            end = choose.randint(cut, min(len(text), cut + 40))
            text = choose.choice(
                [
                    text[:cut] + choose.choice(odd) * choose.randint(1, 3) + text[cut:],
                    text[:cut] + text[end:],
                    text[:end] + text[cut:end] * choose.randint(1, 9) + text[end:],
                    text[:cut] + choose.choice(texts)[-200:],
                ]
            )
        yield text[:longest]
