"""Adapters: trained, left out, saved merged or alone, and gone on with; in full precision and over quantised weights."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ponder.errors import InputError
from ponder.hf import TrainingState, adamw, merged_model, optimizer_of
from ponder.hf_quantised import is_quantised
from ponder_causal_lm import CausalLMConfig
from ponder_causal_lm.policy import CausalLMPolicy

TOKENS = torch.arange(40).view(2, 20)
ARCHITECTURES = pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama2", "llama3"])
TWO = pytest.mark.parametrize("name", ["qwen2", "llama3"])
BITS = pytest.mark.parametrize("bits", [4, 8])
KINDS = {"lora": {"r": 4}, "dora": {"r": 4, "use_dora": True}, "queries": {"r": 2, "target_modules": ["q_proj"]}}


def policy(path: str, checkpoint: Path | None = None, lora=KINDS["lora"], **options: object) -> CausalLMPolicy:
    return CausalLMPolicy(CausalLMConfig(path=path, lora=lora, **options), checkpoint=checkpoint, seed=1)


def trained(made: CausalLMPolicy, seed: int = 2) -> CausalLMPolicy:
    """Every adapter moved away from where it was."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if "lora_B" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made


@torch.no_grad()
def logits(made) -> torch.Tensor:
    return (made.model if isinstance(made, CausalLMPolicy) else made)(TOKENS).logits


def gradients(made: CausalLMPolicy) -> dict[str, torch.Tensor]:
    made.model.zero_grad()
    made.model.train()
    made.model(TOKENS, labels=TOKENS).loss.backward()
    return {name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None}


@ARCHITECTURES
def test_new_adapters_are_in_every_linear_layer_and_change_nothing(pretrained, name):
    made, plain = policy(pretrained(name)), CausalLMPolicy(CausalLMConfig(path=pretrained(name)))
    names = {n for n, p in made.model.named_parameters() if p.requires_grad}
    assert len(names) == 2 * 2 * 7 and all("lora_" in n for n in names)
    torch.testing.assert_close(logits(made), logits(plain), rtol=0, atol=1e-6)


@ARCHITECTURES
@pytest.mark.parametrize("kind", list(KINDS))
def test_merged_and_saved_the_logits_are_equal_in_plain_transformers(pretrained, tmp_path, name, kind):
    made = trained(policy(pretrained(name), lora=KINDS[kind]))
    before = logits(made)
    made.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not any("lora" in n for n, _ in plain.named_parameters())
    torch.testing.assert_close(logits(plain), before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(policy(pretrained(name), tmp_path)), before, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits(made), before)


@ARCHITECTURES
@pytest.mark.parametrize("kind", list(KINDS))
def test_saved_alone_adapters_are_small_and_find_their_model(pretrained, tmp_path, name, kind):
    made = trained(policy(pretrained(name), lora=KINDS[kind], save_adapters="alone"))
    before = logits(made)
    made.save(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    again = policy(pretrained(name), tmp_path, lora=KINDS[kind], save_adapters="alone")
    assert torch.equal(logits(again), before)
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), before, rtol=0, atol=1e-6)
    base = AutoModelForCausalLM.from_pretrained(pretrained(name))
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base, tmp_path)), before, rtol=0, atol=1e-6)
    text = "<think> 17 + 25 </think>"
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == made.tokenizer(text)["input_ids"]


