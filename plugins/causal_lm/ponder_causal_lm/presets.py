"""Small students in the two architectures of the paper's distillation."""

from __future__ import annotations

from transformers import LlamaConfig, PreTrainedConfig, Qwen2Config


def preset(name: str, vocab_size: int) -> PreTrainedConfig:
    """The configuration of a preset such as `qwen2_mini`."""
    family, _, size = name.partition("_")
    sizes = {"tiny": TINY, "mini": MINI}[size]
    if family == "qwen2":
        # Tied like Qwen2.5's smallest, with biases on queries, keys and values.
        return Qwen2Config(vocab_size=vocab_size, tie_word_embeddings=True, **sizes)
    return LlamaConfig(vocab_size=vocab_size, tie_word_embeddings=False, **sizes)


TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "initializer_range": 0.08,
}

MINI = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 344,
    "max_position_embeddings": 512,
    "initializer_range": 0.05,
}
