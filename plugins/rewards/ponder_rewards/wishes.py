"""What people ask of a response beside its content, as checks that need no model: the vocabulary of IFEval."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from ponder_rewards.languages import SCRIPTS, Code
from ponder_rewards.pieces import words_of
from ponder_rewards.strict_json import NotJsonError, read_json
from ponder_rewards.words import share_of

Arguments: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[str, Arguments], bool]

CHECKS: Final[dict[str, Check]] = {}
"""Every wish by its name. A check takes the text, without whitespace around it, and the wish's arguments."""

_ABBREVIATION = re.compile(r"\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|cf|approx|No|Fig|Eq)\.$")
# Possessive, and not from the middle of a row of marks: a megabyte of full stops is read once.
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++[\"'”’)\]]*+(?=\s|$)|[。！？]++")


class MalformedWishError(ValueError):
    """A wish without an argument it needs, or with one of the wrong kind."""


def _check(name: str) -> Callable[[Check], Check]:
    def keep(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return keep


def _text(arguments: Arguments, name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise MalformedWishError(f"{name} must be text")
    return value.strip()


def _texts(arguments: Arguments, name: str) -> list[str]:
    values = arguments.get(name)
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise MalformedWishError(f"{name} must be a list of texts")
    return [_text({name: value}, name) for value in values]


def _number(arguments: Arguments, name: str) -> int:
    value = arguments.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 0:
        raise MalformedWishError(f"{name} must be a whole number")
    return int(value)


def _compared(count: int, arguments: Arguments, number: str, relation: str = "relation") -> bool:
    """The count against the argument `number`, as `relation` says: at least (without one), at most, less than, more than, exactly."""
    wanted, how = _number(arguments, number), arguments.get(relation) or "at least"
    outcomes = {
        "at least": count >= wanted,
        "at most": count <= wanted,
        "less than": count < wanted,
        "more than": count > wanted,
        "exactly": count == wanted,
    }
    if how not in outcomes:
        raise MalformedWishError(f"{relation} must be one of {', '.join(outcomes)}")
    return outcomes[how]


def _occurrences(phrase: str, text: str) -> int:
    """How often a phrase stands in a text in any case; not within a word, where the phrase begins or ends with a letter or digit."""
    before = r"(?<!\w)" if phrase[0].isalnum() and phrase.isascii() else ""
    after = r"(?!\w)" if phrase[-1].isalnum() and phrase.isascii() else ""
    return len(re.findall(before + re.escape(phrase) + after, text, re.IGNORECASE))


def _filled(pieces: Iterable[str]) -> list[str]:
    return [piece.strip() for piece in pieces if piece.strip()]


def sentences_of(text: str) -> list[str]:
    """The text's sentences: up to a full stop, question or exclamation mark before a blank, or a Chinese or Japanese one.

    Common abbreviations and initials end none, and a blank line ends one.
    """
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        start = 0
        for end in _SENTENCE_END.finditer(paragraph):
            if not _ABBREVIATION.search(paragraph[max(start, end.end() - 8) : end.end()]):
                found.append(paragraph[start : end.end()])
                start = end.end()
        found.append(paragraph[start:])
    return _filled(found)


@_check("keywords:existence")
def _has_keywords(text: str, arguments: Arguments) -> bool:
    """Each of `keywords` stands in the text."""
    return all(_occurrences(word, text) > 0 for word in _texts(arguments, "keywords"))


@_check("keywords:forbidden_words")
def _has_no_forbidden_words(text: str, arguments: Arguments) -> bool:
    """None of `forbidden_words` stands in the text."""
    return not any(_occurrences(word, text) for word in _texts(arguments, "forbidden_words"))


@_check("keywords:frequency")
def _keyword_frequency(text: str, arguments: Arguments) -> bool:
    """How often `keyword` stands in the text, compared with `frequency` by `relation`."""
    return _compared(_occurrences(_text(arguments, "keyword"), text), arguments, "frequency")


@_check("keywords:letter_frequency")
def _letter_frequency(text: str, arguments: Arguments) -> bool:
    """How often `letter`, in any case, stands in the text, compared with `let_frequency` by `let_relation`."""
    return _compared(
        text.casefold().count(_text(arguments, "letter").casefold()), arguments, "let_frequency", "let_relation"
    )


@_check("language:response_language")
def _is_in_language(text: str, arguments: Arguments) -> bool:
    """Nine words in ten are in `language`, a code of ISO 639-1, by the rules of `ponder_rewards.words.language_counts`; or none tells."""
    wanted = _text(arguments, "language")[:2].casefold()
    code: Code | None = next((code for code in SCRIPTS if code == wanted), None)
    if code is None:
        raise MalformedWishError(f"language must be one of {', '.join(SCRIPTS)}")
    share = share_of(text, code)
    return share is None or share >= 0.9


@_check("length_constraints:number_words")
def _number_of_words(text: str, arguments: Arguments) -> bool:
    """The number of words, compared with `num_words` by `relation`; each character of Chinese and Japanese is one."""
    return _compared(len(words_of(text)), arguments, "num_words")


@_check("length_constraints:number_sentences")
def _number_of_sentences(text: str, arguments: Arguments) -> bool:
    """The number of sentences, compared with `num_sentences` by `relation`."""
    return _compared(len(sentences_of(text)), arguments, "num_sentences")


@_check("length_constraints:number_paragraphs")
def _number_of_paragraphs(text: str, arguments: Arguments) -> bool:
    """Exactly `num_paragraphs` paragraphs with three asterisks between them, none of them empty; with a `relation`, as it says.

    With `separator: blank line` blank lines stand between them.
    """
    separator = arguments.get("separator") or "***"
    if separator not in ("***", "blank line"):
        raise MalformedWishError("separator must be *** or blank line")
    pieces = re.split(r"\n\s*\n" if separator == "blank line" else r"\*\*\*", text)
    inner = [piece for piece in pieces[1:-1] if not piece.strip()]
    relation = arguments.get("relation") or "exactly"
    return _compared(len(_filled(pieces)), {**arguments, "relation": relation}, "num_paragraphs") and not inner


@_check("length_constraints:nth_paragraph_first_word")
def _first_word_of_paragraph(text: str, arguments: Arguments) -> bool:
    """Exactly `num_paragraphs` paragraphs with blank lines between them, of which number `nth_paragraph` begins with `first_word`."""
    paragraphs, place = _filled(re.split(r"\n\s*\n", text)), _number(arguments, "nth_paragraph")
    wanted = _text(arguments, "first_word").casefold()
    if len(paragraphs) != _number(arguments, "num_paragraphs") or not 1 <= place <= len(paragraphs):
        return False
    return paragraphs[place - 1].split()[0].strip("\"'“”‘’.,!?:;*_").casefold() == wanted


@_check("detectable_content:number_placeholders")
def _number_of_placeholders(text: str, arguments: Arguments) -> bool:
    """At least `num_placeholders` placeholders in square brackets, such as [address]."""
    return len(re.findall(r"\[[^\[\]\n]+\]", text)) >= _number(arguments, "num_placeholders")


@_check("detectable_content:postscript")
def _has_postscript(text: str, arguments: Arguments) -> bool:
    """A line begins with `postscript_marker`, in any case, and goes on."""
    marker = _text(arguments, "postscript_marker").casefold()
    lines = [line.strip().casefold() for line in text.splitlines()]
    return any(line.startswith(marker) and line[len(marker) :].strip() for line in lines)


@_check("detectable_format:number_bullet_lists")
def _number_of_bullets(text: str, arguments: Arguments) -> bool:
    """Exactly `num_bullets` lines are points, with - or *, that say something."""
    return len(re.findall(r"^[ \t]*[-*][ \t]+[^\s*]", text, re.MULTILINE)) == _number(arguments, "num_bullets")


@_check("detectable_format:constrained_response")
def _is_one_of_three(text: str, arguments: Arguments) -> bool:
    """The text holds "My answer is yes.", "My answer is no." or "My answer is maybe."."""
    return any(f"My answer is {answer}." in text for answer in ("yes", "no", "maybe"))


@_check("detectable_format:number_highlighted_sections")
def _number_of_highlights(text: str, arguments: Arguments) -> bool:
    """At least `num_highlights` passages between asterisks, *so* or **so**, within a line."""
    highlights = re.findall(r"\*\*[^*\n]+\*\*|\*[^*\n]+\*", text)
    return len([part for part in highlights if part.strip("*").strip()]) >= _number(arguments, "num_highlights")


@_check("detectable_format:multiple_sections")
def _number_of_sections(text: str, arguments: Arguments) -> bool:
    """At least `num_sections` lines begin with `section_spliter` and a number, such as Section 1."""
    splitter = re.escape(_text(arguments, "section_spliter"))
    sections = re.findall(rf"^[\s#*]{{0,8}}{splitter}[ \t]{{0,8}}\d", text, re.MULTILINE | re.IGNORECASE)
    return len(sections) >= _number(arguments, "num_sections")


@_check("detectable_format:json_format")
def _is_json(text: str, arguments: Arguments) -> bool:
    """The whole text is JSON, which may stand in one fenced block."""
    try:
        read_json(text)
    except NotJsonError:
        return False
    return True


@_check("detectable_format:title")
def _has_title(text: str, arguments: Arguments) -> bool:
    """A title stands in double angle brackets, such as <<poem of joy>>."""
    return any(title.strip() for title in re.findall(r"<<([^<>\n]+)>>", text))


@_check("combination:two_responses")
def _is_two_responses(text: str, arguments: Arguments) -> bool:
    """Two different responses with six asterisks between them."""
    parts = _filled(text.split("******"))
    return len(parts) == 2 and parts[0] != parts[1]


@_check("combination:repeat_prompt")
def _repeats_prompt(text: str, arguments: Arguments) -> bool:
    """The text begins with `prompt_to_repeat`, in any case, and goes on."""
    prompt = _text(arguments, "prompt_to_repeat").casefold()
    return text.casefold().startswith(prompt) and len(text) > len(prompt)


@_check("startend:start_checker")
def _starts_with(text: str, arguments: Arguments) -> bool:
    """The text begins with `start_phrase`, in any case. (Not one of IFEval's.)"""
    return text.casefold().startswith(_text(arguments, "start_phrase").casefold())


@_check("startend:end_checker")
def _ends_with(text: str, arguments: Arguments) -> bool:
    """The text ends with `end_phrase`, in any case."""
    return text.strip("\"'”“ ").casefold().endswith(_text(arguments, "end_phrase").strip("\"'”“ ").casefold())


@_check("startend:quotation")
def _is_quoted(text: str, arguments: Arguments) -> bool:
    """The whole text stands in double quotation marks."""
    return len(text) > 2 and text[0] in '"“„' and text[-1] in '"”“' and bool(text[1:-1].strip())


@_check("change_case:capital_word_frequency")
def _capital_words(text: str, arguments: Arguments) -> bool:
    """The number of words all in capitals, compared with `capital_frequency` by `capital_relation`."""
    count = sum(word.isupper() for word in words_of(text))
    return _compared(count, arguments, "capital_frequency", "capital_relation")


@_check("change_case:english_capital")
def _is_all_capitals(text: str, arguments: Arguments) -> bool:
    """English, and no letter that is not a capital."""
    return text.isupper() and (share_of(text.lower(), "en") or 0.0) >= 0.9


@_check("change_case:english_lowercase")
def _is_all_lowercase(text: str, arguments: Arguments) -> bool:
    """English, and no capital."""
    return text.islower() and (share_of(text, "en") or 0.0) >= 0.9


@_check("punctuation:no_comma")
def _has_no_comma(text: str, arguments: Arguments) -> bool:
    """No comma, of any script."""
    return not set(text) & set(",，、،")
