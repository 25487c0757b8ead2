"""Tiny policies of three architectures, with a byte-level tokenizer made in code, and recipes run in a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
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

from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe

TURNS = "{%- for message in messages -%}<|{{ message.role }}|>{{ message.content }}{%- endfor -%}"
PLAIN = TURNS + "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
THINKING = TURNS + "{%- if add_generation_prompt -%}{{- '<|assistant|><think>\\n' -}}{%- endif -%}"


def byte_tokenizer(tags=("<think>", "</think>"), pad_token="<pad>"):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<eos>", "<pad>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in tags])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token=pad_token, clean_up_tokenization_spaces=False
    )
    made.chat_template = PLAIN
    return made


SIZES = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
EXPERTS = {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": None,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}


def make_model(architecture: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if architecture == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**SIZES))
    if architecture == "llama":
        return LlamaForCausalLM(LlamaConfig(**SIZES))
    return DeepseekV3ForCausalLM(DeepseekV3Config(**{**SIZES, **EXPERTS}))


@dataclass
class TinyPolicy:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast = field(default_factory=byte_tokenizer)
    version: int = 0

    def save(self, directory: Path) -> None:
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


@pytest.fixture
def tokenizer():
    return byte_tokenizer()


@pytest.fixture
def thinking_tokenizer():
    made = byte_tokenizer()
    made.chat_template = THINKING
    return made


@pytest.fixture(params=["qwen2", "llama", "deepseek"])
def tiny_policy(request):
    return TinyPolicy(make_model(request.param))


def sums(count):
    """Rows of different lengths."""
    rows = []
    for i in range(count):
        question = f"{i}+{i * i}?" if i % 3 else f"{i} + {i * i} is how much?"
        thought = f"<think>\n{i}+{i * i}={i + i * i}\n</think>\n\n"
        rows.append({"prompt": question, "answer": str(i + i * i), "response": f"{thought}\\boxed{{{i + i * i}}}"})
    return rows


@pytest.fixture
def write_rows(tmp_path):
    def write(rows, name="rows.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return write


@pytest.fixture
def run_sft(tmp_path, write_rows):
    """Runs a recipe of one stage `sft`, by default on 22 sums, and returns the stage's directory."""

    def run(runs="runs", *, rows=None, options="", policy="{type: deepseek, preset: tiny, chat_template: r1}", seed=0):
        write_rows(sums(22) if rows is None else rows)
        (tmp_path / "small.yaml").write_text(
            f"seed: {seed}\n"
            f"policies: {{base: {policy}}}\n"
            "tasks: {rows: {type: jsonl, path: rows.jsonl, as_chat: true}}\n"
            f"stages: {{sft: {{type: sft, policy: base, task: rows, batch_size: 8, learning_rate: 1.0e-2{options}}}}}\n"
        )
        registry = load_registry()
        with torch.random.fork_rng():
            recipe = load_recipe(tmp_path / "small.yaml", [], registry)
            outcome = run_recipe(recipe, registry, tmp_path / runs, Display())
        return outcome.stages[0].directory

    return run
