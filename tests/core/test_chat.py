"""`ponder chat` and its conversation: parts that are told apart while they come, turns, interruptions."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Completion, Example
from ponder.commands.chat import _talk
from ponder.conversation import Conversation, Parts
from ponder.errors import InputError
from ponder.progress import Display

THOUGHTFUL = "<think>\n17 + 25 = 42\n</think>\n\nIt is 42."


def parts_of(pieces: list[str]) -> list[tuple[str, str]]:
    """The parts that are shown, neighbours of one kind joined."""
    parts, joined = Parts(), []
    shown = [part for piece in pieces for part in parts.take(piece)] + list(parts.finish())
    for kind, text in shown:
        if joined and joined[-1][0] == kind:
            joined[-1] = (kind, joined[-1][1] + text)
        else:
            joined.append((kind, text))
    return joined


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (THOUGHTFUL, [("thinking", "17 + 25 = 42"), ("answer", "It is 42.")]),
        ("<think> a </think> <answer> b </answer>", [("thinking", "a"), ("answer", "b")]),
        ("<think> cut off", [("thinking", "cut off")]),
        ("<think> never closed <answer> 4 </answer>", [("thinking", "never closed"), ("answer", "4")]),
        ("  bare  ", [("answer", "bare")]),
        ("1 < 2 and 2 <", [("answer", "1 < 2 and 2 <")]),
        ("<think></think>only this", [("answer", "only this")]),
        ("a <thin ice", [("answer", "a <thin ice")]),
        ("half \ufffd", [("answer", "half")]),
        ("half \ufffd whole", [("answer", "half \ufffd whole")]),
        ("", []),
    ],
)
def test_a_text_is_cut_into_thinking_and_answer(text: str, expected: list[tuple[str, str]]) -> None:
    assert parts_of([text]) == expected
    assert parts_of(list(text)) == expected


@given(
    pieces=st.lists(
        st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "<", "think>", " ", "\n", "a", "答", "\ufffd"])
    )
)
def test_how_a_text_is_cut_into_pieces_changes_nothing(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert parts_of(pieces) == parts_of([whole]) == parts_of(list(whole))


@dataclass
class Scripted:
    """A sampler that says what it is told to, and keeps what it was asked."""

    text: str = THOUGHTFUL
    reason: str = "stop"
    asked: list[Any] = field(default_factory=list)
    room: int = 10_000

    def sample(self, policy: Any, examples: Any, n: int, seed: int) -> list[list[Completion]]:
        return [[self._say(examples[0])]]

    def _say(self, example: Example) -> Completion:
        if len(example.prompt) > self.room:
            raise InputError("the prompt is too long")
        self.asked.append(example.prompt)
        return Completion(self.text, finish_reason=self.reason)  # type: ignore[arg-type]


@dataclass
class Streaming(Scripted):
    """The same a letter at a time; `at` is called with each letter's number."""

    at: Callable[[int], None] = lambda number: None
    is_closed: bool = False

    def stream(self, policy: Any, example: Example, seed: int) -> Generator[str, None, Completion]:
        completion = self._say(example)
        try:
            for number, letter in enumerate(self.text):
                self.at(number)
                yield letter
        finally:
            self.is_closed = True
        return completion


@dataclass
class Room:
    """A conversation and what is on its screen."""

    sampler: Scripted
    template: str | None = "template"
    remembers: bool = True
    screen: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        policy: Any = SimpleNamespace(tokenizer=SimpleNamespace(chat_template=self.template))
        self.conversation = Conversation(policy, self.sampler, 0, Display(self.screen), remembers=self.remembers)

    @property
    def shown(self) -> str:
        return self.screen.getvalue()


@pytest.mark.parametrize("sampler", [Scripted, Streaming])
def test_thinking_and_answer_stand_on_lines_of_their_own(sampler: type[Scripted]) -> None:
    room = Room(sampler())
    room.conversation.ask("17 + 25?")

    assert room.shown == "17 + 25 = 42\nIt is 42.\n"


def test_an_answer_is_shown_while_it_is_written() -> None:
    room = Room(Streaming())
    seen: list[str] = []
    room.sampler.at = lambda number: seen.append(room.shown)  # type: ignore[attr-defined]
    room.conversation.ask("17 + 25?")

    assert "17 +" in seen
    assert "17 + 25 = 42\nIt is" in seen


