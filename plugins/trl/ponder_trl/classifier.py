"""The reward `reward_model`: what a ready-made sequence classifier thinks of a response."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ponder import Example, Rollout
from ponder.errors import InputError
from ponder.hf import quiet_files
from ponder_trl.preference import logistic
from ponder_trl.reward_configs import ClassifierConfig
from ponder_trl.reward_network import longest_input, scores_of
from ponder_trl.shown import shown_part, shown_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Classifier:
    """Scores of a reward model from a directory; see `ClassifierConfig` for its range and when it abstains.

    It reads the conversation as its own chat template writes it, with the response as the assistant's last turn; without a template, or
    for a prompt of plain text, prompt, response and end of sequence. Equal responses get equal scores to the bit. Code that comes with a
    model is never run. Raises InputError when the directory holds no such model. Source: InstructGPT (Ouyang et al. 2022), section 3.5; transformers' sequence classifiers.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        self._config = config
        self._model, self._tokenizer = _load(Path(config.path))

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """A score, or None where prompt and response exceed the model's context, for each rollout in order."""
        longest = longest_input(self._model) or math.inf
        scores: list[float | None] = [self._config.lowest] * len(rollouts)
        tokens: dict[int, list[int]] = {}
        for place, rollout in enumerate(rollouts):
            part = shown_part(rollout.example, rollout.completion.text, self._config.sees)
            if not part:
                continue
            scores[place] = None
            ids = _tokens(self._tokenizer, rollout.example, part)
            if len(ids) <= longest:
                tokens[place] = ids
        found = scores_of(self._model, list(tokens.values()), self._config.batch_size)
        for place, score in zip(tokens, found, strict=True):
            scores[place] = logistic(score) if self._config.scale == "sigmoid" else score
        return scores


def _load(directory: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        with quiet_files():
            model: Any = AutoModelForSequenceClassification.from_pretrained(
                directory, dtype="auto", local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"reward reward_model: {directory} cannot be read as a sequence classifier: {error}"
        ) from error
    if model.config.num_labels != 1:
        raise InputError(
            f"reward reward_model: the model in {directory} has {model.config.num_labels} outputs; a reward model has one"
        )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id or 0
    return model.eval(), tokenizer


def _tokens(tokenizer: PreTrainedTokenizerBase, example: Example, part: str) -> list[int]:
    if isinstance(example.prompt, str) or not tokenizer.chat_template:
        return shown_tokens(tokenizer, example, part)
    # Lone surrogates, which JSON can spell, are no text to a tokenizer.
    said = {"role": "assistant", "content": part.encode("utf-8", "replace").decode()}
    text = str(tokenizer.apply_chat_template([*example.prompt, said], tokenize=False))
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
