"""Many questions to one endpoint at once, whose replies are kept, so that none is asked twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ponder.endpoint import Budget, Endpoint, Question, Reply, SpentError, UnansweredError
from ponder.errors import StageError
from ponder.kept_replies import KeptReplies
from ponder.signals import stop_requested
from ponder.threads import results

GIVE_UP_AFTER: Final = 16
"""Questions in a row without an answer, after which no more are asked."""
GRACE: Final = 2.0
"""Seconds that requests under way have when the program is to stop."""
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
    questions: Sequence[Question],
    endpoint: Endpoint,
    budget: Budget,
    kept: KeptReplies,
    concurrency: int,
    *,
    leaves_step: bool = False,
) -> Answers:
    """The replies to questions of different keys, each asked once, and not at all where its reply was kept.

    With `leaves_step` the first signal that asks to stop does not wait for the step to end: no request is begun any more, and
    those under way have two seconds. That is for steps which lose nothing but their questions, whose replies are kept.

    Raises:
        KeyboardInterrupt: a signal has made this leave the step.
        StageError: no question is answered, or 16 in a row are not; the endpoint refuses; the budget is used up. Replies so
            far are kept.
    """
    found = {question.key: reply for question in questions if (reply := kept.get(question)) is not None}
    open_ = [question for question in questions if question.key not in found]
    if not open_:
        return Answers(found, len(found), ())
    asking = _Asking(endpoint, budget, kept, leaves_step)
    came = {
        question.key: outcome
        for question, outcome in results(open_, asking, concurrency, asking.stopped, asking.patient)
    }
    answered = {key: outcome for key, outcome in came.items() if isinstance(outcome, Reply)}
    if asking.ends is not None and len(answered) < len(open_):
        raise KeyboardInterrupt
    outcomes = [came[question.key] for question in open_]
    problems = [outcome for outcome in outcomes if isinstance(outcome, UnansweredError)]
    refusal = next((outcome for outcome in outcomes if isinstance(outcome, StageError)), None)
    if refusal is not None:
        raise refusal
    if problems and (len(problems) == len(open_) or asking.failed_in_a_row >= GIVE_UP_AFTER):
        raise StageError(f"{endpoint.whose} left {len(problems)} of {len(open_)} questions open: {problems[0]}; {KEPT}")
    return Answers({**found, **answered}, len(found), problems)


def spent(error: SpentError, whose: str, options: object) -> StageError:
    """What to tell the user when a budget is used up; `options` hold the limit under the name that the error gives."""
    limit = getattr(options, error.limit)
    figures = f"{limit - error.left} are spent, {error.left} left, and a request may need {error.needed}; "
    return StageError(
        f"{whose}'s budget {error.limit} = {limit} is used up: {figures if error.left > 0 else ''}raise it, and the same "
        "command continues; replies so far are kept"
    )


class _Asking:
    """Asks in several threads, keeps what is answered, and stops trying where nothing is answered any more."""

    def __init__(self, endpoint: Endpoint, budget: Budget, kept: KeptReplies, leaves_step: bool) -> None:
        self._leaves_step = leaves_step
        self._endpoint = endpoint
        self._budget = budget
        self._kept = kept
        self._refusal: StageError | None = None
        self.ends: float | None = None
        """When a signal ends it."""
        self.stopped = threading.Event()
        self.failed_in_a_row = 0

    def __call__(self, question: Question) -> Reply | StageError | UnansweredError:
        if self._refusal:
            return self._refusal
        if self.failed_in_a_row >= GIVE_UP_AFTER:
            return UnansweredError(f"not asked, because {GIVE_UP_AFTER} questions in a row before it were not answered")
        try:
            reply = self._endpoint.ask(question, self._budget, self.stopped)
            self._kept.put(question, reply)
        except StageError as error:
            self._refusal = error
            return error
        except UnansweredError as error:
            self.failed_in_a_row += 1
            return error
        self.failed_in_a_row = 0
        return reply

    def patient(self) -> bool:
        """Whether to wait on; once a signal makes this leave the step, nothing more is begun and not for much longer."""
        if not (self._leaves_step and stop_requested()):
            return True
        self.stopped.set()
        self.ends = self.ends or time.monotonic() + GRACE
        return time.monotonic() < self.ends
