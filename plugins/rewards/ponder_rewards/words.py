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
from ponder_rewards.languages import OTHER, RIVALS, SCRIPTS, Code
from ponder_rewards.pieces import LONGEST

if TYPE_CHECKING:
    from lingua import LanguageDetector

_MOST_TOKENS: Final = 1 << 15
_DIFFERENT_WORDS: Final = 4096
_LONGEST_WORD: Final = 40
_SWITCH: Final = 2.5
"""Nats against a change of language between two words; see `language_counts`."""
_FLOOR: Final = math.exp(-2.8 * _SWITCH)
_FLOOR_OF_NAMES: Final = math.exp(-1.8 * _SWITCH)
"""By itself not enough for a change of language and back."""
_KANA_SHARE: Final = 1 / 8
_SHORT: Final = 8


def language_counts(text: str, target: Code, rivals: Sequence[Code] = ()) -> Counter[str]:
    """How many words of a text are in each language, by code; `other` counts those in none that is told.

    Tags, code, mathematics and LaTeX are left out as in `ponder.text.language_share`, and so are digits. Of what remains:

    * In an alphabet a word is a run of letters with their marks, inner apostrophes and hyphens included. One that touches a digit is
      no word, nor is a single Latin letter other than "a" and "I", unless it has an accent.
    * Chinese characters are cut as in `ponder.text.language_share`. A sentence of whose characters one in eight is kana is Japanese,
      its Chinese characters too; a short one without any (up to eight characters) goes with the text as a whole. A run of
      katakana is a word; a run of hiragana is cut into pieces of at most four characters, and so is Thai.
    * A script that one language here is written in tells the language. Where several are, the target and its `rivals` (see
      `RIVALS` for those taken when none are given) are told apart by lingua, all words of the script together:
      the likeliest sequence of languages, where each change costs 2.5 nats and the text begins in the target. So a word
      that many languages have goes with its neighbours, doubt counts for the target, and a word that can only be foreign is
      counted as such, unless it stands alone and begins with a capital: that is a name. A word's k-th use is 1/k of the evidence.
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


def _told_apart(words: Sequence[str], script: str, target: Code, rivals: Sequence[Code]) -> Counter[str]:
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

    def by_alphabet(self) -> dict[str, list[str]]:
        """The words of each alphabet, in order."""
        found: dict[str, list[str]] = {}
        for token in self._tokens:
            if token.script not in ("han", "kana", "thai"):
                found.setdefault(token.script, []).append(token.text)
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
        elif not _NO_WORD.search(word) and not _VARIABLE.fullmatch(word):
            yield _Token(_script(word), word, sentence)


def _script(word: str) -> str:
    if word.isascii():
        return "latin"
    match = _SCRIPT.match(word)
    return (match.lastgroup or OTHER) if match else OTHER


def _likeliest(words: Sequence[str], codes: tuple[Code, ...]) -> list[Code]:
    """The likeliest languages of a row of words (Viterbi), the first of `codes` where the row begins."""
    costs = [0.0, *[_SWITCH] * (len(codes) - 1)]
    origins: list[list[int]] = []
    for evidence in _evidence(words, codes):
        best = min(range(len(costs)), key=costs.__getitem__)
        dearest = costs[best] + _SWITCH
        origins.append([place if cost <= dearest else best for place, cost in enumerate(costs)])
        costs = [min(cost, dearest) + own for cost, own in zip(costs, evidence, strict=True)]
    place = min(range(len(costs)), key=costs.__getitem__)
    found = []
    for origin in reversed(origins):
        found.append(codes[place])
        place = origin[place]
    return found[::-1]


def _evidence(words: Sequence[str], codes: tuple[Code, ...]) -> Iterator[tuple[float, ...]]:
    """For each word what it costs to take it for one of each language, in nats."""
    known: dict[str, tuple[float, ...]] = {}
    seen: Counter[str] = Counter()
    nothing = (0.0,) * len(codes)
    for word in words:
        if word not in known and len(known) < _DIFFERENT_WORDS:
            read = unicodedata.normalize("NFC", word[:_LONGEST_WORD])
            known[word] = _costs(read.lower(), codes, _FLOOR_OF_NAMES if read[:1].isupper() else _FLOOR)
        seen[word] += 1
        yield tuple(cost / seen[word] for cost in known.get(word, nothing))


@lru_cache(maxsize=1 << 16)
def _costs(word: str, codes: tuple[Code, ...], floor: float) -> tuple[float, ...]:
    confidence = {
        found.language.iso_code_639_1.name.lower(): found.value
        for found in _detector(codes).compute_language_confidence_values(word)
    }
    return tuple(-math.log(max(confidence[code], floor)) for code in codes)


@cache
def _detector(codes: tuple[Code, ...]) -> LanguageDetector:
    # Imported where it is used: the trainer builds rewards too, and has no need of the models.
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    names = [getattr(IsoCode639_1, code.upper()) for code in codes]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*names).build()


_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\uff70\p{Thai}"
_LETTER = rf"[[\p{{L}}\p{{M}}]--[{_UNSPACED}]]"
_TOKEN = regex.compile(
    rf"(?P<end>[.!?。！？\n]+)|(?P<han>\p{{Han}}+)|(?P<kana>[\p{{Hiragana}}\p{{Katakana}}\u30fc\uff70]+)|(?P<thai>\p{{Thai}}+)"
    rf"|(?P<word>[[\p{{L}}\p{{M}}\p{{N}}_]--[{_UNSPACED}]]++(?:['’-]{_LETTER}++)*+)",
    regex.V1,
)
_NO_WORD = regex.compile(r"[\p{N}_]|^\p{M}+$")
_VARIABLE = regex.compile(r"[b-zB-HJ-Z]\p{M}*")
_KANA_PIECE = regex.compile(r"[\p{Katakana}\u30fc\uff70]+|[^\p{Katakana}\u30fc\uff70]{1,4}", regex.V1)
_SCRIPT = regex.compile(
    r"(?P<latin>\p{Latin})|(?P<cyrillic>\p{Cyrillic})|(?P<arabic>\p{Arabic})|(?P<greek>\p{Greek})|(?P<hebrew>\p{Hebrew})"
    r"|(?P<hangul>\p{Hangul})|(?P<devanagari>\p{Devanagari})"
)
