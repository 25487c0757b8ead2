"""The network of a reward model: a policy's layers with one number as their output, its files, and its scores."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from ponder import Policy
from ponder.durable import read_json, write_json
from ponder.errors import InputError
from ponder.hf import merged_model, quiet_files
from ponder_trl.experts import with_fast_experts
from ponder_trl.reward_configs import Kind, Sees

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DIRECTORY = "reward_model"
"""Where in its directory a `reward_model` stage leaves its model."""
CARD = "reward_model.json"


@dataclass(frozen=True, slots=True)
class Card:
    """What a reward model's directory says about it, besides the weights."""

    kind: Kind
    sees: Sees
    mean: float
    """Mean of the scores on what it was trained on."""
    std: float
    """Their standard deviation."""
    lowest: float
    """The lowest of them."""


@dataclass(frozen=True, slots=True)
class RewardNetwork:
    """A trained reward model, ready to score."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    card: Card

    def save(self, directory: Path) -> None:
        """Write safetensors, tokenizer and card; the model loads with transformers' AutoModelForSequenceClassification."""
        with quiet_files():
            self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        write_json(directory / CARD, asdict(self.card))

    @classmethod
    def load(cls, directory: Path) -> RewardNetwork:
        """Read what `save` wrote.

        Raises:
            InputError: the directory holds no reward model.
        """
        if not (directory / CARD).exists():
            raise InputError(f"{directory} holds no reward model: name a stage of type reward_model")
        with quiet_files():
            model = AutoModelForSequenceClassification.from_pretrained(directory, dtype="auto", local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        return cls(with_fast_experts(model).eval(), tokenizer, Card(**read_json(directory / CARD)))


def make_network(policy: Policy, seed: int) -> PreTrainedModel:
    """The policy's network with a new output layer of one number, read at the last token that is not padding.

    Raises:
        InputError: transformers has no sequence classifier of the policy's architecture.
    """
    model: Any = merged_model(policy)
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    config.pad_token_id = policy.tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = AutoModelForSequenceClassification.from_config(config, dtype=model.dtype)
        except ValueError as error:
            raise InputError(
                f"transformers has no sequence classifier of the architecture {config.model_type!r}, and a reward model is one: "
                "start from a policy of another architecture"
            ) from error
    # A policy may have more than the network reads, such as modules for multi-token prediction.
    wanted = network.base_model.state_dict().keys()
    network.base_model.load_state_dict({k: v for k, v in model.base_model.state_dict().items() if k in wanted})
    return with_fast_experts(network).to(model.device)


def longest_input(model: PreTrainedModel) -> int | None:
    """How many tokens the model can read; None where its configuration sets no bound."""
    return getattr(model.config, "max_position_embeddings", None)


def scores_of(model: PreTrainedModel, sequences: Sequence[Sequence[int]], batch_size: int) -> list[float]:
    """The model's score of each sequence of token ids, in order, in evaluation mode; batches hold sequences of like length.

    Equal sequences are scored once and get the same score to the bit: rounding must not tell tied completions apart.
    """
    was_training = model.training
    model.eval()
    different = sorted({tuple(sequence) for sequence in sequences}, key=lambda sequence: (len(sequence), sequence))
    scores: dict[tuple[int, ...], float] = {}
    with torch.inference_mode():
        for start in range(0, len(different), batch_size):
            batch = different[start : start + batch_size]
            scores.update(zip(batch, _batch_scores(model, batch), strict=True))
    model.train(was_training)
    return [scores[tuple(sequence)] for sequence in sequences]


def _batch_scores(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> list[float]:
    longest = max(map(len, sequences))
    pad = int(model.config.pad_token_id or 0)
    ids = torch.tensor([[*sequence, *[pad] * (longest - len(sequence))] for sequence in sequences], device=model.device)
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=model.device)
    mask = (torch.arange(longest, device=model.device) < lengths[:, None]).long()
    found: list[float] = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, 0].float().tolist()
    return found
