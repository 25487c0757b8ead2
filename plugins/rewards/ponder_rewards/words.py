"""Which language each word of a text is in: by its script, and within a script by lingua. The rules are in `language_counts`."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import regex

from ponder.text import chinese_words, prose
from ponder_rewards.languages import COMMON_WORDS, OTHER, RIVALS, SCRIPTS, Code
from ponder_rewards.pieces import LONGEST

if TYPE_CHECKING:
    from lingua import LanguageDetector

_MOST_TOKENS: Final = 1 << 15
_DIFFERENT_WORDS: Final = 4096
_LONGEST_WORD: Final = 40
_SWITCH: Final = 2.5
"""Nats against a change of language between two words; see `language_counts`."""
_SWITCH_OF_SENTENCES: Final = 1.5
_EVIDENCE_OF_COMMON_WORDS: Final = 3.0
_MOST_EVIDENCE: Final = 1.5
_EVIDENCE_OF_NAMES: Final = 0.5
"""No one word's is enough for a change of language and back within a sentence."""
_LEAST_CONFIDENCE: Final = math.exp(-_MOST_EVIDENCE)
_KANA_SHARE: Final = 1 / 8
_SHORT: Final = 8


def language_counts(text: str, target: Code, rivals: Sequence[Code] = ()) -> Counter[str]:
    """How many words of a text are in each language, by code; `other` counts those in none that is told.

    Tags, code, mathematics and LaTeX are left out as in `ponder.text.language_share`, and so are digits. Of what remains:

    * In an alphabet a word is a run of letters with their marks, inner apostrophes and hyphens included. One that touches
      a digit is no word, nor is a function's name (an opening bracket follows at once), nor are single Latin letters
      ("x", "x-y") unless they have an accent; "a" and "I" are words where only a blank is between them and a Latin word.
      A sentence in whose alphabet each word has a capital and none is common ("Casablanca", "AB = CD") may be names
      alone, which are in every language: its words do not count.
    * Chinese characters are cut as in `ponder.text.language_share`. A sentence of whose characters one in eight is kana is Japanese,
      its Chinese characters too; a short one without any (up to eight characters) goes with the text as a whole. A run of
      katakana is a word; a run of hiragana is cut into pieces of at most four characters, and so is Thai.
    * A script that one language here is written in tells the language. Where several are, the target and its `rivals` (see
      `RIVALS` for those taken when none are given) are told apart by lingua, all words of the script together:
      the likeliest sequence of languages, where each change costs 2.5 nats, or 1.5 between sentences, and the text
      begins in the target. Doubt counts for the target. A common word (`COMMON_WORDS`) is 3 nats against each language
      that does not have it, and tells languages that are not in question too. Any other word is at most 1.5 nats of
      evidence, and 0.5 with a capital or a letter beyond ASCII, as names and loanwords have. So a word that many
      languages have, a name or a single foreign word within a sentence goes with its neighbours. A word's k-th use is
      1/k of the evidence.
      Of more than 4,096 different words the later ones go with their neighbours.

    Takes any text in time linear in its length; the first 300,000 characters and 32,768 words and ends of sentences are read.
    """
    words = _words(text)
    counts = Counter(words.told_by_script())
    for script, found in words.by_alphabet().items():
        counts.update(_told_apart(found, script, target, rivals))
    return counts


def share_of(text: str, target: Code, rivals: Sequence[Code] = ()) -> float | None:
    """The share of the target's words among all words, by the rules of `language_counts`; None when there are no words."""
    words = _words(text)
    counts = Counter(words.told_by_script())
    for script, found in words.by_alphabet().items():
        is_its_own = script == SCRIPTS[target]
        counts.update(_told_apart(found, script, target, rivals) if is_its_own else {OTHER: len(found)})
    total = counts.total()
    return counts[target] / total if total else None


def warm_up(target: Code, rivals: Sequence[Code] = ()) -> None:
    """Load the models that texts in the target's script need: of lingua's for one to five letters, those of the longest."""
    shown = {"latin": "a longer word", "cyrillic": "а длинное слово", "arabic": "و المعلومات"}
    share_of(shown.get(SCRIPTS[target], ""), target, rivals)


def _words(text: str) -> _Words:
    return _Words(list(_tokens(prose(text[:LONGEST]))))


