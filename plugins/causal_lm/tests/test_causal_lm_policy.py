"""The policy: new students, pretrained models, saving and loading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2ForCausalLM,
)

from ponder import Example
from ponder.errors import InputError
from ponder.hf import encode_prompt
from ponder_causal_lm import CausalLMConfig
from ponder_causal_lm.policy import CausalLMPolicy

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
TINY = pytest.mark.parametrize("preset", ["qwen2_tiny", "llama_tiny"])


class Pages:
    def examples(self):
        return (
            Example(prompt=f"Question: what is {n} + {n}?\nAnswer: <think> easy </think> {2 * n}") for n in range(300)
        )


def student(preset: str, checkpoint: Path | None = None, **options: object) -> CausalLMPolicy:
    config = CausalLMConfig(**{"preset": preset, "corpus": "pages", **options})
    return CausalLMPolicy(config, checkpoint=checkpoint, seed=1, task=lambda name: Pages())


@pytest.mark.parametrize(
    ("name", "kind", "tied"), [("qwen2", Qwen2ForCausalLM, True), ("llama", LlamaForCausalLM, False)]
)
def test_a_mini_student_is_small_and_of_its_architecture(name, kind, tied):
    model = student(f"{name}_mini", corpus=None).model
    assert type(model) is kind
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    assert 500_000 < sum(parameter.numel() for parameter in model.parameters()) < 800_000
    assert model.config.max_position_embeddings == 512


@TINY
def test_the_same_seed_makes_the_same_weights_and_leaves_the_global_generator_alone(preset):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = student(preset).model.state_dict(), student(preset).model.state_dict()
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)


@TINY
def test_plain_transformers_loads_what_was_saved_with_equal_ids_and_logits(preset, tmp_path):
    made = student(preset)
    made.save(tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    for text in ("1 + 2 = 3\n", "<think> 17 + 25 = 42 </think>", "答案是 12。", "naïve 🙂"):
        assert tokenizer(text)["input_ids"] == made.tokenizer(text)["input_ids"]
    ids = torch.tensor([encode_prompt(made.tokenizer, QUESTION)])
    assert encode_prompt(tokenizer, QUESTION) == ids[0].tolist()
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, made.model(ids).logits)


@TINY
def test_a_checkpoint_comes_back_exactly(preset, tmp_path):
    made = student(preset, context_length=99)
    made.tokenizer.chat_template = made.chat_templates["r1"]
    made.save(tmp_path)
    again = student(preset, checkpoint=tmp_path)
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    assert again.tokenizer.chat_template == made.chat_templates["r1"], (
        "a stage switched it; the recipe's is for new ones"
    )
    assert again.tokenizer.eos_token == made.tokenizer.eos_token
    assert again.tokenizer.pad_token == made.tokenizer.pad_token
    assert again.model.config.max_position_embeddings == 99


def test_a_pretrained_model_keeps_its_tokenizer_and_template(tmp_path):
    made = student("llama_tiny")
    made.tokenizer.chat_template = "its own"
    made.save(tmp_path)
    loaded = CausalLMPolicy(CausalLMConfig(path=str(tmp_path)))
    assert loaded.tokenizer.chat_template == "its own"
    assert loaded.tokenizer.get_vocab() == made.tokenizer.get_vocab()
    switched = CausalLMPolicy(CausalLMConfig(path=str(tmp_path), chat_template="r1", context_length=64))
    assert switched.tokenizer.chat_template == switched.chat_templates["r1"]
    assert switched.model.config.max_position_embeddings == 64


def plain_model(directory: Path, *tokens: str) -> str:
    """A saved model whose tokenizer knows these tokens, the first of them its end of sequence."""
    vocabulary = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=tokens[0]))
    student("llama_tiny").model.save_pretrained(directory)
    PreTrainedTokenizerFast(tokenizer_object=vocabulary, eos_token=tokens[0]).save_pretrained(directory)
    return str(directory)


def test_a_missing_pad_token_is_never_the_end_of_sequence(tmp_path):
    loaded = CausalLMPolicy(CausalLMConfig(path=plain_model(tmp_path, "<|endoftext|>", "<pad>", "a")))
    assert loaded.tokenizer.pad_token == "<pad>"
    loaded = CausalLMPolicy(CausalLMConfig(path=plain_model(tmp_path / "none", "<|endoftext|>", "a")))
    assert loaded.tokenizer.pad_token is None


def test_a_tokenizer_without_role_tokens_has_no_r1_template(tmp_path):
    path = plain_model(tmp_path, "</s>", "<pad>")
    assert set(CausalLMPolicy(CausalLMConfig(path=path)).chat_templates) == {"r1_zero"}
    with pytest.raises(InputError, match="neither Qwen's nor Llama's role tokens"):
        CausalLMPolicy(CausalLMConfig(path=path, chat_template="r1"))


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path):
    with pytest.raises(InputError, match=f"cannot load a causal language model from {tmp_path}: [^\n]+$"):
        CausalLMPolicy(CausalLMConfig(path=str(tmp_path)))


def test_code_beside_a_model_is_never_run(tmp_path):
    student("llama_tiny").save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "hostile",
        "auto_map": {"AutoModelForCausalLM": "hostile.Model", "AutoConfig": "hostile.C"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "hostile.py").write_text("raise SystemExit('run')")
    with pytest.raises(InputError, match="cannot load"):
        CausalLMPolicy(CausalLMConfig(path=str(tmp_path)))


def test_a_corpus_needs_a_recipe():
    with pytest.raises(InputError, match="no recipe is there to find it in"):
        CausalLMPolicy(CausalLMConfig(preset="qwen2_tiny", corpus="web"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "give either preset"),
        ({"preset": "qwen2_tiny", "path": "x"}, "give either preset"),
        ({"path": "x", "corpus": "web"}, "go with preset"),
        ({"preset": "qwen2_tiny", "vocab_size": 100}, "vocab_size"),
        ({"preset": "qwen2_tiny", "context_length": 0}, "context_length"),
        ({"preset": "qwen2_tiny", "init_std": 0.0}, "init_std"),
    ],
)
def test_impossible_options_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        CausalLMConfig(**options)
