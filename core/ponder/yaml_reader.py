"""A bounded reader of YAML that keeps the place of every value: no tags, no duplicate keys, no surprises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from ponder.errors import InputError
from ponder.problems import Place, Problems
from ponder.yaml_scalars import Scalar, interpolate, plain_scalar

MAX_BYTES: Final = 1_000_000
MAX_NODES: Final = 10_000
MAX_DEPTH: Final = 64

Value: TypeAlias = "Scalar | list[Node] | dict[str, Node]"


@dataclass(frozen=True, slots=True)
class Node:
    """A value with the place it was written at; a mapping's values stand where their keys do."""

    value: Value
    place: Place
    written: str | None = None
    """The text before `${oc.env:...}` was filled in, where there was any."""

    @property
    def mapping(self) -> dict[str, Node]:
        """The value as a mapping; empty when it is none."""
        return self.value if isinstance(self.value, dict) else {}

    def plain(self) -> Any:
        """The value as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def as_written(self) -> Any:
        """The same for error texts: nothing that came from the environment."""
        if isinstance(self.value, dict):
            return {key: child.as_written() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.as_written() for child in self.value]
        return self.value if self.written is None else self.written


def node_of(value: Any, place: Place) -> Node:
    """Plain data as nodes that all stand at one place."""
    if isinstance(value, Mapping):
        return Node({str(key): node_of(child, place) for key, child in value.items()}, place)
    if isinstance(value, (list, tuple)):
        return Node([node_of(child, place) for child in value], place)
    return Node(value, place)


def read_file(path: Path, problems: Problems) -> Node:
    """The mapping a file holds. InputError when the file or its YAML cannot be read; lesser faults go to `problems`."""
    place = Place(str(path), 0, path.parent)
    return read_text(_decoded(_contents(path), place), place, problems)


def read_text(text: str, place: Place, problems: Problems) -> Node:
    """The mapping a text holds; see `read_file`. `place` names the source."""
    node = read_value(text, place, problems)
    if node is None:
        raise _fault(place, 1, "holds nothing; a recipe is a mapping with a section 'stages'")
    if not isinstance(node.value, dict):
        shape = "a list" if isinstance(node.value, list) else "a single value"
        raise _fault(place, node.place.line, f"holds {shape}; a recipe is a mapping with a section 'stages'")
    return node


def read_value(text: str, place: Place, problems: Problems, path: str = "") -> Node | None:
    """The one value of any kind that a text holds, or None when it holds none; `path` is the key it is for."""
    try:
        text.encode("utf-8")
        return _Builder(text, place, problems).document(path)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _fault(place, line, f"holds the control character #x{int(error.character):02x}; take it out") from None
    except yaml.MarkedYAMLError as error:
        raise _fault(place, _line(error.problem_mark or error.context_mark), _explained(error, text)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _fault(place, 1, f"is not YAML: {str(error).splitlines()[0]}") from None


class _Builder:
    """Turns parser events into nodes, counting as it goes, so that no limit is noticed too late."""

    def __init__(self, text: str, place: Place, problems: Problems) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._place = place
        self._problems = problems
        self._nodes = 0
        self._anchors: dict[str, tuple[Node, int] | None] = {}

    def document(self, path: str) -> Node | None:
        """The only document of the stream."""
        node = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    raise _fault(self._place, _line(event.start_mark), "a second document starts here; keep one")
                node = self._node(next(self._events), 1, path)
        return node

    def _node(self, event: Any, depth: int, path: str) -> Node:
        place = self._at(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth, place)
        self._count(1, depth, place)
        if event.tag is not None:
            self._problems.add(place, path, f"tags such as {event.tag} are not read; take it out")
        before = self._nodes
        if event.anchor:
            self._anchors[event.anchor] = None
        node = self._content(event, depth, path, place)
        if event.anchor:
            self._anchors[event.anchor] = (node, self._nodes - before + 1)
        return node

    def _content(self, event: Any, depth: int, path: str, place: Place) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path, place)
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(self._items(depth, path), place)
        return Node(self._pairs(depth, path), place)

    def _items(self, depth: int, path: str) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1, _joined(path, str(len(items)))))
        return items

    def _pairs(self, depth: int, path: str) -> dict[str, Node]:
        pairs: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = self._at(event)
            key = self._key(event, depth, path)
            child = self._node(next(self._events), depth + 1, _joined(path, key or "?"))
            if key is None:
                continue
            if key in pairs:
                self._problems.add(place, _joined(path, key), f"stands twice, first on line {pairs[key].place.line}")
                continue
            pairs[key] = replace(child, place=place)
        return pairs

    def _key(self, event: Any, depth: int, path: str) -> str | None:
        node = self._node(event, depth + 1, path)
        if isinstance(node.value, str) and node.value != "<<" and node.written is None:
            return node.value
        fault = "a key must be a text; quote it"
        if node.value == "<<":
            fault = "merge keys (<<) are not read; layer files with 'extends'"
        self._problems.add(node.place, _joined(path, str(getattr(event, "value", "?"))), fault)
        return None

    def _scalar(self, event: Any, path: str, place: Place) -> Node:
        try:
            text = interpolate(event.value, self._problems.environment) if "${" in event.value else event.value
            value = plain_scalar(text) if event.implicit[0] else text
        except ValueError as error:
            self._problems.add(place, path, str(error))
            return Node("", place)
        return Node(value, place, None if text is event.value else event.value)

    def _alias(self, event: Any, depth: int, place: Place) -> Node:
        if event.anchor not in self._anchors:
            raise _fault(place, place.line, f"*{event.anchor} has no anchor &{event.anchor} before it")
        known = self._anchors[event.anchor]
        if known is None:
            raise _fault(place, place.line, f"*{event.anchor} stands inside its own anchor; write the value out")
        node, size = known
        self._count(size, depth + _height(node) - 1, place)
        return node

    def _count(self, nodes: int, depth: int, place: Place) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _fault(
                place, place.line, f"more than {MAX_NODES:,} values (aliases count in full); put data in a file"
            )
        if depth > MAX_DEPTH:
            raise _fault(place, place.line, f"nested deeper than {MAX_DEPTH} levels")

    def _at(self, event: Any) -> Place:
        # An override is one line whose number says nothing: its place stays as it is.
        return self._place if self._place.line < 0 else replace(self._place, line=_line(event.start_mark))


def _height(node: Node) -> int:
    children = node.value if isinstance(node.value, list) else node.mapping.values()
    return 1 + max((_height(child) for child in children), default=0)


def exists(path: Path) -> bool:
    """Whether there is a file or directory; False too for what no path can be."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _contents(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: not a file; give the path of a recipe")
        with path.open("rb") as file:
            contents = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a recipe") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    if len(contents) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES:,} bytes; put data in a file of its own")
    return contents


def _decoded(contents: bytes, place: Place) -> str:
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        raise _fault(place, line, f"byte 0x{contents[error.start]:02x} is not UTF-8; save the file as UTF-8") from None


def _explained(error: yaml.MarkedYAMLError, text: str) -> str:
    problem = error.problem or "cannot be read"
    mark = error.problem_mark
    if "'\\t'" in problem or (mark is not None and "\t" in _indentation(text, mark.line)):
        return "a tab stands where YAML allows only spaces; indent with spaces"
    context = f" ({error.context}, line {_line(error.context_mark)})" if error.context and error.context_mark else ""
    return f"is not YAML: {problem}{context}"


def _indentation(text: str, line: int) -> str:
    lines = text.splitlines()
    row = lines[line] if line < len(lines) else ""
    return row[: len(row) - len(row.lstrip())]


def _line(mark: Any) -> int:
    return int(mark.line) + 1 if mark is not None else 1


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _fault(place: Place, line: int, text: str) -> InputError:
    return InputError(f"{replace(place, line=0 if place.line < 0 else line)}: {text}")
