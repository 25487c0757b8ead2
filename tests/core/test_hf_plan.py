from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    DeepseekV2Config,
    DeepseekV3Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from ponder.errors import InputError
from ponder.footprints import Attention
from ponder.hf_plan import ModelFootprint
from ponder.published import PUBLICATIONS
from ponder.testing.hf_memory import most_allocated

SMALL: dict[str, Any] = {
    "vocab_size": 600,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 160,
}
MIXTURE: dict[str, Any] = {
    **SMALL,
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 32,
    "q_lora_rank": None,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
V2 = DeepseekV2Config(
    hidden_size=5120,
    intermediate_size=12288,
    num_hidden_layers=60,
    num_attention_heads=128,
    n_routed_experts=160,
    num_experts_per_tok=6,
    moe_intermediate_size=1536,
    first_k_dense_replace=1,
)
V2_LITE = DeepseekV2Config(
    hidden_size=2048,
    intermediate_size=10944,
    num_hidden_layers=27,
    num_attention_heads=16,
    q_lora_rank=None,
    n_routed_experts=64,
    num_experts_per_tok=6,
    moe_intermediate_size=1408,
    first_k_dense_replace=1,
)


def test_deepseek_v3_is_counted_as_published() -> None:
    sizes = ModelFootprint(DeepseekV3Config()).sizes

    assert sizes.parameters == 671_026_404_352
    assert sizes.active == 36_625_603_584
    assert sizes.multiplied == 36_624_596_992
    assert 2 * sizes.cached_values == 70_272
    assert round(sizes.training(4096) / 1e9, 2) == 250.45
    assert round(sizes.forward(4096) / 1e9, 2) == 83.48
    assert PUBLICATIONS[sizes.parameters].model == "DeepSeek-V3"


@pytest.mark.parametrize(
    ("config", "parameters", "active", "cached"),
    [(V2, 235_741_434_880, 20.85, 34_560), (V2_LITE, 15_706_484_224, 2.451, 15_552)],
    ids=["V2", "V2-Lite"],
)
def test_its_predecessors_are_counted_as_published(
    config: PreTrainedConfig, parameters: int, active: float, cached: int
) -> None:
    sizes = ModelFootprint(config).sizes

    assert (sizes.parameters, sizes.cached_values) == (parameters, cached)
    assert sizes.active / 1e9 == pytest.approx(active, rel=5e-4)
    assert parameters in PUBLICATIONS


def test_deepseek_v2_takes_the_published_operations_for_a_token() -> None:
    assert ModelFootprint(V2).sizes.training(4096) / 1e9 == pytest.approx(155, abs=0.5)


def test_grouped_queries_are_cached_as_published_for_llama_405b() -> None:
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=16_384,
        intermediate_size=53_248,
        num_hidden_layers=126,
        num_attention_heads=128,
        num_key_value_heads=8,
    )
    sizes = ModelFootprint(config).sizes

    assert 2 * sizes.cached_values == 516_096
    assert sizes.training(4096) / 1e9 == pytest.approx(2448, rel=0.015)


def test_a_window_bounds_what_a_token_attends_to() -> None:
    windowed, whole = Attention(1, 1, 1, window=64), Attention(1, 1, 1)

    assert windowed.attended(64) == whole.attended(64) == 32
    assert windowed.attended(128) == 48
    assert ModelFootprint(MistralConfig(**SMALL, sliding_window=32)).sizes.attention[0].window == 32


@pytest.mark.parametrize("tie", [True, False])
def test_a_tied_head_is_counted_once_and_is_active(tie: bool) -> None:
    sizes = ModelFootprint(Qwen2Config(**SMALL, tie_word_embeddings=tie)).sizes
    embedding = SMALL["vocab_size"] * SMALL["hidden_size"]

    assert sizes.parameters - sizes.active == (0 if tie else embedding)


@pytest.mark.parametrize(
    "config",
    [Qwen2Config(**SMALL, tie_word_embeddings=True), LlamaConfig(**SMALL), DeepseekV3Config(**MIXTURE)],
    ids=["qwen", "llama", "deepseek"],
)
def test_the_memory_of_a_step_is_within_a_tenth_of_what_the_allocator_hands_out(config: PreTrainedConfig) -> None:
    traced = ModelFootprint(config).step(8, 96, value_bytes=4, kernels="cpu")

    assert traced.peak == pytest.approx(most_allocated(training_step(config, 8, 96)), rel=0.1)


def training_step(config: PreTrainedConfig, rows: int, length: int) -> Callable[[], None]:
    model = AutoModelForCausalLM.from_config(config).train()
    if hasattr(config, "n_routed_experts"):
        model.set_experts_implementation("grouped_mm")
    tokens = torch.randint(config.vocab_size, (rows, length))

    def step() -> None:
        logits = model(input_ids=tokens, use_cache=False).logits
        F.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten()).backward()
        model.zero_grad(set_to_none=True)

    # What is made once, such as tables of positions, is no part of a step.
    step()
    return step


def test_layers_that_are_added_up_come_to_what_all_of_them_hold() -> None:
    deep = DeepseekV3Config(**{**MIXTURE, "num_hidden_layers": 9, "first_k_dense_replace": 3})
    added = ModelFootprint(deep).step(4, 64, value_bytes=4, kernels="cpu")

    assert added.peak == pytest.approx(most_allocated(training_step(deep, 4, 64)), rel=0.1)


def test_narrower_numbers_hold_less_and_a_gpu_keeps_no_scores() -> None:
    unequal = DeepseekV3Config(**{**MIXTURE, "v_head_dim": 12})
    footprint = ModelFootprint(unequal)
    cpu = footprint.step(4, 128, value_bytes=4, kernels="cpu").peak
    gpu = footprint.step(4, 128, value_bytes=4, kernels="gpu").peak

    assert footprint.step(4, 128, value_bytes=2, kernels="gpu").peak < gpu < cpu


def test_no_weights_are_allocated() -> None:
    footprint = ModelFootprint(DeepseekV3Config())
    footprint.step(1, 4096, value_bytes=2, kernels="gpu")

    assert all(parameter.is_meta for parameter in footprint._model.parameters())


def test_a_model_that_does_not_attend_is_counted_too() -> None:
    config = MambaConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, state_size=4)
    sizes = ModelFootprint(config).sizes

    assert sizes.attention == () and sizes.cached_values == 0
    assert sizes.training(64) == 6 * sizes.multiplied


def test_a_model_that_cannot_be_traced_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise NotImplementedError("aten::nonzero")

    monkeypatch.setattr("ponder.hf_plan.step_memory", fail)
    with pytest.raises(InputError, match=r"Qwen2ForCausalLM .* cannot be traced: aten::nonzero"):
        ModelFootprint(Qwen2Config(**SMALL)).step(1, 8, value_bytes=4, kernels="cpu")
