from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from ponder.errors import InputError
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.policy import DeepseekPolicy

TOKENS = torch.arange(40).view(2, 20)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base")
    DeepseekPolicy(DeepseekConfig(preset="tiny"), seed=1).save(directory)
    return directory


def adapted(base: Path, **lora: Any) -> DeepseekPolicy:
    return DeepseekPolicy(DeepseekConfig(preset="tiny", lora={"r": 4, **lora}), checkpoint=base)


def trained(policy: DeepseekPolicy) -> DeepseekPolicy:
    """Every adapter moved away from adding nothing."""
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(2))
    return policy


@torch.no_grad()
def logits(policy: DeepseekPolicy) -> torch.Tensor:
    return policy.model(TOKENS).logits


EVERYWHERE = {
    "target_modules": ["kv_b_proj", "o_proj", "q_proj", "kv_a_proj_with_mqa"],
    "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
}


def test_adapters_go_into_the_experts_alone_and_change_nothing_at_first(base: Path) -> None:
    policy = adapted(base)
    names = [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad]

    assert names and all(".experts." in name and "lora_" in name for name in names)
    torch.testing.assert_close(
        logits(policy), logits(DeepseekPolicy(DeepseekConfig(preset="tiny"), checkpoint=base)), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("lora", [{}, EVERYWHERE], ids=["experts", "everywhere"])
def test_a_trained_policy_is_merged_saved_and_loaded_with_equal_logits(
    base: Path, tmp_path: Path, lora: dict[str, Any]
) -> None:
    policy = trained(adapted(base, **lora))
    before = logits(policy)
    policy.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)

    assert not any("lora" in name for name, _ in plain.named_parameters())
    torch.testing.assert_close(plain(TOKENS).logits.detach(), before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(adapted(tmp_path, **lora)), before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(policy), before, rtol=0, atol=0)


def test_without_its_adapters_a_policy_is_the_one_that_it_began_as(base: Path) -> None:
    policy = adapted(base)
    before = logits(policy)
    after = logits(trained(policy))
    leave_out = policy.without_adapters()
    assert leave_out is not None
    with leave_out:
        torch.testing.assert_close(logits(policy), before, rtol=0, atol=1e-6)

    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(logits(policy), after, rtol=0, atol=0)


def test_a_new_model_is_trained_whole() -> None:
    policy = DeepseekPolicy(DeepseekConfig(preset="tiny", lora={"r": 4}))

    assert policy.without_adapters() is None
    assert all(parameter.requires_grad for parameter in policy.model.parameters())


@torch.no_grad()
def test_the_fast_decoder_counts_adapters_of_attention_and_experts(base: Path) -> None:
    policy = trained(adapted(base, **EVERYWHERE))
    decoder = policy.decoder()
    assert decoder is not None
    first = decoder.prefill(TOKENS[:, :10], torch.tensor([10, 10]), 4)
    second = decoder.step(TOKENS[:, 10])
    wanted = logits(policy)

    torch.testing.assert_close(first, wanted[:, 9], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(second, wanted[:, 10], rtol=1e-4, atol=1e-5)


def test_below_adapters_that_do_more_than_add_the_model_decodes_itself(base: Path) -> None:
    assert adapted(base, target_modules=["o_proj"]).decoder() is not None
    assert adapted(base, target_modules=["o_proj"], use_dora=True).decoder() is None


@pytest.mark.parametrize("option", ["target_modules", "target_parameters"])
def test_a_target_that_is_not_there_is_refused_and_those_that_are_named(base: Path, option: str) -> None:
    with pytest.raises(InputError, match=f"lora.{option}: nothing in the model is called 'w1'; there are .*proj"):
        adapted(base, **{option: ["w1"]})


def test_options_that_peft_refuses_are_bad_input(base: Path) -> None:
    with pytest.raises(InputError, match="lora: peft refuses"):
        adapted(base, lora_dropout=0.5)


def test_options_that_peft_refuses_are_found_before_a_new_model_is_trained_whole() -> None:
    options = {"target_modules": "all-linear", "layers_to_transform": 1}
    with pytest.raises(InputError, match=r"lora: peft refuses .*layers_to_transform"):
        DeepseekPolicy(DeepseekConfig(preset="tiny", lora=options))


def test_planning_counts_adapters_as_what_is_trained() -> None:
    sizes = DeepseekConfig(preset="tiny", lora={"r": 4}).footprint().sizes
    whole = DeepseekConfig(preset="tiny").footprint().sizes

    assert sizes.trainable == sizes.parameters - whole.parameters > 0
    assert sizes.training(128) < whole.training(128)
