"""The languages that words are counted in, and the scripts they are written in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

Code: TypeAlias = Literal[
    "ar",
    "de",
    "el",
    "en",
    "es",
    "fa",
    "fr",
    "he",
    "hi",
    "it",
    "ja",
    "ko",
    "nl",
    "pl",
    "pt",
    "ru",
    "th",
    "tr",
    "uk",
    "vi",
    "zh",
]
"""Codes of ISO 639-1."""
CodeOrQuestion: TypeAlias = Literal[
    "ar", "de", "el", "en", "es", "fa", "fr", "he", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "uk", "vi", "zh",
    "question",
]  # fmt: skip

OTHER: Final = "other"

SCRIPTS: Final[Mapping[Code, str]] = {
    "ar": "arabic",
    "de": "latin",
    "el": "greek",
    "en": "latin",
    "es": "latin",
    "fa": "arabic",
    "fr": "latin",
    "he": "hebrew",
    "hi": "devanagari",
    "it": "latin",
    "ja": "kana",
    "ko": "hangul",
    "nl": "latin",
    "pl": "latin",
    "pt": "latin",
    "ru": "cyrillic",
    "th": "thai",
    "tr": "latin",
    "uk": "cyrillic",
    "vi": "latin",
    "zh": "han",
}

RIVALS: Final[Mapping[str, tuple[Code, ...]]] = {
    "latin": ("en", "de", "es", "fr"),
    "cyrillic": ("ru", "uk"),
    "arabic": ("ar", "fa"),
}
"""The languages of a script that are told apart from the target where the recipe names no others."""
