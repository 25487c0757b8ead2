"""Small pretrained models of the architectures that people come with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, Qwen2Config, Qwen3Config

from ponder_causal_lm.templates import chat_templates
from ponder_causal_lm.tokenizer import LLAMA, QWEN, make_tokenizer

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 256,
    "initializer_range": 0.08,
}


def configuration(name: str, tokens: int) -> PreTrainedConfig:
    """Qwen 2.5 and 3 and Llama 3 as published but for sizes; Llama 2 attends with as many keys as queries."""
    if name == "qwen2":
        return Qwen2Config(vocab_size=tokens, tie_word_embeddings=True, **SIZES)
    if name == "qwen3":
        return Qwen3Config(vocab_size=tokens, tie_word_embeddings=True, head_dim=16, **SIZES)
    if name == "llama2":
        return LlamaConfig(vocab_size=tokens, tie_word_embeddings=False, **{**SIZES, "num_key_value_heads": 4})
    scaling = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 64
    return LlamaConfig(vocab_size=tokens, tie_word_embeddings=False, rope_parameters=scaling, **SIZES)


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory):
    """Where a model of an architecture lies, with a tokenizer of its own."""
    root = tmp_path_factory.mktemp("pretrained")

    def path(name: str) -> str:
        directory: Path = root / name
        if not directory.exists():
            tokenizer = make_tokenizer(QWEN if name.startswith("qwen") else LLAMA, (), 300)
            tokenizer.chat_template = chat_templates(tokenizer)["r1_zero"]
            config = configuration(name, len(tokenizer))
            config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
            torch.manual_seed(1)
            AutoModelForCausalLM.from_config(config).save_pretrained(directory)
            tokenizer.save_pretrained(directory)
        return str(directory)

    return path
