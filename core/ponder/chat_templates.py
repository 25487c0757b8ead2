"""Chat templates in files of their own: refused, with file and line, where they are no Jinja or fail on a question."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ponder.errors import InputError
from ponder.prompts import render_prompt

if TYPE_CHECKING:
    from ponder.types import Message

QUESTION: Final[tuple[Message, ...]] = ({"role": "user", "content": "1 + 1 ="},)
"""The conversation that a template is tried on."""

_GENERATION: Final = re.compile(r"(\{%[-+]?\s*(?:end)?)generation(?=\s*[-+]?%\})")
"""The tags around what the assistant says: a block of transformers', which Jinja itself does not know."""


def check_template_file(path: Path) -> None:
    """Raise InputError for a file that is not text, or not Jinja; needs neither tokenizer nor transformers."""
    # Whoever renders templates has jinja2; a recipe without such a file is checked where it is not installed.
    from jinja2 import Environment, TemplateSyntaxError

    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_GENERATION.sub(r"\1with", _read(path)))
    except TemplateSyntaxError as error:
        raise InputError(
            f"chat_template_file {path}, line {error.lineno}: this is not a Jinja template: {str(error.message).rstrip('.')}; mend it there"
        ) from None


def set_template_file(tokenizer: Any, path: Path) -> None:
    """Give a tokenizer the chat template in a file; InputError, with the line, where it fails on a question."""
    check_template_file(path)
    tokenizer.chat_template = _read(path)
    try:
        render_prompt(tokenizer, QUESTION)
    except Exception as error:
        raise InputError(
            f"chat_template_file {path}{_line(error)}: the template fails on a conversation of one question: "
            f"{type(error).__name__}: {error}; mend it there"
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"chat_template_file {path} cannot be read: {error}") from None


def _line(error: Exception) -> str:
    """Where in the template it failed, which Jinja writes into the traceback."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return f", line {lines[-1]}" if lines else ""
