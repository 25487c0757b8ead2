"""Replies of an endpoint, kept on disk by what was asked of whom."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from ponder.errors import StageError


class KeptReplies:
    """A directory of replies, one file each; several threads and programs may use it at once."""

    def __init__(self, directory: Path, asked_of: Mapping[str, object]) -> None:
        self._directory = directory
        self._asked_of = json.dumps(asked_of, sort_keys=True)

    def get(self, prompt: str) -> str | None:
        """The reply to this prompt; None when there is none, or none that can be read."""
        try:
            kept = json.loads(self._path(prompt).read_text(encoding="utf-8"))
            return kept["reply"] if isinstance(kept["reply"], str) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, prompt: str, reply: str) -> None:
        """Keep a reply; the file is there as a whole or not at all.

        Raises:
            StageError: the directory cannot be written.
        """
        path = self._path(prompt)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps({"reply": reply}), encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise StageError(f"the judge's replies cannot be kept in {self._directory}: {error.strerror}") from error

    def _path(self, prompt: str) -> Path:
        name = hashlib.sha256(f"{self._asked_of}\n{prompt}".encode()).hexdigest()
        return self._directory / name[:2] / f"{name[2:]}.json"
