"""GGUF files as policies: what ponder wrote comes back as it was, and what is no such file is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ponder.errors import InputError
from ponder.hf_gguf import write_gguf
from ponder_causal_lm import CausalLMConfig
from ponder_causal_lm.policy import CausalLMPolicy

gguf = pytest.importorskip("gguf")

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|finetune_right_pad_id|>"]
TEXT = "What is 12 + 3456? It's naïve.\n\nThe end: 你好 tomorrow<|eot_id|>"


def llama3_tokenizer() -> PreTrainedTokenizerFast:
    """Cuts text as Llama 3's does; `tomorrow` is a token that no merges lead to."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["What is 12 + 34?", "The end"] * 4, trainer)
    described = json.loads(tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    vocabulary["Ġtomorrow"], described["model"]["ignore_merges"] = len(vocabulary), True
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.add_special_tokens(SPECIAL)
    begin, _, end, pad = SPECIAL
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, eos_token=end, pad_token=pad)
    made.chat_template = "{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}"
    return made


def llama3(directory: Path) -> CausalLMPolicy:
    tokenizer = llama3_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return CausalLMPolicy(CausalLMConfig(path=str(directory)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama 3 in small as `ponder export --format gguf` writes it, with the directory it was made from beside it."""
    directory = tmp_path_factory.mktemp("exported")
    write_gguf(llama3(directory / "made"), directory / "llama3.gguf", None)
    return directory / "llama3.gguf"


def policy(path: Path) -> CausalLMPolicy:
    return CausalLMPolicy(CausalLMConfig(path=str(path)))


def test_an_exported_llama_3_comes_back_with_its_vocabulary_tokens_and_logits(exported):
    before, again = policy(exported.with_name("made")), policy(exported)
    assert again.tokenizer.get_vocab() == before.tokenizer.get_vocab()
    tokens = before.tokenizer(TEXT)["input_ids"]
    assert before.tokenizer.get_vocab()["Ġtomorrow"] in tokens
    assert again.tokenizer(TEXT)["input_ids"] == tokens
    rows = torch.tensor([tokens])
    torch.testing.assert_close(again.model(rows).logits, before.model(rows).logits, atol=1e-5, rtol=1e-5)


def test_what_came_from_a_gguf_is_saved_and_exported_with_the_same_vocabulary(exported, tmp_path):
    made = policy(exported)
    made.save(tmp_path / "saved")
    assert policy(tmp_path / "saved").tokenizer.get_vocab() == made.tokenizer.get_vocab()
    write_gguf(made, tmp_path / "again.gguf", None)
    assert policy(tmp_path / "again.gguf").tokenizer(TEXT) == made.tokenizer(TEXT)


def test_a_gguf_with_more_tokens_than_embeddings_is_refused(exported, tmp_path, monkeypatch):
    write_tokens = gguf.GGUFWriter.add_token_list
    monkeypatch.setattr(gguf.GGUFWriter, "add_token_list", lambda self, tokens: write_tokens(self, [*tokens, "more"]))
    write_gguf(policy(exported), tmp_path / "more.gguf", None)
    with pytest.raises(InputError, match=r"its tokenizer has (\d+) tokens and its model \d+ embeddings"):
        policy(tmp_path / "more.gguf")


@pytest.mark.parametrize("cut", [3000, -100])
def test_a_truncated_gguf_is_named_with_what_to_do(exported, tmp_path, cut):
    (tmp_path / "cut.gguf").write_bytes(exported.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"cut\.gguf is no whole GGUF file \(.+\): copy or download it again"):
        policy(tmp_path / "cut.gguf")


def test_a_gguf_with_a_damaged_header_is_named(exported, tmp_path):
    whole = exported.read_bytes()
    (tmp_path / "bad.gguf").write_bytes(whole[:2000] + b"\xff" * 200 + whole[2200:])
    with pytest.raises(InputError, match=r"bad\.gguf is no whole GGUF file \(.+\): copy or download it again"):
        policy(tmp_path / "bad.gguf")


def test_a_gguf_that_lacks_a_tensor_is_refused_with_its_name(exported, tmp_path, monkeypatch):
    add = gguf.GGUFWriter.add_tensor

    def all_but_one(self, name, *values, **options):
        if name != "blk.0.ffn_up.weight":
            add(self, name, *values, **options)

    monkeypatch.setattr(gguf.GGUFWriter, "add_tensor", all_but_one)
    write_gguf(policy(exported), tmp_path / "less.gguf", None)
    with pytest.raises(
        InputError, match=r"less\.gguf lacks tensors of its model.*: model.layers.0.mlp.up_proj.weight;"
    ):
        policy(tmp_path / "less.gguf")
