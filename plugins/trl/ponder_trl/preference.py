"""The reward `preference`: what a reward model thinks of a response."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ponder import Rollout
from ponder.context import FinishedStage
from ponder.errors import InputError
from ponder_trl.reward_configs import PreferenceConfig
from ponder_trl.reward_network import DIRECTORY, RewardNetwork, longest_input, scores_of
from ponder_trl.shown import shown_part, shown_tokens

FARTHEST = 3.0
"""Normalised scores are kept within so many standard deviations: what lies beyond is not what the model was trained on."""


class Preference:
    """Scores of a reward model, which sees of a response what it saw in training; see `PreferenceConfig`.

    Sources: DeepSeek-R1, equations 8-10 and Methods (the helpfulness model scores the summary alone, the safety model the whole
    response); the scales are ours.
    """

    def __init__(self, config: PreferenceConfig, stage: Callable[[str], FinishedStage]) -> None:
        made = stage(config.model)
        if made.type != "reward_model":
            raise InputError(
                f"reward preference: its model {config.model!r} is a stage of type {made.type}: name one of type reward_model"
            )
        self._config = config
        self._network = RewardNetwork.load(made.directory / DIRECTORY)

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """A score, or None where prompt and response exceed the model's context, for each rollout in order."""
        network = self._network
        longest = longest_input(network.model) or math.inf
        scores: list[float | None] = [self._lowest()] * len(rollouts)
        tokens: dict[int, list[int]] = {}
        for place, rollout in enumerate(rollouts):
            part = shown_part(rollout.example, rollout.completion.text, network.card.sees)
            if part:
                tokens[place] = shown_tokens(network.tokenizer, rollout.example, part)
        for place in [place for place, ids in tokens.items() if len(ids) > longest]:
            del tokens[place]
            scores[place] = None
        found = scores_of(network.model, list(tokens.values()), self._config.batch_size)
        for place, score in zip(tokens, found, strict=True):
            scores[place] = self._scaled(score)
        return scores

    def _scaled(self, score: float) -> float:
        card, scale = self._network.card, self._config.scale
        if scale == "raw":
            return score
        if scale == "sigmoid" and card.kind == "pointwise":
            return logistic(score)
        normalised = (score - card.mean) / card.std
        return logistic(normalised) if scale == "sigmoid" else max(-FARTHEST, min(FARTHEST, normalised))

    def _lowest(self) -> float:
        """The score of a response that has nothing for the model to see."""
        return {"sigmoid": 0.0, "normalised": -FARTHEST, "raw": self._network.card.lowest}[self._config.scale]


def logistic(score: float) -> float:
    """The logistic function, for scores of any size."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))