def test_thinking_is_dimmed_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    Room(Scripted(), screen=screen).conversation.ask("17 + 25?")

    assert "\x1b[2m17 + 25 = 42\x1b[0m" in screen.getvalue()
    assert "\x1b[2mIt is" not in screen.getvalue()


def test_control_characters_of_an_answer_do_not_reach_the_terminal() -> None:
    room = Room(Scripted("\x1b[31mred"))
    room.conversation.ask("?")

    assert "\x1b" not in room.shown


@pytest.mark.parametrize(("text", "shown"), [("It is", "It is (cut"), ("", "(cut")])
def test_a_cut_off_answer_says_so(text: str, shown: str) -> None:
    room = Room(Streaming(text, reason="length"))
    room.conversation.ask("?")

    assert room.shown == f"{shown} off at max_new_tokens)\n"


def test_earlier_turns_are_shown_to_the_policy_until_they_are_forgotten() -> None:
    room = Room(Streaming())
    for question in ("one?", "two?"):
        room.conversation.ask(question)
    room.conversation.forget()
    room.conversation.ask("three?")

    roles = [[(turn["role"], turn["content"]) for turn in prompt] for prompt in room.sampler.asked]
    assert roles[1] == [("user", "one?"), ("assistant", THOUGHTFUL), ("user", "two?")]
    assert roles[2] == [("user", "three?")]


def test_what_does_not_remember_is_asked_each_question_alone() -> None:
    room = Room(Streaming(), remembers=False)
    for question in ("one?", "two?"):
        room.conversation.ask(question)

    assert [len(prompt) for prompt in room.sampler.asked] == [1, 1]


def test_a_policy_without_a_chat_template_is_given_the_r1_zero_prompt_each_time() -> None:
    room = Room(Scripted(), template=None)
    for question in ("one?", "two?"):
        room.conversation.ask(question)

    assert room.sampler.asked[1].startswith("A conversation between User and Assistant.")
    assert room.sampler.asked[1].endswith("User: two? Assistant:")


def test_the_oldest_turns_are_forgotten_when_a_conversation_no_longer_fits() -> None:
    room = Room(Scripted(room=3))
    for question in ("one?", "two?", "three?"):
        room.conversation.ask(question)

    assert [turn["content"] for turn in room.sampler.asked[-1]] == ["two?", THOUGHTFUL, "three?"]
    assert room.shown.count("its oldest turn is forgotten") == 1


def test_a_question_that_does_not_fit_by_itself_is_refused() -> None:
    with pytest.raises(InputError, match="too long"):
        Room(Scripted(room=0)).conversation.ask("?")


def interrupt_at(number: int) -> Callable[[int], None]:
    def at(reached: int) -> None:
        if reached == number:
            raise KeyboardInterrupt

    return at


def test_an_interrupted_answer_stops_its_sampler_and_is_not_remembered() -> None:
    room = Room(Streaming(at=interrupt_at(12)))
    with pytest.raises(KeyboardInterrupt):
        room.conversation.ask("one?")
    room.sampler.at = lambda number: None  # type: ignore[attr-defined]
    room.conversation.ask("two?")

    assert room.sampler.is_closed  # type: ignore[attr-defined]
    assert room.shown.startswith("17 +\n")
    assert [len(prompt) for prompt in room.sampler.asked] == [1, 1]


def test_at_a_terminal_ctrl_c_stops_the_answer_alone_and_a_wrong_question_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["stop me", KeyboardInterrupt, "", "too long", "/new", "two?", EOFError])

    def type_next(prompt: str) -> str:
        line = next(typed)
        if not isinstance(line, str):
            raise line
        return line

    monkeypatch.setattr("builtins.input", type_next)
    asked: list[str] = []

    def ask(question: str) -> None:
        asked.append(question)
        if question == "stop me":
            raise KeyboardInterrupt
        if question == "too long":
            raise InputError("the prompt is too long")

    _talk(SimpleNamespace(ask=ask, forget=lambda: asked.append("forgotten")))  # type: ignore[arg-type]

    assert asked == ["stop me", "too long", "forgotten", "two?"]
    assert capsys.readouterr().out == "(stopped)\n\nthe prompt is too long\n\n"
