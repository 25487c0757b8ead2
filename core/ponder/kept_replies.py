"""Replies of an endpoint, kept on disk by what was asked of whom."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ponder.endpoint import Question, Reply
from ponder.errors import StageError


def cache_directory(given: str, name: str) -> Path:
    """The directory that an option gives, or else `ponder/<name>` in the user's cache directory."""
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponder" / name


class KeptReplies:
    """A directory of replies, one file each; several threads and programs may use it at once."""

    def __init__(self, directory: Path, asked_of: Mapping[str, object], whose: str) -> None:
        self._directory = directory
        self._asked_of = json.dumps(asked_of, sort_keys=True)
        self._whose = whose

    def get(self, question: Question) -> Reply | None:
        """The reply to this question; None when there is none, or none that can be read."""
        try:
            kept = json.loads(self._path(question).read_text(encoding="utf-8"))
            reply = Reply(kept.pop("reply"), **kept)
            return reply if isinstance(reply.text, str) and isinstance(reply.reasoning, str) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, question: Question, reply: Reply) -> None:
        """Keep a reply; the file is there as a whole or not at all.

        Raises:
            StageError: the directory cannot be written.
        """
        path = self._path(question)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        fields = asdict(reply)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps({"reply": fields.pop("text"), **fields}), encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise StageError(
                f"{self._whose}'s replies cannot be kept in {self._directory}: {error.strerror}"
            ) from error

    def _path(self, question: Question) -> Path:
        name = hashlib.sha256(f"{self._asked_of}\n{question.key}".encode("utf-8", "surrogatepass")).hexdigest()
        return self._directory / name[:2] / f"{name[2:]}.json"
