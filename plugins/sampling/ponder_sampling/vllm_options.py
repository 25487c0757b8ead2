"""The options of the sampler `vllm`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from ponder_sampling.sampling_options import SamplingConfig

COLDEST = 0.01
"""vLLM takes a lower temperature for this one."""
_RUNS_CODE = (
    *(
        "trust_remote_code",
        "worker_",
        "tool_parser_plugin",
        "reasoning_parser_plugin",
        "logits_processors",
        "middleware",
    ),
    *(
        "scheduler_cls",
        "model_impl",
        "load_format",
        "allowed_",
        "lora_modules",
        "config",
        "chat_template",
        "ssl_",
        "uds",
    ),
    *(
        "model",
        "tokenizer",
        "hf_",
        "code_revision",
        "host",
        "port",
        "api_key",
        "root_path",
        "kv_transfer",
        "additional_config",
    ),
)
"""What arguments of the server begin with that a recipe may not give: recipes come from anywhere."""


@dataclass(frozen=True, kw_only=True)
class VllmConfig(SamplingConfig):
    """Sample with a vLLM server: one that runs, or one that the run starts and stops.

    The policy's weights are handed to it through files, whenever an optimizer step has changed them, and its
    log-probabilities are then compared with the trainer's.
    """

    example: ClassVar[Mapping[str, object]] = {"engine": {"max_model_len": 2048}}

    url: str | None = None
    """A running server, such as http://localhost:8000. It must have been started with VLLM_SERVER_DEV_MODE=1 (`push: weights`) or
    VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora (`push: adapter`). When absent, the run starts one: with the program and first arguments in the environment variable PONDER_VLLM_COMMAND,
    or else with vLLM from the run's own environment. A recipe names no programs."""
    engine: dict[str, Any] = field(default_factory=dict)
    """More of the server's arguments, such as {max_model_len: 4096, gpu_memory_utilization: 0.5, enforce_eager: true}."""
    environment: dict[str, str] = field(default_factory=dict)
    """More of the server's environment: vLLM's own variables, such as {VLLM_CPU_KVCACHE_SPACE: "4"}."""
    model: str | None = None
    """What the server loads at its start, with `push: adapter` or `never`; the policy without its adapters, or with them, when absent."""
    push: Literal["weights", "adapter", "never"] = "weights"
    """What the server is given when the policy has changed. weights: all of them, adapters merged into them, buffers included.
    adapter: the LoRA adapters alone. never: nothing, it serves the policy as it is."""
    exchange: str | None = None
    """Directory for the files that carry weights, which the server sees under the same path; a temporary one when absent."""
    concurrency: int = 64
    """Requests under way at once; the server batches them."""
    start_seconds: float = 600.0
    """How long a server may take to start."""
    request_seconds: float = 600.0
    """How long an answer may take; then the server counts as dead."""
    patience_seconds: float = 300.0
    """How long a running server that was given by `url` may be away before the stage ends."""
    restarts: int = 3
    """How often in a run a server that the run started is started again after it died or did not answer."""
    max_gap: float = 0.5
    """The stage ends when, after weights were handed over, the server's log-probability of some token is further than this from the
    trainer's, in nats."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.url is not None:
            self._check_url(self.url)
        if 0 < self.temperature < COLDEST:
            raise ValueError(f"temperature must be 0 or at least {COLDEST} with vLLM, not {self.temperature}")
        for name in ("concurrency", "start_seconds", "request_seconds", "patience_seconds", "max_gap"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.restarts < 0:
            raise ValueError(f"restarts must be 0 or more, not {self.restarts}")
        self._check_harmless()

    def _check_harmless(self) -> None:
        for name in self.environment:
            if not re.fullmatch(r"VLLM_[A-Z0-9_]+", name):
                raise ValueError(f"environment may hold vLLM's own variables (VLLM_...), not {name}")
        for name in self.engine:
            if name.lstrip("-").replace("-", "_").replace(".", "_").startswith(_RUNS_CODE):
                raise ValueError(
                    f"engine.{name} has vLLM load code or files that a recipe names, or is set by ponder: start a server "
                    "with it yourself, and give its url"
                )

    def _check_url(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError(f"url must be like http://localhost:8000, without a user name, not {url!r}")
        own = [name for name in ("engine", "environment", "model") if getattr(self, name)]
        if own:
            raise ValueError(f"{own[0]} is for a server that the run starts: leave it out, or leave out url")
