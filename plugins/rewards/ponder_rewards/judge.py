"""Reward `judge`."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from ponder import Example, Rollout
from ponder.errors import InputError, StageError
from ponder.text import THINK_CLOSE, THINK_OPEN, readable_prompt, split_response
from ponder_rewards.endpoint import Budget, Endpoint, Reply, SpentError, UnansweredError
from ponder_rewards.judge_options import PLACEHOLDERS, TEMPLATE, JudgeConfig
from ponder_rewards.replies import KeptReplies

_GIVE_UP_AFTER: Final = 16
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
        _key(config)

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """See `BatchReward`."""
        prompts = [self._prompt(rollout) for rollout in rollouts]
        replies = self._replies(list(dict.fromkeys(prompt for prompt in prompts if prompt)))
        return [
            0.0 if prompt == "" else None if prompt is None else self._verdict(replies.get(prompt))
            for prompt in prompts
        ]

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
        kept = KeptReplies(_directory(self._config), self._endpoint_identity())
        found = {prompt: reply for prompt in prompts if (reply := kept.get(prompt)) is not None}
        open_ = [prompt for prompt in prompts if prompt not in found]
        if open_:
            found.update(self._asked(open_, kept))
        return found

    def _asked(self, prompts: Sequence[str], kept: KeptReplies) -> dict[str, str]:
        budget = Budget(self._calls, self._tokens)
        asking = _Asking(self._endpoint(), budget, kept)
        with ThreadPoolExecutor(self._config.concurrency, thread_name_prefix="ponder-judge") as pool:
            outcomes = list(pool.map(asking, prompts))
        self._calls, self._tokens = budget.calls, budget.tokens
        failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        for failure in failures:
            if isinstance(failure, SpentError):
                raise StageError(
                    f"the judge's budget {failure} = {getattr(self._config, str(failure))} is used up: raise it, and the same "
                    "command continues; replies so far are kept"
                )
            if isinstance(failure, StageError):
                raise failure
        if failures and (len(failures) == len(prompts) or asking.failed_in_a_row >= _GIVE_UP_AFTER):
            raise StageError(f"the judge left {len(failures)} of {len(prompts)} questions open: {failures[0]}")
        if failures:
            _logger.warning("the judge left %d of %d questions open: %s", len(failures), len(prompts), failures[0])
        return {
            prompt: outcome.text
            for prompt, outcome in zip(prompts, outcomes, strict=True)
            if isinstance(outcome, Reply)
        }

    def _endpoint(self) -> Endpoint:
        config = self._config
        return Endpoint(
            url=config.url,
            key=_key(config),
            body=self._body(),
            reply_tokens=config.max_reply_tokens,
            timeout=config.timeout_seconds,
            retries=config.retries,
            backoff=config.backoff_seconds,
        )

    def _body(self) -> dict[str, object]:
        config = self._config
        own = {"model": config.model, "temperature": config.temperature, "max_tokens": config.max_reply_tokens}
        return {name: value for name, value in {**own, **config.request}.items() if value is not None}

    def _endpoint_identity(self) -> dict[str, object]:
        return {"url": self._config.url, **self._body()}

    def _verdict(self, reply: str | None) -> float | None:
        if reply is None:
            return None
        said = reply.rpartition(THINK_CLOSE)[2].strip()
        scores = {float(number) for number in _VERDICT.findall(said)}
        lowest, highest = self._config.lowest, self._config.highest
        if not _VERDICT.fullmatch(said.rpartition("\n")[2]) or len(scores) != 1:
            return None
        score = scores.pop()
        return (score - lowest) / (highest - lowest) if lowest <= score <= highest else None


class _Asking:
    """Asks in several threads, keeps what is answered, and stops trying where nothing is answered any more."""

    def __init__(self, endpoint: Endpoint, budget: Budget, kept: KeptReplies) -> None:
        self._endpoint = endpoint
        self._budget = budget
        self._kept = kept
        self._refusal: StageError | None = None
        self.failed_in_a_row = 0

    def __call__(self, prompt: str) -> Reply | Exception:
        if self._refusal:
            return self._refusal
        if self.failed_in_a_row >= _GIVE_UP_AFTER:
            return UnansweredError(
                f"not asked, because {_GIVE_UP_AFTER} questions in a row before it were not answered"
            )
        try:
            reply = self._endpoint.ask(prompt, self._budget)
        except StageError as error:
            self._refusal = error
            return error
        except UnansweredError as error:
            self.failed_in_a_row += 1
            return error
        self.failed_in_a_row = 0
        self._kept.put(prompt, reply.text)
        return reply


def _key(config: JudgeConfig) -> str:
    if not config.key_variable:
        return ""
    key = os.environ.get(config.key_variable, "").strip()
    if not key:
        raise InputError(
            f"reward judge: the environment variable {config.key_variable}, which should hold the endpoint's key, is not set"
        )
    return key


def _directory(config: JudgeConfig) -> Path:
    if config.cache:
        return Path(config.cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponder" / "judge"


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
