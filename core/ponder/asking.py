"""Many questions to one endpoint at once, whose replies are kept, so that none is asked twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from ponder.endpoint import Budget, Endpoint, Question, Reply, SpentError, UnansweredError
from ponder.errors import StageError
from ponder.kept_replies import KeptReplies

GIVE_UP_AFTER: Final = 16
"""Questions in a row without an answer, after which no more are asked."""
KEPT: Final = "replies so far are kept, and the same command continues"


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of some questions."""

    replies: Mapping[str, Reply]
    """By the key of the question."""
    kept: int
    """How many of them had been kept from before."""
    problems: Sequence[UnansweredError]
    """One for each question that stays open."""


def ask_all(
    questions: Sequence[Question], endpoint: Endpoint, budget: Budget, kept: KeptReplies, concurrency: int
) -> Answers:
    """The replies to questions of different keys, each asked once, and not at all where its reply was kept.

    Raises:
        StageError: no question is answered, or 16 in a row are not; the endpoint refuses; the budget is used up. Replies so
            far are kept.
    """
    found = {question.key: reply for question in questions if (reply := kept.get(question)) is not None}
    open_ = [question for question in questions if question.key not in found]
    if not open_:
        return Answers(found, len(found), ())
    asking = _Asking(endpoint, budget, kept)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="ponder-asking") as pool:
        outcomes = list(pool.map(asking, open_))
    problems = [outcome for outcome in outcomes if isinstance(outcome, UnansweredError)]
    refusal = next((outcome for outcome in outcomes if isinstance(outcome, StageError)), None)
    if refusal is not None:
        raise refusal
    if problems and (len(problems) == len(open_) or asking.failed_in_a_row >= GIVE_UP_AFTER):
        raise StageError(f"{endpoint.whose} left {len(problems)} of {len(open_)} questions open: {problems[0]}; {KEPT}")
    answered = {
        question.key: outcome for question, outcome in zip(open_, outcomes, strict=True) if isinstance(outcome, Reply)
    }
    return Answers({**found, **answered}, len(found), problems)


def spent(error: SpentError, whose: str, options: object) -> StageError:
    """What to tell the user when a budget is used up; `options` hold the limit under the name that the error gives."""
    return StageError(
        f"{whose}'s budget {error} = {getattr(options, str(error))} is used up: raise it, and the same command continues; "
        "replies so far are kept"
    )


class _Asking:
    """Asks in several threads, keeps what is answered, and stops trying where nothing is answered any more."""

    def __init__(self, endpoint: Endpoint, budget: Budget, kept: KeptReplies) -> None:
        self._endpoint = endpoint
        self._budget = budget
        self._kept = kept
        self._refusal: StageError | None = None
        self.failed_in_a_row = 0

    def __call__(self, question: Question) -> Reply | StageError | UnansweredError:
        if self._refusal:
            return self._refusal
        if self.failed_in_a_row >= GIVE_UP_AFTER:
            return UnansweredError(f"not asked, because {GIVE_UP_AFTER} questions in a row before it were not answered")
        try:
            reply = self._endpoint.ask(question, self._budget)
            self._kept.put(question, reply)
        except StageError as error:
            self._refusal = error
            return error
        except UnansweredError as error:
            self.failed_in_a_row += 1
            return error
        self.failed_in_a_row = 0
        return reply
