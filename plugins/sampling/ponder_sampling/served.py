"""A policy on a vLLM server: its weights handed over when they have changed, its log-probabilities compared, its prompts answered."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ponder import Policy
from ponder.errors import StageError
from ponder.hf import token_logprobs
from ponder.randomness import derive_seed
from ponder_sampling.completions import not_finite, sampling_mode
from ponder_sampling.handing_over import Exchange, adapter_rank
from ponder_sampling.prompts import PromptTokens
from ponder_sampling.server_requests import ServerAway, request
from ponder_sampling.servers import make_server
from ponder_sampling.vllm_options import VllmConfig

CHECKED_PROMPTS = 4
"""So many prompts are answered after each hand-over, to compare log-probabilities."""
CHECKED_TOKENS = 16
"""Tokens of each such answer."""


class Said(NamedTuple):
    """What the server said to one prompt."""

    token_ids: list[int]
    logprobs: list[float]


class ServedPolicy:
    """A server and what it holds."""

    def __init__(self, config: VllmConfig) -> None:
        self.context: int | None = None
        """How many tokens the server reads at most; None before it was asked."""
        self.counted: dict[str, float] = {}
        self._config = config
        self._server = make_server(config)
        self._exchange: Exchange | None = None
        self._model = ""
        self._adapter: str | None = None
        self._held: tuple[weakref.ref[Any], int] | None = None

    def hold(self, policy: Policy, prompts: Sequence[PromptTokens]) -> None:
        """See that the server runs and holds the policy as it is now; `prompts` serve to compare log-probabilities.

        Raises:
            ServerAway: it went away meanwhile.
            StageError: it cannot be started, refuses the weights, or computes other log-probabilities than the trainer.
        """
        if self._held is not None and self._held[0]() is policy and self._held[1] == policy.version:
            return
        if self._config.push == "adapter":
            self._push_adapter(policy)
        else:
            self._push_weights(policy)
        self._check(policy, prompts)
        self._held = weakref.ref(policy), policy.version
        self._count("hand_overs")

    def ask(self, prompt: PromptTokens, limit: int, end: int, drawing: Mapping[str, float], seed: int) -> Said:
        """What the policy says to a prompt in at most `limit` tokens, the token `end` included."""
        body = {
            "model": self._model,
            "prompt": prompt.token_ids,
            "max_tokens": limit,
            "seed": seed,
            "logprobs": 0,
            "return_token_ids": True,
            # The tokenizer's end alone, not what generation_config.json adds.
            "ignore_eos": True,
            "stop_token_ids": [end],
            **drawing,
        }
        said = _said(request(self._server.url, "POST", "/v1/completions", body, self._config.request_seconds), limit)
        self._server.answered()
        return said

    def bring_back(self, problem: ServerAway) -> None:
        """After an answer failed to come; raises StageError when there is no hope of one."""
        self._count("server_failures")
        # It may come back with other weights.
        self._held = self._adapter = None
        self._server.revive(problem)

    def close(self) -> None:
        """End a server that was started, and take away the files that carried weights."""
        self._server.close()
        if self._exchange is not None:
            self._exchange.close()
        self._exchange = self._held = self._adapter = None

    def _push_weights(self, policy: Policy) -> None:
        """All weights, or none when the server has them already."""
        is_pushed = self._config.push == "weights"
        model = self._files.whole(policy) if is_pushed else self._base(policy, merged=True)
        if not self._server.start(str(model), 0) and is_pushed:
            body = {"method": "reload_weights", "kwargs": {"weights_path": str(model)}}
            self._tell("/collective_rpc", body)
            # What it remembers of prompts was computed with other weights.
            if self._tell("/reset_prefix_cache") == {"success": False}:
                raise ServerAway("it does not forget what it computed with earlier weights (/reset_prefix_cache)")
        self._model = self._look()

    def _push_adapter(self, policy: Policy) -> None:
        """The adapters alone, under a name that was not used before, so that nothing remembered of others is taken for theirs."""
        rank = adapter_rank(policy)
        if self._server.start(str(self._base(policy, merged=False)), rank):
            self._adapter = None
        self._look()
        directory, before = self._files.adapter(policy), self._adapter
        name = f"ponder-{derive_seed(str(directory)):x}"
        self._tell("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(directory)})
        self._model = self._adapter = name
        if before is not None:
            self._tell("/v1/unload_lora_adapter", {"lora_name": before})

    def _base(self, policy: Policy, merged: bool) -> Path | str:
        """What a server that the run starts loads, when it is not handed all weights."""
        if self._config.url or self._config.model:
            return self._config.model or ""
        return self._files.whole(policy) if merged else self._files.base(policy)

    @property
    def _files(self) -> Exchange:
        if self._exchange is None:
            self._exchange = Exchange(self._config.exchange)
        return self._exchange

    def _look(self) -> str:
        """The name of the model that the server serves; notes how long a text it reads."""
        answer = request(self._server.url, "GET", "/v1/models")
        try:
            model = answer["data"][0]
            self.context = model.get("max_model_len")
            return str(model["id"])
        except (TypeError, KeyError, IndexError, AttributeError):
            raise ServerAway(f"/v1/models names no model: {str(answer)[:200]}") from None

    def _tell(self, path: str, body: object = None) -> Any:
        return request(self._server.url, "POST", path, body, self._config.start_seconds)

    def _check(self, policy: Policy, prompts: Sequence[PromptTokens]) -> None:
        """Compare the log-probabilities of a few tokens, drawn without truncation at the sampling temperature."""
        temperature = self._config.temperature or 1.0
        drawing = {"temperature": temperature, "top_p": 1.0, "top_k": 0}
        for prompt in list(dict.fromkeys(prompts))[:CHECKED_PROMPTS]:
            limit = min(
                prompt.room,
                CHECKED_TOKENS,
                (self.context or prompt.room + len(prompt.token_ids)) - len(prompt.token_ids),
            )
            if limit < 1:
                continue
            said = self.ask(prompt, limit, policy.tokenizer.eos_token_id, drawing, derive_seed("check", policy.version))
            self._compare(said, _trainers_logprobs(policy, prompt, said.token_ids, temperature))

    def _compare(self, said: Said, expected: Sequence[float]) -> None:
        gap, theirs, ours = max(
            (abs(theirs - ours), theirs, ours) for theirs, ours in zip(said.logprobs, expected, strict=True)
        )
        self.counted["vllm_gap"] = max(gap, self.counted.get("vllm_gap", 0.0))
        if gap > self._config.max_gap:
            raise StageError(
                f"after the policy was handed over, vLLM's log-probability of a token is {theirs:.4g} and the trainer's {ours:.4g}, "
                f"{gap:.3g} nats apart (max_gap is {self._config.max_gap:g}): completions would be another policy's. A server that "
                "serves another model, or computes in another precision (`engine: {dtype: float32}`), does so; at a temperature other "
                "than 0 and 1 a running server needs --logprobs-mode processed_logprobs"
            )

    def _count(self, name: str) -> None:
        self.counted[name] = self.counted.get(name, 0) + 1


def _said(answer: Any, limit: int) -> Said:
    try:
        [choice] = answer["choices"]
        token_ids, logprobs = choice["token_ids"], choice["logprobs"]["token_logprobs"]
        said = Said([int(token) for token in token_ids], [float(value) for value in logprobs])
    except (TypeError, KeyError, ValueError):
        raise ServerAway(f"an answer that is no completion with token ids: {str(answer)[:200]}") from None
    if not 0 < len(said.token_ids) <= limit or len(said.token_ids) != len(said.logprobs):
        raise ServerAway(f"{len(said.token_ids)} tokens and {len(said.logprobs)} log-probabilities of {limit}")
    return said


def _trainers_logprobs(
    policy: Policy, prompt: PromptTokens, token_ids: Sequence[int], temperature: float
) -> list[float]:
    read = torch.tensor([[*prompt.token_ids, *token_ids]], device=policy.model.device)
    with sampling_mode(policy.model):
        logits = policy.model(input_ids=read, use_cache=False).logits[0, len(prompt.token_ids) - 1 : -1]
        logprobs = token_logprobs(logits, read[0, len(prompt.token_ids) :], temperature)
    if not bool(logprobs.isfinite().all()):
        raise not_finite()
    found: list[float] = logprobs.tolist()
    return found
