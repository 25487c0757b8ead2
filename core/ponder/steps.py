"""The loop of a stage: progress, checkpoints, and a stop between two steps when a signal asks for it."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING

from ponder.checkpoints import Checkpoint, Checkpoints
from ponder.errors import StageError
from ponder.metrics import MetricsLog
from ponder.progress import Bar

if TYPE_CHECKING:
    from ponder.context import Checkpointable, Surroundings

SECONDS_BETWEEN_CHECKPOINTS = 30.0


class StepLoop:
    """Runs the loops of one stage; `logs` are wound back to where a restored checkpoint was made."""

    def __init__(self, stage: str, checkpoints: Checkpoints, logs: Sequence[MetricsLog], run: Surroundings) -> None:
        self._stage = stage
        self._checkpoints = checkpoints
        self._logs = logs
        self._display = run.display
        self._signals = run.signals
        self._tracker = run.tracker
        self._bar: Bar | None = None
        self._has_state = False

    def run(
        self, total: int, state: Checkpointable | None, checkpoint_every: int | None, description: str
    ) -> Generator[int, None, None]:
        """Yield the steps still to do; see `StageContext.steps`."""
        start = 0 if state is None else self._restore(state, total)
        saver = _Saver(self._checkpoints, self._logs, state, checkpoint_every, start)
        with self._display.bar(description, total, start) as self._bar, self._signals.deferred():
            for done in range(start + 1, total + 1):
                yield done - 1
                self._bar.advance(done)
                if self._signals.received:
                    saver.commit(done)
                    raise self._signals.interruption(self._how_it_stands(state, done, total))
                if saver.is_due(done) or done == total:
                    saver.commit(done)

    def expect(self, total: int) -> None:
        """Show the loop as one of so many steps."""
        if self._bar is not None:
            self._bar.expect(total)

    def show(self, numbers: Mapping[str, float]) -> None:
        """Show these numbers beside the bar."""
        if self._bar is not None:
            self._bar.show(numbers)

    def _restore(self, state: Checkpointable, total: int) -> int:
        if self._has_state:
            raise StageError(f"stage {self._stage!r} runs a second loop with a state: a stage has one such loop")
        self._has_state = True
        checkpoint = self._checkpoints.newest(self._matches_logs, self._display.say)
        if checkpoint is None:
            return 0
        state.load(checkpoint.state)
        for log, position in zip(self._logs, checkpoint.logs, strict=True):
            log.rewind(position)
            self._track_again(log)
        self._display.say(f"resumed stage {self._stage} at step {checkpoint.step} of {total}")
        return checkpoint.step

    def _track_again(self, log: MetricsLog) -> None:
        """A resumed stage is a new run to the tracker, which gets the curves from their beginning."""
        for numbers in log.lines():
            step = numbers.pop("step", None)
            self._tracker.log(numbers, None if step is None else int(step))

    def _matches_logs(self, checkpoint: Checkpoint) -> bool:
        return all(log.holds(position) for log, position in zip(self._logs, checkpoint.logs, strict=True))

    def _how_it_stands(self, state: Checkpointable | None, done: int, total: int) -> str:
        kept = f"step {done} of {total} is kept" if state is not None else "what it has journalled is kept"
        return f"stage {self._stage}, {kept}; the same command continues"


class _Saver:
    """Knows when a checkpoint is due, and commits it."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        logs: Sequence[MetricsLog],
        state: Checkpointable | None,
        every: int | None,
        start: int,
    ) -> None:
        self._checkpoints = checkpoints
        self._logs = logs
        self._state = state
        self._every = every
        self._committed_step = start
        self._committed_time = time.monotonic()

    def is_due(self, done: int) -> bool:
        if self._every is not None:
            return done - self._committed_step >= self._every
        return time.monotonic() - self._committed_time >= SECONDS_BETWEEN_CHECKPOINTS

    def commit(self, done: int) -> None:
        if self._state is None or done == self._committed_step:
            return
        self._checkpoints.commit(done, self._state.save, [log.position() for log in self._logs])
        self._committed_step = done
        self._committed_time = time.monotonic()