def _told_apart(words: Sequence[_Token], script: str, target: Code, rivals: Sequence[Code]) -> Counter[str]:
    codes = _in_question(script, target, rivals)
    return Counter(_likeliest(words, codes)) if len(codes) > 1 else Counter({next(iter(codes), OTHER): len(words)})


def _in_question(script: str, target: Code, rivals: Sequence[Code]) -> tuple[Code, ...]:
    """The languages of the script that are told apart, the target first where it is one of them."""
    asked = [code for code in (target, *rivals) if SCRIPTS[code] == script]
    chosen = asked if len(asked) > 1 else [*asked, *RIVALS.get(script, ())]
    known = chosen or [code for code, own in SCRIPTS.items() if own == script]
    return tuple(dict.fromkeys(known))


class _Token(NamedTuple):
    script: str
    text: str
    sentence: int


class _Words:
    """The words of a text, those of Chinese and Japanese characters apart from those of alphabets."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = tokens
        self._kana: Counter[int] = Counter()
        self._all: Counter[int] = Counter()
        for token in tokens:
            if token.script in ("han", "kana"):
                self._all[token.sentence] += len(token.text)
                self._kana[token.sentence] += len(token.text) if token.script == "kana" else 0
        self._as_a_whole = _is_japanese(self._kana.total(), self._all.total())

    def by_alphabet(self) -> dict[str, list[_Token]]:
        """The words of each alphabet, in order, without the sentences that are names alone."""
        alphabetic = [token for token in self._tokens if token.script not in ("han", "kana", "thai")]
        told = {(token.script, token.sentence) for token in alphabetic if not _may_be_a_name(token.text)}
        found: dict[str, list[_Token]] = {}
        for token in alphabetic:
            if (token.script, token.sentence) in told:
                found.setdefault(token.script, []).append(token)
        return found

    def told_by_script(self) -> Iterator[str]:
        """The language of each word whose script leaves no doubt or is that of Chinese and Japanese."""
        for token in self._tokens:
            if token.script == "han":
                code = "ja" if self._sentence_is_japanese(token.sentence) else "zh"
                yield from [code] * len(chinese_words(token.text))
            elif token.script == "kana":
                yield from ["ja"] * len(_KANA_PIECE.findall(token.text))
            elif token.script == "thai":
                yield from ["th"] * -(-len(token.text) // 4)

    def _sentence_is_japanese(self, sentence: int) -> bool:
        if not self._kana[sentence] and self._all[sentence] <= _SHORT:
            return self._as_a_whole
        return _is_japanese(self._kana[sentence], self._all[sentence])


def _may_be_a_name(word: str) -> bool:
    return word[0].isupper() and word.lower() not in _COMMON_WORDS


def _is_japanese(kana: int, characters: int) -> bool:
    return kana > 0 and kana >= _KANA_SHARE * characters


def _tokens(readable: str) -> Iterator[_Token]:
    sentence = 0
    for match in islice(_TOKEN.finditer(readable), _MOST_TOKENS):
        kind = match.lastgroup or ""
        word = match.group()
        if kind == "end":
            sentence += 1
        elif kind != "word":
            yield _Token(kind, word, sentence)
        elif not _NO_WORD.search(word) and not _is_of_a_formula(readable, match.start(), match.end()):
            yield _Token(_script(word), word, sentence)


def _is_of_a_formula(readable: str, start: int, end: int) -> bool:
    """Whether the word is a function's name or single letters, "a" and "I" excepted where they stand beside a word."""
    if _VARIABLES.fullmatch(readable, start, end):
        return not _ARTICLE_OR_PRONOUN.match(readable, start)
    return readable.startswith("(", end)


def _script(word: str) -> str:
    if word.isascii():
        return "latin"
    match = _SCRIPT.match(word)
    return (match.lastgroup or OTHER) if match else OTHER


def _likeliest(words: Sequence[_Token], codes: tuple[Code, ...]) -> list[str]:
    """The likeliest of `codes`, or none of them, for each of a row of words (Viterbi); the row begins in the first."""
    states = (*codes, OTHER)
    costs = [0.0, *[_SWITCH] * len(codes)]
    origins: list[list[int]] = []
    sentence = words[0].sentence
    for word, evidence in zip(words, _evidence(words, codes), strict=True):
        best = min(range(len(costs)), key=costs.__getitem__)
        dearest = costs[best] + (_SWITCH if word.sentence == sentence else _SWITCH_OF_SENTENCES)
        sentence = word.sentence
        origins.append([place if cost <= dearest else best for place, cost in enumerate(costs)])
        costs = [min(cost, dearest) + own for cost, own in zip(costs, evidence, strict=True)]
    place = min(range(len(costs)), key=costs.__getitem__)
    found = []
    for origin in reversed(origins):
        found.append(states[place])
        place = origin[place]
    return found[::-1]


