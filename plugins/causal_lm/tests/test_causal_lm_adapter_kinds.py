"""Adapters of particular kinds: what trains rows of tokens or whole modules beside them, and what is refused before training."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from ponder.building import make_config
from ponder.errors import InputError
from ponder.hf import adamw
from ponder.plugins import load_registry
from ponder_causal_lm import CausalLMConfig
from ponder_causal_lm.policy import CausalLMPolicy

TOKENS = torch.arange(40).view(2, 20)
ENDS = pytest.mark.parametrize("name", ["qwen2", "llama3"], ids=["tied", "untied"])
HEAD = {"r": 4, "modules_to_save": ["lm_head"]}
WIDE = {"tags": {"lora": {"r": 4}, "tags": "tokens"}, "lm_head": {"lora": HEAD}}
"""Options that train more than low-rank pairs."""


def trained(path: str, **options: object) -> CausalLMPolicy:
    """A policy after a step of training."""
    made = CausalLMPolicy(CausalLMConfig(path=path, **options), seed=1)
    optimizer = adamw(made.model, 1e-2)
    made.model(seen(made), labels=seen(made)).loss.backward()
    optimizer.step()
    return made


def seen(made: CausalLMPolicy) -> torch.Tensor:
    """Tokens, the tags among them."""
    tag = made.tokenizer.convert_tokens_to_ids("<think>")
    return TOKENS if tag is None else torch.cat([TOKENS, torch.full((2, 1), tag)], 1)


@torch.no_grad()
def logits(model, tokens: torch.Tensor) -> torch.Tensor:
    return model(tokens).logits


@ENDS
@pytest.mark.parametrize("kind", list(WIDE))
@pytest.mark.parametrize("bits", [{}, {"load_in_4bit": True}], ids=["whole", "4bit"])
def test_what_is_trained_beside_low_rank_pairs_is_merged(pretrained, tmp_path, name, kind, bits):
    made = trained(pretrained(name), save_adapters="merged", **WIDE[kind], **bits)
    made.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(plain, seen(made)), logits(made.model, seen(made)), rtol=0, atol=1e-4)


@ENDS
def test_a_head_that_was_trained_whole_over_quantised_weights_is_saved_alone_and_read_again(pretrained, tmp_path, name):
    made = trained(pretrained(name), load_in_4bit=True, lora=HEAD)
    made.save(tmp_path)
    again = CausalLMPolicy(CausalLMConfig(path=pretrained(name), load_in_4bit=True, lora=HEAD), checkpoint=tmp_path)
    assert torch.equal(logits(again.model, TOKENS), logits(made.model, TOKENS))
    torch.testing.assert_close(logits(again.merged(), TOKENS), logits(made.model, TOKENS), rtol=0, atol=1e-4)
    assert not any(parameter.is_meta for parameter in again.merged().parameters())


def test_a_tied_output_with_rows_for_tags_has_the_bias_that_trainers_ask_for_and_its_rows_train(pretrained):
    made = CausalLMPolicy(CausalLMConfig(path=pretrained("qwen2"), lora={"r": 4}, tags="tokens"))
    head = made.model.get_output_embeddings()
    assert head.bias is None
    head.weight.sum().backward()
    rows = [parameter for name, parameter in made.model.named_parameters() if "trainable_tokens_delta" in name]
    assert len(rows) == 1 and rows[0].grad.abs().sum() > 0


@pytest.mark.parametrize("target", [["q_proj", "lm_head"], r".*(embed_tokens|q_proj)"], ids=["output", "input"])
def test_adapters_on_tied_embeddings_are_refused(pretrained, target):
    config = CausalLMConfig(path=pretrained("qwen2"), lora={"r": 4, "target_modules": target})
    with pytest.raises(
        InputError, match=r"lora: adapters on .* one weight .*modules_to_save: \[(lm_head|embed_tokens)\]"
    ):
        CausalLMPolicy(config)


@pytest.mark.parametrize("beside", [{"modules_to_save": ["embed_tokens"]}, {"trainable_token_indices": [5]}])
def test_adapters_on_a_tied_output_are_refused_beside_embeddings_that_train(pretrained, beside):
    config = CausalLMConfig(path=pretrained("qwen2"), lora={"r": 4, "target_modules": ["lm_head"], **beside})
    with pytest.raises(InputError, match=r"^lora: (adapters on lm_head|peft refuses)"):
        CausalLMPolicy(config)


def test_adapters_on_an_output_of_its_own_train_and_merge(pretrained, tmp_path: Path):
    lora = {"r": 4, "target_modules": ["lm_head"]}
    made = trained(pretrained("llama3"), lora=lora)
    made.save(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(plain, TOKENS), logits(made.model, TOKENS), rtol=0, atol=1e-5)
    assert made.model.lm_head.lora_B["default"].weight.abs().sum() > 0


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "eva", False])
def test_initial_adapters_that_make_another_model_are_refused(start):
    with pytest.raises(ValueError, match=rf"lora.init_lora_weights: {start} is not offered: .* or use gaussian"):
        CausalLMConfig(path="somewhere", lora={"r": 4, "init_lora_weights": start})


@pytest.mark.parametrize("start", [True, "gaussian", "orthogonal", "mica"])
def test_initial_adapters_that_are_allowed_leave_the_model_as_it_was(pretrained, start):
    path = pretrained("qwen2")
    made = CausalLMPolicy(CausalLMConfig(path=path, lora={"r": 4, "init_lora_weights": start}))
    plain = logits(AutoModelForCausalLM.from_pretrained(path), TOKENS)
    torch.testing.assert_close(logits(made.model, TOKENS), plain, rtol=0, atol=1e-5)
    without = made.without_adapters()
    assert without is not None
    with without:
        torch.testing.assert_close(logits(made.model, TOKENS), plain, rtol=0, atol=1e-5)


def test_dora_over_weights_in_8_bits_is_refused():
    with pytest.raises(ValueError, match=r"lora.use_dora: .* 8 bits: set load_in_4bit instead"):
        CausalLMConfig(path="somewhere", lora={"use_dora": True}, load_in_8bit=True)
    CausalLMConfig(path="somewhere", lora={"use_dora": True}, load_in_4bit=True)


def test_adapters_with_a_bias_are_refused():
    with pytest.raises(ValueError, match=r"lora.lora_bias: .* leave it out"):
        CausalLMConfig(path="somewhere", lora={"lora_bias": True})


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_training_the_models_own_biases_is_refused_since_they_stay_when_adapters_are_left_out(bias):
    with pytest.raises(ValueError, match=rf"^lora.bias: {bias} is not offered: .* leave it out"):
        CausalLMConfig(path="somewhere", lora={"r": 4, "bias": bias})
    CausalLMConfig(path="somewhere", lora={"r": 4, "bias": "none"})


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"r": "x"}, "lora.r: expects int, not 'x'"),
        ({"r": -1}, "lora.r: the rank of adapters must be at least 1, not -1"),
        ({"lora_alpha": None}, "lora.lora_alpha: expects float, not None"),
        ({"lora_dropout": 2}, "lora.lora_dropout: must be at least 0 and below 1, not 2"),
        ({"lora_dropout": -0.1}, "lora.lora_dropout: must be at least 0 and below 1, not -0.1"),
        ({"target_modules": 3}, "lora.target_modules: expects list[str] | str | null, not 3"),
        ({"bias": "som"}, "lora.bias: expects none | all | lora_only, not 'som'"),
        ({"use_dorra": True}, "lora.use_dorra: peft.LoraConfig has no such field; did you mean 'use_dora'?"),
        ({"init_lora_weights": "pissa_niter_4"}, "lora.init_lora_weights: pissa_niter_4 is not offered"),
    ],
)
def test_a_recipes_wrong_options_of_adapters_are_said_at_their_keys_before_anything_is_built(lora, said):
    component = load_registry().find("policy", "causal_lm")
    with pytest.raises(InputError, match=rf"^r.yaml: causal_lm\.{re.escape(said)}"):
        make_config(component, {"preset": "qwen2_tiny", "lora": lora}, Path("r.yaml"))


@pytest.mark.parametrize("where", ["preset", "path"])
def test_options_of_adapters_that_do_not_go_together_are_refused_before_a_model_is_trained(pretrained, where):
    what = {"preset": "qwen2_tiny"} if where == "preset" else {"path": pretrained("qwen2")}
    with pytest.raises(InputError, match=r"lora: peft refuses these options: .*layers_to_transform"):
        CausalLMPolicy(CausalLMConfig(**what, lora={"layers_to_transform": 1, "target_modules": "all-linear"}))


@pytest.mark.parametrize(
    "lora",
    [
        {"rank_pattern": 3},
        {"rank_pattern": {"(": 2}},
        {"trainable_token_indices": [99999]},
        {"target_modules": "("},
        {"layer_replication": [[0, 99]]},
        {"megatron_config": {"a": 1}},
    ],
    ids=str,
)
def test_whatever_peft_stumbles_over_is_an_error_in_the_options(pretrained, lora):
    with pytest.raises(InputError, match=r"lora: peft refuses these options: ."):
        CausalLMPolicy(CausalLMConfig(path=pretrained("qwen2"), lora={"r": 2, **lora}))


@pytest.mark.parametrize("lora", [{"r": 4, "use_dora": True}, {"r": 4}], ids=["dora", "lora"])
def test_dora_saved_alone_says_that_plain_transformers_would_drop_a_part(pretrained, tmp_path, caplog, lora):
    made = trained(pretrained("qwen2"), lora=lora, save_adapters="alone")
    with caplog.at_level(logging.WARNING, "ponder"):
        made.save(tmp_path)
    assert ("plain transformers drops their magnitudes" in caplog.text) == ("use_dora" in lora)
    base = AutoModelForCausalLM.from_pretrained(pretrained("qwen2"))
    again = PeftModel.from_pretrained(base, tmp_path)
    torch.testing.assert_close(logits(again, TOKENS), logits(made.model, TOKENS), rtol=0, atol=1e-5)
