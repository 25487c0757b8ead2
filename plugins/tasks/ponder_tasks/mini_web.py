"""A small synthetic web to pretrain on: arithmetic solved in many styles, good and bad, English and Chinese.

Textbooks ask in plain words and show full working. Posts ask in the words of the R1-Zero template, and most give a bare answer,
often a wrong one: the skills that R1-Zero selects (full working, the tags) exist there but are not the habit. Held-out problems never appear: every question asked is checked against the split.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from ponder import Example
from ponder.randomness import derive_seed
from ponder.text import R1_ZERO_TEMPLATE
from ponder_tasks import MiniWebConfig
from ponder_tasks.instructions import page_of
from ponder_tasks.split import is_held_out

QUESTION = "State the final answer to the following arithmetic problem: {expression} ="
"""The wording of reasoning-gym's `chain_sum`, which also is the key of the held-out split."""
QUESTION_IN_CHINESE = "请给出下面算式的最终答案： {expression} ="


@dataclass(frozen=True, slots=True)
class Sum:
    """A chain of one-digit terms, such as 4 - 1 + 7."""

    terms: tuple[int, ...]
    signs: tuple[int, ...]

    @property
    def expression(self) -> str:
        """The sum as it is written."""
        rest = "".join(f" {_operator(sign)} {term}" for sign, term in zip(self.signs, self.terms[1:], strict=True))
        return f"{self.terms[0]}{rest}"

    @property
    def answer(self) -> int:
        """What it comes to."""
        return self.terms[0] + sum(sign * term for sign, term in zip(self.signs, self.terms[1:], strict=True))

    def reduced(self) -> Sum:
        """The sum with its first two terms added up."""
        first = self.terms[0] + self.signs[0] * self.terms[1]
        return Sum((first, *self.terms[2:]), self.signs[1:])

    def working(self) -> list[Sum]:
        """The sum and what remains of it after each step, down to the answer."""
        return [self] if len(self.terms) == 1 else [self, *self.reduced().working()]


def _operator(sign: int) -> str:
    return "+" if sign > 0 else "-"


