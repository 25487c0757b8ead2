"""Giving a policy's tokenizer the chat template that a recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping

from ponder import Policy
from ponder.chat_templates import set_template_file
from ponder.errors import InputError
from ponder_trl.sft_config import SftConfig


def choose_chat_template(policy: Policy, config: SftConfig) -> None:
    """Set the chat template named in the options, if one is; the policy keeps it when it is saved.

    Raises:
        InputError: the policy has no template of that name, or the file is not a chat template.
    """
    if config.chat_template is not None:
        policy.tokenizer.chat_template = _named(policy, config.chat_template, config.policy)
    if config.chat_template_file is not None:
        set_template_file(policy.tokenizer, config.chat_template_file)


def _named(policy: Policy, name: str, owner: str) -> str:
    offered: Mapping[str, str] = getattr(policy, "chat_templates", {})
    if name not in offered:
        have = f"it offers {', '.join(offered)}" if offered else "it offers none by name"
        raise InputError(
            f"policy {owner!r} has no chat template {name!r}: {have}; a template of your own goes into chat_template_file"
        )
    return offered[name]