def _evidence(words: Sequence[_Token], codes: tuple[Code, ...]) -> Iterator[tuple[float, ...]]:
    """For each word what it costs to take it for one of each language, and for one of none of them, in nats."""
    known: dict[str, tuple[float, ...]] = {}
    seen: Counter[str] = Counter()
    nothing = (0.0,) * (len(codes) + 1)
    for _, word, _ in words:
        if word not in known and len(known) < _DIFFERENT_WORDS:
            known[word] = _costs(unicodedata.normalize("NFC", word[:_LONGEST_WORD]), codes)
        seen[word] += 1
        yield tuple(cost / seen[word] for cost in known.get(word, nothing))


def _costs(word: str, codes: tuple[Code, ...]) -> tuple[float, ...]:
    """What it costs to take the word for one of each language, and for one of none of them."""
    lower = word.lower().replace("’", "'")
    spoken = [lower in COMMON_WORDS.get(code, ()) for code in codes]
    if lower in _COMMON_WORDS:
        return tuple(0.0 if is_its_own else _EVIDENCE_OF_COMMON_WORDS for is_its_own in (*spoken, not any(spoken)))
    is_latin = SCRIPTS[codes[0]] == "latin"
    is_borrowed = word[0].isupper() or (is_latin and not word.isascii())
    most = _EVIDENCE_OF_NAMES if is_borrowed else _MOST_EVIDENCE
    return (*(min(cost, most) for cost in _surprises(lower, codes)), most / 2 if is_latin else most)


@lru_cache(maxsize=1 << 16)
def _surprises(word: str, codes: tuple[Code, ...]) -> tuple[float, ...]:
    confidence = {
        found.language.iso_code_639_1.name.lower(): found.value
        for found in _detector(codes).compute_language_confidence_values(word)
    }
    return tuple(-math.log(max(confidence[code], _LEAST_CONFIDENCE)) for code in codes)


@cache
def _detector(codes: tuple[Code, ...]) -> LanguageDetector:
    # Imported where it is used: the trainer builds rewards too, and has no need of the models.
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    names = [getattr(IsoCode639_1, code.upper()) for code in codes]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*names).build()


_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\uff70\p{Thai}"
_LETTER = rf"[[\p{{L}}\p{{M}}]--[{_UNSPACED}]]"
_TOKEN = regex.compile(
    rf"(?P<end>[.!?。！？\n]+(?!\d))|(?P<han>\p{{Han}}+)|(?P<kana>[\p{{Hiragana}}\p{{Katakana}}\u30fc\uff70]+)|(?P<thai>\p{{Thai}}+)"
    rf"|(?P<word>[[\p{{L}}\p{{M}}\p{{N}}_]--[{_UNSPACED}]]++(?:['’-]{_LETTER}++)*+)",
    regex.V1,
)
_NO_WORD = regex.compile(r"[\p{N}_]|^\p{M}+$")
_VARIABLES = regex.compile(r"[A-Za-z]\p{M}*+(?:-[A-Za-z]\p{M}*+)*+")
_ARTICLE_OR_PRONOUN = regex.compile(r"(?<=\p{Latin}\p{Latin}\s)[AaI]|[AaI](?=\s\p{Latin}\p{Latin})")
_COMMON_WORDS = frozenset().union(*COMMON_WORDS.values())
_KANA_PIECE = regex.compile(r"[\p{Katakana}\u30fc\uff70]+|[^\p{Katakana}\u30fc\uff70]{1,4}", regex.V1)
_SCRIPT = regex.compile(
    r"(?P<latin>\p{Latin})|(?P<cyrillic>\p{Cyrillic})|(?P<arabic>\p{Arabic})|(?P<greek>\p{Greek})|(?P<hebrew>\p{Hebrew})"
    r"|(?P<hangul>\p{Hangul})|(?P<devanagari>\p{Devanagari})"
)
