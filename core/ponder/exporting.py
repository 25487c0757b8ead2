"""A policy of a run as a directory for others, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ponder.building import load_policy
from ponder.components import lazy
from ponder.durable import rename_durably
from ponder.errors import InputError, StorageError
from ponder.interfaces import Policy
from ponder.model_card import MADE, model_card
from ponder.store import read_stage

if TYPE_CHECKING:
    from ponder.hf_export import Facts
    from ponder.plugins import Registry

# The core is free of torch: this is there only where a plugin with policies is.
_write_policy = lazy("ponder.hf_export:write_policy")
_write_gguf = lazy("ponder.hf_gguf:write_gguf")

Format: TypeAlias = Literal["transformers", "gguf"]
_CARD: Final = "README.md"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    directory: Path
    summary: str


def export(
    registry: Registry,
    stage: Path,
    directory: Path,
    chat_template: str | None = None,
    dtype: str | None = None,
    *,
    format: Format = "transformers",
    replaces: bool = False,
) -> Exported:
    """Write the policy of a finished stage to `directory`, which must be new, or with `replaces` an earlier export.

    Raises:
        InputError: the directory is there already, the stage made no policy, or the policy has no such chat template or format.
        StorageError: the directory cannot be written.
    """
    _check_target(directory, replaces=replaces)
    source = stage.resolve()
    policy = load_policy(registry, source)
    _choose_template(policy, chat_template)
    target = directory.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise StorageError(f"{directory} cannot be written: {error.strerror}") from error
    try:
        facts = _write(policy, scratch, target.name, dtype, format)
        (scratch / _CARD).write_text(model_card(read_stage(source), facts, target.name), encoding="utf-8")
        scratch.chmod(0o777 & ~_umask())
        _put(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Exported(directory, facts.summary)


def _write(policy: Policy, scratch: Path, name: str, dtype: str | None, format: Format) -> Facts:
    facts: Facts
    if format == "gguf":
        facts = _write_gguf(policy, scratch / f"{name}.gguf", dtype)
    else:
        facts = _write_policy(policy, scratch, dtype)
    return facts


def _check_target(directory: Path, *, replaces: bool) -> None:
    if not directory.exists():
        return
    if not replaces:
        raise InputError(f"{directory} exists already: choose another directory, or replace it with --force")
    card = directory / _CARD
    if not card.is_file() or MADE not in card.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{directory} is no export of ponder's, and --force replaces nothing else")


def _put(scratch: Path, target: Path) -> None:
    """The new directory in the place of the old one, which goes only when the new one is there."""
    if not target.exists():
        rename_durably(scratch, target)
        return
    aside = scratch.with_name(f"{scratch.name}.old")
    target.rename(aside)
    try:
        rename_durably(scratch, target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


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
