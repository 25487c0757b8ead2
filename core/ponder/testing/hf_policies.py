"""What the suite for policies needs torch for: forward passes, a training step, loading by plain transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from ponder.hf import encode_prompt, quiet_files
from ponder.types import Message

_LEARNING_RATE = 1e-3
_SPOILT = 5


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What plain transformers makes of a directory."""

    model: Any
    tokenizer: Any


def load_plainly(directory: Path) -> LoadedModel:
    """Load as any user of transformers would, without the directory's own code."""
    with quiet_files():
        model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    model.eval()
    return LoadedModel(model, tokenizer)


def logits(policy: Any, chat: Sequence[Message]) -> Tensor:
    """[tokens, vocabulary] of a rendered chat."""
    return _forward(policy, torch.tensor([encode_prompt(policy.tokenizer, chat)]))[0]


def influence_of_the_last_token(policy: Any, chat: Sequence[Message]) -> float:
    """How far logits before the last token move when it is another one."""
    ids = torch.tensor([encode_prompt(policy.tokenizer, chat)])
    other = ids.clone()
    other[0, -1] = _SPOILT if int(ids[0, -1]) != _SPOILT else _SPOILT + 1
    return float((_forward(policy, ids)[0, :-1] - _forward(policy, other)[0, :-1]).abs().max())


def influence_of_padding(policy: Any, chat: Sequence[Message]) -> float:
    """How far the last logits move when the row is padded on the left."""
    ids = torch.tensor([encode_prompt(policy.tokenizer, chat)])
    padding = torch.full((1, 5), int(policy.tokenizer.pad_token_id))
    row = torch.cat([padding, ids], 1)
    mask = torch.cat([torch.zeros_like(padding), torch.ones_like(ids)], 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    padded = _forward(policy, row, attention_mask=mask, position_ids=positions)
    return float((_forward(policy, ids)[0, -1] - padded[0, -1]).abs().max())


def after_a_step(policy: Any, chat: Sequence[Message]) -> tuple[float, float]:
    """The loss on a chat before and after one step of plain gradient descent along the gradient's direction."""
    ids = torch.tensor([encode_prompt(policy.tokenizer, chat)])
    parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    before = _loss(policy, ids)
    gradients = torch.autograd.grad(before, parameters, allow_unused=True)
    norm = torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm()
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter -= _LEARNING_RATE * gradient / norm.clamp(min=1e-12)
        return float(before.detach()), float(_loss(policy, ids))


def differing_weights(one: Any, other: Any) -> list[str]:
    """The names of weights that two policies do not share."""
    first, second = one.model.state_dict(), other.model.state_dict()
    missing = sorted(set(first) ^ set(second))
    return missing + [name for name in first if name in second and not torch.equal(first[name], second[name])]


def vocabulary_sizes(policy: Any) -> tuple[int, int]:
    """How many tokens the tokenizer has, and how many outputs the model."""
    return len(policy.tokenizer), int(logits(policy, [{"role": "user", "content": "?"}]).shape[-1])


@torch.no_grad()
def _forward(policy: Any, ids: Tensor, **inputs: Tensor) -> Tensor:
    found: Tensor = policy.model(input_ids=ids, use_cache=False, **inputs).logits
    return found


def _loss(policy: Any, ids: Tensor) -> Tensor:
    scores = policy.model(input_ids=ids, use_cache=False).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(scores, ids[0, 1:])
