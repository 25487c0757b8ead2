"""A conversation with a policy: what is asked, what is shown of the answer while it is written, what is remembered."""

from __future__ import annotations

import string
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from rich.text import Text

from ponder.errors import InputError
from ponder.progress import printable
from ponder.randomness import derive_seed
from ponder.text import ANSWER_CLOSE, ANSWER_OPEN, R1_ZERO_TEMPLATE, THINK_CLOSE, THINK_OPEN
from ponder.types import Example, Message

if TYPE_CHECKING:
    from ponder.interfaces import Policy, Sampler
    from ponder.progress import Display
    from ponder.types import Completion

Part: TypeAlias = Literal["thinking", "answer"]

_TAGS: Final[dict[str, Part]] = {
    THINK_OPEN: "thinking",
    THINK_CLOSE: "answer",
    ANSWER_OPEN: "answer",
    ANSWER_CLOSE: "answer",
}
_NOT_AT_THE_END = f"{string.whitespace}\u3000\ufffd"
"""Space, and what stands for the bytes of a character that was cut off."""


class Parts:
    """Cuts a text that comes in pieces into thinking and answer, without the tags and the space around the parts."""

    def __init__(self) -> None:
        self._part: Part = "answer"
        self._held = ""
        self._has_begun = False

    def take(self, piece: str) -> Iterator[tuple[Part, str]]:
        """What of the text so far is known to be shown: not what may become a tag, or be space at a part's end."""
        self._held += piece
        while found := min(((self._held.find(tag), tag) for tag in _TAGS if tag in self._held), default=None):
            place, tag = found
            yield from self._show(self._held[:place].rstrip(_NOT_AT_THE_END))
            self._held = self._held[place + len(tag) :]
            self._part, self._has_begun = _TAGS[tag], False
        shown = self._held[: len(self._held) - _beginning_of_a_tag(self._held)].rstrip(_NOT_AT_THE_END)
        self._held = self._held[len(shown) :]
        yield from self._show(shown)

    def finish(self) -> Iterator[tuple[Part, str]]:
        """What was held back, now that nothing follows."""
        yield from self._show(self._held.rstrip(_NOT_AT_THE_END))
        self._held = ""

    def _show(self, text: str) -> Iterator[tuple[Part, str]]:
        shown = text if self._has_begun else text.lstrip()
        if shown.strip():
            self._has_begun = True
            yield self._part, shown


class Conversation:
    """Asks a policy and shows what it says: its thinking dimmed, its answer below.

    A policy with a chat template is shown the turns before (`remembers`), of whose reasoning its template leaves out what it likes.
    """

    def __init__(self, policy: Policy, sampler: Sampler, seed: int, display: Display, *, remembers: bool) -> None:
        self._policy = policy
        self._sampler = sampler
        self._seed = seed
        self._display = display
        self._has_template = bool(getattr(policy.tokenizer, "chat_template", None))
        self._remembers = remembers and self._has_template
        self._turns: list[Message] = []
        self._asked = 0

    def ask(self, question: str) -> None:
        """Show the answer; an interrupted one is not remembered. Earlier turns that no longer fit are forgotten."""
        seed = derive_seed(self._seed, "chat", self._asked)
        self._asked += 1
        completion = self._answer(question, seed)
        if completion is not None and self._remembers:
            self._turns += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": completion.text},
            ]

    def forget(self) -> None:
        """Begin anew."""
        self._turns.clear()

    def _answer(self, question: str, seed: int) -> Completion | None:
        while True:
            try:
                return self._show(_pieces(self._sampler, self._policy, self._example(question), seed))
            except InputError:
                if not self._turns:
                    raise
                self._display.say("(the conversation does not fit any more: its oldest turn is forgotten)")
                del self._turns[:2]

    def _example(self, question: str) -> Example:
        if self._has_template:
            return Example([*self._turns, {"role": "user", "content": question}])
        return Example(R1_ZERO_TEMPLATE.replace("{prompt}", question))

    def _show(self, pieces: Generator[str, None, Completion | None]) -> Completion | None:
        parts, screen, remark = Parts(), _Screen(self._display), ""
        try:
            while True:
                screen.show(parts.take(next(pieces)))
        except StopIteration as end:
            completion: Completion | None = end.value
            screen.show(parts.finish())
            if completion is not None and completion.finish_reason == "length":
                remark = "(cut off at max_new_tokens)"
            return completion
        finally:
            pieces.close()
            screen.end(remark)


class _Screen:
    """Puts pieces side by side, and each part on lines of its own."""

    def __init__(self, display: Display) -> None:
        self._console = display.console
        self._last: Part | None = None

    def show(self, pieces: Iterator[tuple[Part, str]]) -> None:
        for part, text in pieces:
            if self._last not in (None, part):
                self._write("\n")
            self._last = part
            self._write(printable(text), style="dim" if part == "thinking" else "")

    def end(self, remark: str) -> None:
        separator = " " if remark and self._last else ""
        if self._last or remark:
            self._write(f"{separator}{remark}\n")

    def _write(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), end="", soft_wrap=True)


def _pieces(sampler: Sampler, policy: Policy, example: Example, seed: int) -> Generator[str, None, Completion | None]:
    """The text as it is written, where the sampler can tell, or else when it is done; returns the completion if it is known."""
    stream: Any = getattr(sampler, "stream", None)
    if stream is not None:
        return (yield from stream(policy, example, seed))
    [[completion]] = sampler.sample(policy, [example], 1, seed)
    yield completion.text
    return completion


def _beginning_of_a_tag(text: str) -> int:
    """How many characters at the end of the text may be the beginning of a tag."""
    opened = text.rfind("<")
    tail = text[opened:] if opened >= 0 else ""
    return len(tail) if any(tag.startswith(tail) for tag in _TAGS) else 0
