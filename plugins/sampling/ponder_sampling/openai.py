"""The sampler `openai`: completions from a model behind an OpenAI-compatible endpoint, each asked for once and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from ponder import Completion, Example, Policy
from ponder.asking import KEPT, ask_all, spent
from ponder.endpoint import Budget, Endpoint, Question, Reply, SpentError
from ponder.endpoint_options import endpoint_of, key_of
from ponder.errors import StageError
from ponder.kept_replies import KeptReplies, cache_directory
from ponder.randomness import derive_seed
from ponder.text import THINK_CLOSE, THINK_OPEN, r1_response
from ponder.types import FinishReason, Message
from ponder_sampling.openai_options import OpenaiConfig

_WHO: Final = "the sampler"
_CHARACTERS_A_TOKEN: Final = 4
_LARGEST_SEED: Final = 1 << 31


class OpenaiSampler:
    """Asks for each completion in a request of its own, with a seed of its own: some servers ignore `n`.

    Reasoning that a server gives apart stands between think tags in front of the reply.
    """

    def __init__(self, config: OpenaiConfig) -> None:
        key_of(config, "sampler openai")
        self.config = config
        self.temperature = config.temperature
        self.source: Mapping[str, str] = {"model": config.model, "url": config.url}
        """Whose completions these are."""
        self._budget = Budget(config.max_calls, config.max_tokens)
        self._kept_replies = 0

    def sample(self, policy: Policy | None, examples: Sequence[Example], n: int, seed: int) -> list[list[Completion]]:
        """`n` completions for each example, in order; the policy is not asked.

        Raises:
            StageError: the endpoint refuses, leaves questions open after all retries, or the budget is used up. Replies so
                far are kept, so that the same call asks only for the rest.
        """
        version = 0 if policy is None else policy.version
        groups = [
            [self._question(example, place, sample, seed) for sample in range(n)]
            for place, example in enumerate(examples)
        ]
        replies = self._replies({question.key: question for group in groups for question in group})
        return [[self._completion(replies[question.key], version) for question in group] for group in groups]

    def statistics(self) -> dict[str, float]:
        """What was asked, and how many replies had been kept, since it was last asked; see `Budget`."""
        kept, self._kept_replies = self._kept_replies, 0
        return {**self._budget.statistics(), "kept_replies": float(kept)}

    def _question(self, example: Example, place: int, sample: int, seed: int) -> Question:
        messages = self._messages(example)
        number = derive_seed(seed, "openai", place, sample) % _LARGEST_SEED if self.temperature else 0
        return Question(
            json.dumps([messages, number]), messages, {} if "seed" in self.config.request else {"seed": number}
        )

    def _messages(self, example: Example) -> list[Message]:
        prompt, system = example.prompt, self.config.system
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        has_own = any(message["role"] == "system" for message in prompt)
        first: list[Message] = [{"role": "system", "content": system}] if system and not has_own else []
        return first + [{"role": message["role"], "content": message["content"]} for message in prompt]

    def _replies(self, questions: Mapping[str, Question]) -> Mapping[str, Reply]:
        config, budget = self.config, self._budget
        kept = KeptReplies(cache_directory(config.cache, "openai"), {"url": config.url, **self._body()}, _WHO)
        try:
            # Nothing is trained on these in the same step, so a step that a signal ends loses no more than is kept.
            answers = ask_all(
                list(questions.values()), self._endpoint(), budget, kept, config.concurrency, leaves_step=True
            )
        except SpentError as error:
            raise spent(error, _WHO, config) from None
        self._kept_replies += answers.kept
        if answers.problems:
            raise StageError(
                f"{_WHO} left {len(answers.problems)} of {len(questions)} questions open: {answers.problems[0]}; {KEPT}"
            )
        return answers.replies

    def _body(self) -> dict[str, object]:
        config = self.config
        return config.body(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_new_tokens)

    def _endpoint(self) -> Endpoint:
        return endpoint_of(
            self.config, _WHO, "sampler openai", self._body(), self.config.max_new_tokens, wants_text=True
        )

    def _completion(self, reply: Reply, version: int) -> Completion:
        text, finish_reason = text_of(reply), _finish_reason(reply, self.config.max_new_tokens)
        count = reply.reply_tokens
        if count is None:
            count = len(text) // _CHARACTERS_A_TOKEN
        return Completion(text, finish_reason=finish_reason, policy_version=version, token_count=count)


def text_of(reply: Reply) -> str:
    """The reply as a policy of ours would say it: reasoning between think tags, then the answer.

    A closing tag alone follows reasoning whose opening tag the server's chat template wrote.
    """
    text, reasoning = reply.text.strip(), reply.reasoning.strip()
    if reasoning:
        is_cut = reply.finish_reason == "length" and not text
        return f"{THINK_OPEN}\n{reasoning}" if is_cut else r1_response(reasoning, text)
    if THINK_CLOSE in text and THINK_OPEN not in text:
        return f"{THINK_OPEN}\n{text}"
    return text


def _finish_reason(reply: Reply, longest: int) -> FinishReason:
    """A reply that a filter or a crash ended is not finished either."""
    if reply.finish_reason:
        return "stop" if reply.finish_reason in ("stop", "eos") else "length"
    return "length" if reply.reply_tokens is not None and reply.reply_tokens >= longest else "stop"
