"""Tiny policies made in code, and a decoder that only counts."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

CONTEXT = 64


@dataclass
class TinyPolicy:
    """A model and a tokenizer, without a decoder of their own."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    version: int = 3

    def save(self, directory: Path) -> None:
        self.model.save_pretrained(directory)


@dataclass
class ScriptedDecoder:
    """Says each prompt's script, given by the prompt's first token, and notes how many rows it was asked for."""

    scripts: dict[int, list[int]]
    vocabulary: int
    prefilled: list[int] = field(default_factory=list)
    stepped: list[int] = field(default_factory=list)
    capacity: int = 0

    def prefill(self, input_ids: Tensor, lengths: Tensor, capacity: int) -> Tensor:
        self.prefilled.append(len(input_ids))
        self.capacity = capacity
        self._prompts, self._said = input_ids[:, 0], 0
        return self._logits()

    def select(self, rows: Tensor) -> None:
        self._prompts = self._prompts[rows]

    def step(self, tokens: Tensor) -> Tensor:
        assert len(tokens) == len(self._prompts)
        self.stepped.append(len(tokens))
        self._said += 1
        return self._logits()

    def _logits(self) -> Tensor:
        scripts = [self.scripts[int(prompt)] for prompt in self._prompts]
        said = torch.tensor([script[min(self._said, len(script) - 1)] for script in scripts])
        return torch.nn.functional.one_hot(said, self.vocabulary).float() * 100


@dataclass
class ScriptedPolicy(TinyPolicy):
    """A policy that decodes through a `ScriptedDecoder`."""

    script: ScriptedDecoder | None = None

    def decoder(self) -> ScriptedDecoder:
        assert self.script is not None
        return self.script


def _tokenizer(tags_are_special: bool = False) -> PreTrainedTokenizerFast:
    names = ["<pad>", "<eos>", "<bos>", "<think>", "</think>", "<answer>", "</answer>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE({name: i for i, name in enumerate(names + alphabet)}, []))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )
    tokenizer.add_tokens(names[3:], special_tokens=tags_are_special)
    return tokenizer


def _model(architecture: str, vocabulary: int, hidden_size: int = 32) -> PreTrainedModel:
    torch.manual_seed(0)
    common = {
        "vocab_size": vocabulary,
        "hidden_size": hidden_size,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT,
        # Large enough for distributions that are far from uniform.
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
    }
    if architecture == "deepseek_v3":
        latent = {
            "q_lora_rank": None,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
        }
        experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 16}
        groups = {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
        return DeepseekV3ForCausalLM(DeepseekV3Config(**common, **latent, **experts, **groups))
    if architecture == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**common, num_key_value_heads=1))
    if architecture == "qwen2_sliding":
        window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
        return Qwen2ForCausalLM(Qwen2Config(**common, **window, num_key_value_heads=1))
    return LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2))


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    return _tokenizer


@pytest.fixture
def make_policy() -> Callable[..., TinyPolicy]:
    def make(architecture: str = "llama", hidden_size: int = 32) -> TinyPolicy:
        tokenizer = _tokenizer()
        return TinyPolicy(_model(architecture, len(tokenizer), hidden_size), tokenizer)

    return make


@pytest.fixture
def make_scripted() -> Callable[..., ScriptedPolicy]:
    """A policy that answers a prompt beginning with a given letter with a given list of token texts, then ends."""

    def make(answers: dict[str, list[str]]) -> ScriptedPolicy:
        tokenizer = _tokenizer()
        ids = {letter: tokenizer.convert_tokens_to_ids([letter, *texts]) for letter, texts in answers.items()}
        scripts = {first: [*rest, tokenizer.eos_token_id] for first, *rest in ids.values()}
        script = ScriptedDecoder(scripts, len(tokenizer))
        return ScriptedPolicy(_model("llama", len(tokenizer)), tokenizer, script=script)

    return make


@pytest.fixture(scope="session")
def stub_vllm():
    """The module of the server that stands in for vLLM."""
    spec = importlib.util.spec_from_file_location("vllm_stub", Path(__file__).with_name("vllm_stub.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stub(stub_vllm):
    """Such a server in a thread, with its `url`."""
    state = stub_vllm.StubVllm()
    server = state.serve()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def make_uniform(make_policy) -> Callable[..., TinyPolicy]:
    """A policy to which all tokens are equally likely, as they are to the stub."""

    def make(architecture: str = "llama") -> TinyPolicy:
        policy = make_policy(architecture)
        torch.nn.init.zeros_(policy.model.lm_head.weight)
        return policy

    return make
