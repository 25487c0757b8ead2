"""A policy of a run as a directory for others, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ponder.building import load_policy
from ponder.components import lazy
from ponder.durable import rename_durably
from ponder.errors import InputError, StorageError
from ponder.interfaces import Policy
from ponder.model_card import model_card
from ponder.store import read_stage

if TYPE_CHECKING:
    from ponder.hf_export import Facts
    from ponder.plugins import Registry

# The core is free of torch: this is there only where a plugin with policies is.
_write_policy = lazy("ponder.hf_export:write_policy")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    directory: Path
    summary: str


def export(
    registry: Registry, stage: Path, directory: Path, chat_template: str | None = None, dtype: str | None = None
) -> Exported:
    """Write the policy of a finished stage to a new `directory`.

    Raises:
        InputError: the directory is there already, the stage made no policy, or the policy has no such chat template.
        StorageError: the directory cannot be written.
    """
    if directory.exists():
        raise InputError(f"{directory} exists already: choose another directory, or remove it")
    source = stage.resolve()
    policy = load_policy(registry, source)
    _choose_template(policy, chat_template)
    try:
        directory.absolute().parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.absolute().parent))
    except OSError as error:
        raise StorageError(f"{directory} cannot be written: {error.strerror}") from error
    try:
        facts: Facts = _write_policy(policy, scratch, dtype)
        (scratch / "README.md").write_text(model_card(read_stage(source), facts, directory.name), encoding="utf-8")
        scratch.chmod(0o777 & ~_umask())
        rename_durably(scratch, directory.absolute())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Exported(directory, facts.summary)


def _choose_template(policy: Policy, name: str | None) -> None:
    if name is None:
        return
    offered = getattr(policy, "chat_templates", {})
    if name not in offered:
        there = ", ".join(sorted(offered)) or "none besides its own"
        raise InputError(f"the policy offers no chat template {name!r}; it offers {there}")
    policy.tokenizer.chat_template = offered[name]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
