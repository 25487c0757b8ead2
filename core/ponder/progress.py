"""What a run shows while it runs: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Protocol, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0
METRICS_SHOWN = 4
PLAIN_WIDTH = 120

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Bar(Protocol):
    """The progress of one loop; a context manager."""

    def advance(self, done: int) -> None:
        """So many steps are done."""
        ...

    def expect(self, total: int) -> None:
        """The loop will have ended behind so many steps, as far as can be told."""
        ...

    def show(self, numbers: Mapping[str, float]) -> None:
        """Put these numbers beside the bar."""
        ...

    def __enter__(self) -> Bar: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Screen(Protocol):
    """What a stage may show."""

    def say(self, message: str) -> None:
        """One line, above the bars if there are any."""
        ...

    def bar(self, description: str, total: int, start: int = 0) -> Bar:
        """A bar for a loop of `total` steps of which `start` were done before."""
        ...


class Display:
    """Speaks to the user on standard output, or on standard error when standard output belongs to a program."""

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = stream or sys.stdout
        width = None if stream.isatty() else PLAIN_WIDTH
        self.console = Console(file=cast(IO[str], _Forgiving(stream)), highlight=False, width=width)
        self._bars = _Bars(self.console)

    def say(self, message: str) -> None:
        """One line, above the bars if there are any."""
        self.console.print(Text(printable(message)), soft_wrap=True)

    def bar(self, description: str, total: int, start: int = 0) -> Bar:
        """A bar for a loop of `total` steps of which `start` were done before."""
        if self.console.is_terminal:
            return _TerminalBar(self._bars, description, total, start)
        return _PlainBar(self, description, total, start)


class _Bars:
    """The bars at the foot of a terminal, one for each loop that runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: Progress | None = None

    def add(self, description: str, total: int, start: int) -> TaskID:
        if self._shown is None:
            self._shown = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}", markup=False),
                console=self._console,
                refresh_per_second=4,
            )
            self._shown.start()
        return self._shown.add_task(description, total=total, completed=start, numbers="")

    def update(self, bar: TaskID, **changes: Any) -> None:
        if self._shown is not None:
            self._shown.update(bar, **changes)

    def remove(self, bar: TaskID) -> None:
        """Leave a bar where it stands: the last one as it is, one above others as a line of its own."""
        if self._shown is None:
            return
        if len(self._shown.task_ids) > 1:
            ended = next(task for task in self._shown.tasks if task.id == bar)
            self._shown.remove_task(bar)
            self._console.print(self._shown.make_tasks_table([ended]))
            return
        self._shown.stop()
        self._shown = None


class _TerminalBar:
    def __init__(self, bars: _Bars, description: str, total: int, start: int) -> None:
        self._bars = bars
        self._opening = (description, total, start)
        self._bar: TaskID | None = None
        self._numbers: dict[str, float] = {}

    def advance(self, done: int) -> None:
        self._update(completed=done)

    def expect(self, total: int) -> None:
        self._update(total=total)

    def show(self, numbers: Mapping[str, float]) -> None:
        self._numbers = headline({**self._numbers, **numbers}, METRICS_SHOWN)
        self._update(numbers=describe_numbers(self._numbers))

    def __enter__(self) -> Bar:
        self._bar = self._bars.add(*self._opening)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bars.remove(self._bar)

    def _update(self, **changes: Any) -> None:
        if self._bar is not None:
            self._bars.update(self._bar, **changes)


class _PlainBar:
    def __init__(self, display: Display, description: str, total: int, start: int) -> None:
        self._display = display
        self._description = description
        self._total = total
        self._start = start
        self._began = self._spoke = time.monotonic()
        self._numbers: dict[str, float] = {}

    def advance(self, done: int) -> None:
        now = time.monotonic()
        if now - self._spoke >= SECONDS_BETWEEN_LINES or (done == self._total and done > self._start):
            self._spoke = now
            self._display.say(self._line(done, now - self._began))

    def expect(self, total: int) -> None:
        self._total = total

    def show(self, numbers: Mapping[str, float]) -> None:
        self._numbers = headline({**self._numbers, **numbers}, METRICS_SHOWN)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _line(self, done: int, seconds: float) -> str:
        left = seconds / (done - self._start) * (self._total - done)
        when = f"{describe_seconds(left)} left" if done < self._total else f"took {describe_seconds(seconds)}"
        parts = [f"{self._description} {done}/{self._total}", when, describe_numbers(self._numbers)]
        return ", ".join(filter(None, parts))


class _Forgiving:
    """A text stream that never raises: what its encoding lacks is a `?`, and what cannot be written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


def printable(text: str) -> str:
    """The text without the control characters that could steer a terminal."""
    return _CONTROL.sub("\ufffd", text)


def describe_numbers(numbers: Mapping[str, float]) -> str:
    """A few numbers on one line: `loss 0.52, reward 0.1`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def describe_seconds(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds: `2:03`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def headline(numbers: Mapping[str, float], most: int) -> dict[str, float]:
    """The first `most` numbers, those with a `/` in their names only after all others."""
    names = sorted(numbers, key=lambda name: "/" in name)
    return {name: float(numbers[name]) for name in names[:most]}