def test_what_is_saved_alone_is_the_same_file_twice(pretrained, tmp_path):
    made = trained(policy(pretrained("qwen2"), save_adapters="alone"))
    for name in ("one", "two"):
        made.save(tmp_path / name)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    targets = json.loads((tmp_path / "one/adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets)


@TWO
def test_without_adapters_it_is_what_this_stage_began_with(pretrained, tmp_path, name):
    base = logits(CausalLMPolicy(CausalLMConfig(path=pretrained(name))))
    made = trained(policy(pretrained(name), save_adapters="alone"))
    with made.without_adapters():
        torch.testing.assert_close(logits(made), base, rtol=0, atol=1e-6)
    made.save(tmp_path)
    second = policy(pretrained(name), tmp_path, save_adapters="alone")
    start = logits(second)
    after = logits(trained(second, seed=3))
    with second.without_adapters():
        assert torch.equal(logits(second), start)
    assert torch.equal(logits(second), after) and not torch.equal(after, start)


def test_adapters_that_a_path_names_are_merged_where_the_recipe_has_none(pretrained, tmp_path):
    made = trained(policy(pretrained("llama3"), lora=KINDS["dora"], save_adapters="alone"))
    made.save(tmp_path)
    loaded = CausalLMPolicy(CausalLMConfig(path=str(tmp_path)))
    torch.testing.assert_close(logits(loaded), logits(made), rtol=1e-5, atol=1e-5)
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.without_adapters() is None


def test_a_new_model_is_trained_whole_and_then_with_adapters(tmp_path):
    config = CausalLMConfig(preset="qwen2_tiny", lora={"r": 2}, save_adapters="alone")
    new = CausalLMPolicy(config)
    assert new.without_adapters() is None and all(p.requires_grad for p in new.model.parameters())
    new.save(tmp_path / "whole")
    second = trained(CausalLMPolicy(config, checkpoint=tmp_path / "whole"))
    second.save(tmp_path / "adapted")
    assert torch.equal(logits(CausalLMPolicy(config, checkpoint=tmp_path / "adapted")), logits(second))


def test_adapters_without_their_model_say_where_it_was(pretrained, tmp_path):
    policy(pretrained("qwen2"), save_adapters="alone").save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/gone/model"}))
    with pytest.raises(InputError, match=r"the model that they belong to is not at /gone/model"):
        policy(pretrained("qwen2"), tmp_path, save_adapters="alone")


@pytest.mark.parametrize("lora", [{"r": 8}, {"r": 4, "target_modules": ["q_proj"]}], ids=["rank", "targets"])
def test_adapters_of_another_shape_are_refused(pretrained, tmp_path, lora):
    policy(pretrained("qwen2"), save_adapters="alone").save(tmp_path)
    with pytest.raises(InputError, match=r"adapters .*`lora`"):
        policy(pretrained("qwen2"), tmp_path, lora=lora, save_adapters="alone")


def test_a_target_that_is_not_there_is_refused_and_those_that_are_named(pretrained):
    with pytest.raises(
        InputError, match=r"lora.target_modules: nothing in the model is called 'w1'; .*self_attn.q_proj"
    ):
        policy(pretrained("qwen2"), lora={"target_modules": ["w1"]})


def test_adapters_over_bfloat16_are_in_float32(pretrained):
    made = policy(pretrained("llama3"), dtype="bfloat16")
    assert {p.dtype for p in made.model.parameters() if p.requires_grad} == {torch.float32}
    assert made.model.lm_head.weight.dtype == torch.bfloat16
    assert logits(made).dtype == torch.bfloat16


@TWO
@BITS
def test_quantised_weights_are_the_same_after_saving_and_loading(pretrained, tmp_path, name, bits):
    made = trained(policy(pretrained(name), **{f"load_in_{bits}bit": True}))
    assert is_quantised(made.model)
    before = logits(made)
    made.save(tmp_path)
    assert not (tmp_path / "model.safetensors").exists(), "adapters alone: merging would round"
    again = policy(pretrained(name), tmp_path, **{f"load_in_{bits}bit": True})
    assert is_quantised(again.model)
    assert torch.equal(logits(again), before)


@TWO
@pytest.mark.parametrize(("bits", "kind"), [(4, "lora"), (4, "dora"), (8, "lora")])
def test_merged_over_quantised_weights_is_what_they_compute_with(pretrained, tmp_path, name, bits, kind):
    made = trained(policy(pretrained(name), lora=KINDS[kind], save_adapters="merged", **{f"load_in_{bits}bit": True}))
    made.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not is_quantised(plain) and "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    # In 8 bits activations are rounded, too, which plain weights do not do.
    tolerance = 1e-4 if bits == 4 else 0.15
    torch.testing.assert_close(logits(plain), logits(made), rtol=0, atol=tolerance)


@BITS
def test_a_forward_pass_in_evaluation_mode_leaves_gradients_as_they_were(pretrained, bits, monkeypatch):
    # On processors that have it, bitsandbytes would repack weights in evaluation mode.
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    made = trained(policy(pretrained("llama3"), **{f"load_in_{bits}bit": True}))
    before = gradients(made)
    made.model.eval()
    logits(made)
    with torch.inference_mode():
        made.model.generate(TOKENS, max_new_tokens=3, do_sample=False)
    after = gradients(made)
    assert before and all(torch.equal(before[name], after[name]) for name in before)


def test_gradients_over_quantised_weights_are_those_over_the_unpacked_ones(pretrained):
    made = trained(policy(pretrained("qwen2"), load_in_4bit=True))
    whole = made.merged()
    torch.testing.assert_close(made.model(TOKENS, labels=TOKENS).loss, whole(TOKENS, labels=TOKENS).loss)


def steps(made: CausalLMPolicy, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        gradients(made)
        optimizer.step()
        made.version += 1


@pytest.mark.parametrize(
    "options",
    [{}, {"load_in_4bit": True}, {"load_in_8bit": True}, {"optimizer": "adamw_8bit"}],
    ids=["lora", "4bit", "8bit", "adamw_8bit"],
)
def test_training_goes_on_from_a_small_checkpoint_to_the_bit(pretrained, tmp_path, options):
    # Large enough for moments in 8 bits, which bitsandbytes has from 4,096 numbers on.
    lora = {"r": 64}
    straight, resumed = (policy(pretrained("llama3"), lora=lora, **options) for _ in range(2))
    optimizer = optimizer_of(straight, 1e-2, (0.9, 0.95), 0.1)
    steps(straight, optimizer, 2)
    TrainingState(straight, optimizer).save(tmp_path)
    steps(straight, optimizer, 2)
    other = optimizer_of(resumed, 1e-2, (0.9, 0.95), 0.1)
    TrainingState(resumed, other).load(tmp_path)
    steps(resumed, other, 2)

    saved = load_file(tmp_path / "model.safetensors")
    assert saved and all("lora_" in name for name in saved)
    moments = load_file(tmp_path / "optimizer.safetensors").values()
    assert any(m.dtype == torch.uint8 for m in moments) == ("optimizer" in options)
    kept = dict(resumed.model.named_parameters())
    assert resumed.version == 4
    assert all(torch.equal(p, kept[n]) for n, p in straight.model.named_parameters())


def test_a_whole_model_trains_with_moments_in_8_bits(pretrained, tmp_path):
    made = CausalLMPolicy(CausalLMConfig(path=pretrained("qwen2"), optimizer="adamw_8bit"))
    before = made.model(TOKENS, labels=TOKENS).loss.item()
    steps(made, optimizer_of(made, 1e-3, (0.9, 0.95), 0.0), 3)
    assert made.model(TOKENS, labels=TOKENS).loss.item() < before


def test_a_policy_without_adapters_is_its_own_merged_model(pretrained):
    made = CausalLMPolicy(CausalLMConfig(path=pretrained("qwen2")))
    assert merged_model(made) is made.model
    assert isinstance(optimizer_of(made, 1e-3, (0.9, 0.95), 0.1), type(adamw(made.model, 1e-3)))


@pytest.mark.parametrize("name", ["qwen2", "llama3"])
def test_tags_become_tokens_that_adapters_train_and_merging_keeps(pretrained, tmp_path, name, caplog):
    path = pretrained(name)
    with caplog.at_level(logging.WARNING, "ponder"):
        made = policy(path, tags="tokens", save_adapters="merged")
    new = [made.tokenizer.convert_tokens_to_ids(tag) for tag in ("<think>", "</answer>")]
    assert all(len(made.tokenizer.tokenize(tag)) == 1 for tag in ("<think>", "</think>", "<answer>", "</answer>"))
    assert ("rows for new tokens" in caplog.text) == (name == "llama3"), "Qwen's tokenizer here has them"
    ids = torch.tensor([[1, *new, 5]])
    optimizer = adamw(made.model, 1e-2)
    made.model(ids, labels=ids).loss.backward()
    optimizer.step()
    made.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, made.model(ids).logits, rtol=1e-5, atol=1e-5)
    before = CausalLMPolicy(CausalLMConfig(path=path, tags="tokens")).model.get_input_embeddings().weight
    moved = (plain.get_input_embeddings().weight - before).abs().sum(1).nonzero().flatten().tolist()
    assert (
        set(new)
        <= set(moved)
        <= {made.tokenizer.convert_tokens_to_ids(t) for t in made.tokenizer.get_vocab() if t[:1] == "<"}
    )
