"""What the suites need torch for: full forward passes to compare with, and policies that are changed for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ponder.hf import encode_prompt, prefilled_text, token_logprobs
from ponder.interfaces import Policy
from ponder.types import Completion, Example


def largest_difference(policy: Policy, example: Example, completion: Completion, temperature: float) -> float:
    """How far a completion's log-probabilities are from those of a full forward pass, in nats."""
    prompt = encode_prompt(policy.tokenizer, example.prompt)
    tokens = torch.tensor([int(token) for token in completion.token_ids])
    was_training = policy.model.training
    policy.model.eval()
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([[*prompt, *tokens.tolist()]])).logits[0, len(prompt) - 1 : -1]
    policy.model.train(was_training)
    expected = token_logprobs(logits, tokens, temperature)
    return float((torch.tensor([float(value) for value in completion.logprobs]) - expected).abs().max())


def expected_text(policy: Policy, example: Example, completion: Completion) -> str:
    """The text of a completion's tokens without the ends of texts and rows, behind what the chat template prefilled."""
    tokenizer = policy.tokenizer
    silent = {tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id}
    said = tokenizer.decode(
        [int(token) for token in completion.token_ids if token not in silent], skip_special_tokens=False
    )
    return prefilled_text(tokenizer, example.prompt) + str(said)


def state_of(policy: Policy) -> dict[str, object]:
    """What sampling must leave alone, in a form that can be compared."""
    model = policy.model
    return {
        "training mode": [module.training for module in model.modules()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "weights": [float(tensor.double().sum()) for tensor in model.state_dict().values()],
        "configuration": str(model.config),
        "version": policy.version,
        "chat template": policy.tokenizer.chat_template,
        "padding side": policy.tokenizer.padding_side,
    }


@contextmanager
def changed(policy: Policy, *, version: int) -> Iterator[None]:
    """Give the policy another version for a moment."""
    before = policy.version
    policy.version = version
    try:
        yield
    finally:
        policy.version = before


@contextmanager
def nudged(policy: Policy) -> Iterator[None]:
    """Give the policy other weights and the next version for a moment, as an optimizer step does."""
    weights = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.3)
    try:
        with changed(policy, version=policy.version + 1):
            yield
    finally:
        policy.model.load_state_dict(weights)
        # Weights that are back are new ones once more to whoever has seen the others.
        policy.version += 2


@contextmanager
def disturbed_random_state() -> Iterator[None]:
    """Put torch's global generator into another state for a moment."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987_654_321)
        torch.rand(3)
        yield


def global_state() -> Any:
    """The state of torch's global generator."""
    return torch.get_rng_state()