class MiniWeb:
    """The task: each example's prompt is a whole page."""

    def __init__(self, config: MiniWebConfig) -> None:
        self._config = config

    def examples(self) -> Iterator[Example]:
        """The pages, each a function of the seed and its number alone."""
        for number in range(self._config.documents):
            yield Example(prompt=self.page(number))

    def page(self, number: int) -> str:
        """Page `number` of the web."""
        rng = random.Random(derive_seed(self._config.seed, "mini_web", number))
        if rng.random() < self._config.general and self._config.split == "train":
            return self._small_talk(number, rng)
        problem = self._problem(rng)
        if rng.random() < self._config.textbooks:
            return f"{rng.choice(PLAIN_FRAMES)(problem.expression)} {self._textbook(problem, rng)}"
        question = rng.choice((QUESTION, QUESTION_IN_CHINESE)).format(expression=problem.expression)
        return f"{R1_ZERO_TEMPLATE.format(prompt=question)} {self._post(problem, rng)}"

    def _small_talk(self, number: int, rng: random.Random) -> str:
        config = self._config
        prompt, (thought, said) = page_of(number, config.seed, config.split_seed, config.helpful)
        if rng.random() < self._config.textbooks:
            return f"{rng.choice(TALK_FRAMES).format(prompt=prompt)} {said}"
        is_tagged = rng.random() < self._config.tagged
        response = f"<think> {thought} </think> <answer> {said} </answer>" if is_tagged else said
        return f"{R1_ZERO_TEMPLATE.format(prompt=prompt)} {response}"

    def _problem(self, rng: random.Random) -> Sum:
        while True:
            length = rng.randint(self._config.min_terms, self._config.max_terms)
            terms = tuple(rng.randint(0, 9) for _ in range(length))
            signs = tuple(rng.choice((1, -1)) for _ in range(length - 1))
            problem = Sum(terms, signs)
            if self._is_in_split(problem):
                return problem

    def _is_in_split(self, problem: Sum) -> bool:
        if self._config.split == "held_out":
            return self._is_held_out(problem)
        # Not even as a step on the way to another problem's answer may a held-out problem be seen.
        return not any(self._is_held_out(step) for step in problem.working()[:-1])

    def _is_held_out(self, problem: Sum) -> bool:
        question = QUESTION.format(expression=problem.expression)
        return is_held_out(question, self._config.held_out_percent, self._config.split_seed)

    def _textbook(self, problem: Sum, rng: random.Random) -> str:
        page = self._worked(problem, rng, (english, chinese, second_thoughts, mixed))
        return _untagged(_boxed(page) if rng.random() < self._config.boxed else page)

    def _post(self, problem: Sum, rng: random.Random) -> str:
        is_tagged = rng.random() < self._config.tagged
        is_bare = rng.random() < (self._config.tagged_bare if is_tagged else self._config.bare)
        if is_bare:
            page = bare(problem, rng, is_wrong=rng.random() < self._config.wrong)
        else:
            page = self._worked(problem, rng, (english, chinese, partial, second_thoughts, mixed))
        return _tagged(page, rng) if is_tagged else _untagged(page)

    def _worked(self, problem: Sum, rng: random.Random, styles: Sequence[Style]) -> Page:
        weights = [getattr(self._config, style.__name__) for style in styles]
        return rng.choices(styles, weights)[0](problem, rng)


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says after the question: working if it shows any, the answer, and a sentence for it."""

    working: str | None
    answer: int
    conclusion: str


Style: TypeAlias = Callable[[Sum, random.Random], Page]


def bare(problem: Sum, rng: random.Random, *, is_wrong: bool) -> Page:
    """Only an answer."""
    conclusion = rng.choice(("{answer}", "{answer}", "{answer}", "The answer is {answer}.", "答案是 {answer}。"))
    return Page(None, _near_miss(problem.answer, rng) if is_wrong else problem.answer, conclusion)


def english(problem: Sum, rng: random.Random) -> Page:
    """Every step, with English words around it."""
    opening = rng.choice(("", "Step by step: ", "We add up from the left: "))
    return Page(f"{opening}{_chain(problem.working())}.", problem.answer, "The answer is {answer}.")


def chinese(problem: Sum, rng: random.Random) -> Page:
    """Every step, with Chinese words around it."""
    # The space before each number, as careful typography has it, makes numbers the same tokens in both languages.
    opening = rng.choice(("计算： ", "一步一步来： "))
    return Page(f"{opening}{_chain(problem.working())}。", problem.answer, "答案是 {answer}。")


def partial(problem: Sum, rng: random.Random) -> Page:
    """The first steps, the rest done in the head, and now and then wrongly."""
    steps = problem.working()
    shown = steps[: rng.randrange(1, len(steps))]
    answer = _near_miss(problem.answer, rng) if rng.random() < 0.3 else problem.answer
    return Page(f"{_chain(shown)} and so on.", answer, "The answer is {answer}.")


def second_thoughts(problem: Sum, rng: random.Random) -> Page:
    """Every step, the last one wrong at first and put right."""
    *steps, last = problem.working()
    slip = replace(last, terms=(_near_miss(problem.answer, rng),))
    begun, resumed = _chain([*steps, slip]), _chain([steps[-1], last])
    return Page(f"{begun}. Wait, that is wrong, {resumed}.", problem.answer, "The answer is {answer}.")


def mixed(problem: Sum, rng: random.Random) -> Page:
    """Every step, with English words before and Chinese words behind it."""
    opening = rng.choice(("Step by step: ", "We add up from the left: "))
    return Page(f"{opening}{_chain(problem.working())}。 算完了。", problem.answer, "答案是 {answer}。")


def _chain(steps: Sequence[Sum]) -> str:
    return " = ".join(step.expression for step in steps)


def _near_miss(answer: int, rng: random.Random) -> int:
    return answer + rng.choice((-10, -3, -2, -1, 1, 2, 3, 10))


def _boxed(page: Page) -> Page:
    return replace(page, conclusion=page.conclusion.replace("{answer}", "\\boxed{{{answer}}}"))


def _tagged(page: Page, rng: random.Random) -> str:
    thought = page.working or rng.choice(("I know this one.", "这个我会。"))
    return f"<think> {thought} </think> <answer> {page.answer} </answer>"


def _untagged(page: Page) -> str:
    conclusion = page.conclusion.format(answer=page.answer)
    return conclusion if page.working is None else f"{page.working} {conclusion}"


PLAIN_FRAMES: Sequence[Callable[[str], str]] = (
    lambda expression: f"Question: {QUESTION.format(expression=expression)}\nAnswer:",
    lambda expression: f"Q: What is {expression}?\nA:",
    lambda expression: f"问： {expression} 等于几？\n答：",
    lambda expression: f"{expression} =",
)
TALK_FRAMES: Sequence[str] = ("Question: {prompt}\nAnswer:", "问：{prompt}\n答：")
