"""Reward `judge`."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Final

from ponder import Example, Rollout
from ponder.asking import ask_all, spent
from ponder.endpoint import Budget, Endpoint, Question, SpentError
from ponder.endpoint_options import endpoint_of, key_of
from ponder.kept_replies import KeptReplies, cache_directory
from ponder.text import THINK_CLOSE, THINK_OPEN, readable_prompt, split_response
from ponder_rewards.judge_options import PLACEHOLDERS, TEMPLATE, JudgeConfig

_WHO: Final = "the judge"
_REWARD: Final = "reward judge"
_VERDICT = re.compile(
    r"^[ \t]*(?:\*\*)?score(?::\*\*|\*\*:|:)[ \t]*(-?\d{1,6}(?:\.\d{1,6})?)(?:\*\*)?[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_PLACEHOLDER = re.compile(rf"\{{({'|'.join(PLACEHOLDERS)})\}}")
_logger = logging.getLogger("ponder")


class Judge:
    """What a language model thinks of a response, in [0, 1]; see `JudgeConfig` for when it abstains.

    A reply counts when its last line is `Score: <number>` within the scale and no other line gives a different score. Equal prompts are
    asked once, and never again while the reply is in the cache. Where no question of a batch is answered, or 16 in a row
    are not, and where the budget is used up, the batch fails with the reason. It scores in the trainer's process, where replies
    are read as text and by JSON alone. Source: judges with a single score as in MT-bench (Zheng et al. 2023, section 3.1); DeepSeek-R1
    (Methods) uses its own model as the judge of general tasks.
    """

    def __init__(self, config: JudgeConfig) -> None:
        self._config = config
        self._template = config.prompt or TEMPLATE
        self._calls, self._tokens = config.max_calls, config.max_tokens
        self._told: dict[str, float] = {}
        key_of(config, _REWARD)

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """See `BatchReward`."""
        prompts = [self._prompt(rollout) for rollout in rollouts]
        replies = self._replies(list(dict.fromkeys(prompt for prompt in prompts if prompt)))
        verdicts = {prompt: self._verdict(reply) for prompt, reply in replies.items()}
        self._count({"unclear": sum(verdict is None for verdict in verdicts.values())})
        return [0.0 if prompt == "" else verdicts.get(prompt or "") for prompt in prompts]

    def statistics(self) -> dict[str, float]:
        """What was asked since this was last called; see `JudgeConfig`."""
        told, self._told = self._told, {}
        return told

    def _prompt(self, rollout: Rollout) -> str | None:
        """What the model is asked; None for what it cannot be asked, and nothing where there is nothing to judge."""
        config, example = self._config, rollout.example
        part = _shown(rollout.completion.text, config.sees)
        if not part:
            return ""
        if len(part) > config.max_characters or ("{answer}" in self._template and example.answer is None):
            return None
        values = {
            "question": _question(example),
            "response": _fenced(part),
            "answer": example.answer or "",
            "lowest": str(config.lowest),
            "highest": str(config.highest),
        }
        # In one pass, so that a response which holds a placeholder keeps it.
        filled = _PLACEHOLDER.sub(lambda match: values[match[1]], self._template)
        return filled.encode("utf-8", "replace").decode()

    def _replies(self, prompts: Sequence[str]) -> dict[str, str]:
        """The reply to each prompt that was answered, now or before."""
        questions = [Question(prompt, [{"role": "user", "content": prompt}]) for prompt in prompts]
        kept = KeptReplies(cache_directory(self._config.cache, "judge"), self._endpoint_identity(), _WHO)
        budget = Budget(self._calls, self._tokens)
        try:
            answers = ask_all(questions, self._endpoint(), budget, kept, self._config.concurrency)
        except SpentError as error:
            raise spent(error, _WHO, self._config) from None
        finally:
            self._calls, self._tokens = budget.calls, budget.tokens
            self._count(budget.statistics())
        self._count({"kept_replies": answers.kept, "unanswered": len(answers.problems)})
        if answers.problems:
            asked = len(prompts) - answers.kept
            _logger.warning(
                "the judge left %d of %d questions open: %s", len(answers.problems), asked, answers.problems[0]
            )
        return {prompt: reply.text for prompt, reply in answers.replies.items()}

    def _count(self, counts: Mapping[str, float]) -> None:
        for name, count in counts.items():
            self._told[name] = self._told.get(name, 0.0) + count

    def _endpoint(self) -> Endpoint:
        return endpoint_of(self._config, _WHO, _REWARD, self._body(), self._config.max_reply_tokens, wants_text=False)

    def _body(self) -> dict[str, object]:
        return self._config.body(temperature=self._config.temperature, max_tokens=self._config.max_reply_tokens)

    def _endpoint_identity(self) -> dict[str, object]:
        return {"url": self._config.url, **self._body()}

    def _verdict(self, reply: str) -> float | None:
        said = reply.rpartition(THINK_CLOSE)[2].strip()
        scores = {float(number) for number in _VERDICT.findall(said)}
        lowest, highest = self._config.lowest, self._config.highest
        if not _VERDICT.fullmatch(said.rpartition("\n")[2]) or len(scores) != 1:
            return None
        score = scores.pop()
        return (score - lowest) / (highest - lowest) if lowest <= score <= highest else None


def _question(example: Example) -> str:
    return readable_prompt(example.prompt)


def _shown(text: str, sees: str) -> str:
    if sees == "response":
        return text.strip()
    summary = split_response(text).answer
    if summary is None and THINK_OPEN not in text and THINK_CLOSE not in text:
        summary = text
    return (summary or "").strip()


def _fenced(part: str) -> str:
    """The part between two lines that it cannot hold, because they are made from all of it."""
    line = "=" * 8 + hashlib.sha256(part.encode("utf-8", "replace")).hexdigest()[:24]
    return f"{line}\n{part}\n{line}"
