"""The loss on documents that are not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from transformers import PreTrainedModel

from ponder.errors import InputError
from ponder.hf_pretraining import TokenBatch, next_token_loss
from ponder_pretraining import PretrainConfig
from ponder_pretraining.packing import pack


class Validation:
    """Rows of documents that stay the same from one measurement to the next."""

    def __init__(
        self,
        documents: Iterable[str],
        tokenize: Callable[[list[str]], list[list[int]]],
        pad: int,
        config: PretrainConfig,
    ) -> None:
        texts, tokens = _take(documents, tokenize, config)
        self._texts = frozenset(texts)
        self._trained_on: set[str] = set()
        rows = pack(tokens, config.sequence_length)
        places = range(0, len(rows), config.rows)
        batches = [TokenBatch.pack(rows[place : place + config.rows], config.sequence_length, pad) for place in places]
        self._batches = [batch for batch in batches if batch.predicted]
        if not self._batches:
            raise InputError(f"the task {config.validation!r} has no documents to measure validation_loss on")

    def watch(self, documents: Iterable[str]) -> Iterator[str]:
        """The documents that are trained on, as they come, noting which of them are validated on too."""
        for document in documents:
            if document in self._texts:
                self._trained_on.add(document)
            yield document

    @property
    def overlap(self) -> float:
        """Share of the different documents validated on that stood, word for word, among those trained on."""
        return len(self._trained_on) / len(self._texts)

    @torch.no_grad()
    def loss(self, model: PreTrainedModel) -> float:
        """Mean cross-entropy of the next token, in nats, in evaluation mode; the model is left in the mode that it was in."""
        was_training = model.training
        model.eval()
        losses = [(next_token_loss(model, batch).item(), batch.predicted) for batch in self._batches]
        model.train(was_training)
        return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)


def is_due(step: int, config: PretrainConfig) -> bool:
    """Whether the loss is measured behind this step; not behind the last one, where the stage measures it anyway."""
    done = step + 1
    return done < config.steps and done * config.validations // config.steps > step * config.validations // config.steps


def _take(
    documents: Iterable[str], tokenize: Callable[[list[str]], list[list[int]]], config: PretrainConfig
) -> tuple[Sequence[str], Sequence[list[int]]]:
    """The first documents that together have the tokens that are asked for, cut where they are longer than a row."""
    texts: list[str] = []
    pieces: list[list[int]] = []
    missing = config.validation_tokens
    for document in documents:
        if missing <= 0:
            break
        [tokens] = tokenize([document])
        missing -= len(tokens)
        texts.append(document)
        length = config.sequence_length
        pieces += [tokens[start : start + length] for start in range(0, len(tokens), length)]
    return texts, pieces
