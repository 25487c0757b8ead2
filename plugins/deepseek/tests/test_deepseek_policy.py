"""The policy: sizes, tokenizer, saving and loading, balancing."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ponder import Example
from ponder.hf import encode_prompt, prefilled_text
from ponder.text import R1_ZERO_TEMPLATE
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.policy import DeepseekPolicy

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]


class Pages:
    def examples(self):
        return (
            Example(prompt=f"Question: what is {n} + {n}?\nAnswer: <think> easy </think> {2 * n}") for n in range(300)
        )


def policy(**options):
    return DeepseekPolicy(DeepseekConfig(**{"preset": "tiny", **options}), seed=1, task=lambda name: Pages())


def test_the_same_seed_makes_the_same_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = policy().model.state_dict(), policy().model.state_dict()
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_plain_transformers_loads_what_was_saved_with_equal_logits(tmp_path):
    made = policy(corpus="pages")
    made.save(tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    ids = torch.tensor([encode_prompt(made.tokenizer, QUESTION)])
    assert encode_prompt(tokenizer, QUESTION) == ids[0].tolist()
    with torch.inference_mode():
        torch.testing.assert_close(model(ids).logits, made.model(ids).logits, atol=1e-6, rtol=1e-6)


def test_a_checkpoint_comes_back_exactly_bias_included(tmp_path):
    made = policy()
    router = made.model.model.layers[1].mlp.gate
    router.e_score_correction_bias += torch.tensor([0.1, -0.2, 0.3, 0.0])
    made.save(tmp_path)
    again = DeepseekPolicy(DeepseekConfig(preset="tiny"), checkpoint=tmp_path)
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    assert "model.layers.1.mlp.gate.e_score_correction_bias" in load_file(tmp_path / "model.safetensors")


@pytest.mark.parametrize("corpus", [None, "pages"])
@pytest.mark.parametrize(
    "text", ["What is 4 + 5?", "答案是 12。", "naïve 🙂 \t\n", "<think> a </think> <answer> -3 </answer>", ""]
)
def test_any_text_survives_the_tokenizer(corpus, text):
    tokenizer = policy(corpus=corpus).tokenizer
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_each_tag_is_one_token():
    tokenizer = policy(corpus="pages").tokenizer
    for tag in ("<think>", "</think>", "<answer>", "</answer>"):
        assert len(tokenizer(tag)["input_ids"]) == 1


def test_the_prompt_is_cut_the_same_way_with_and_without_an_answer():
    tokenizer = policy(corpus="pages").tokenizer
    prompt = encode_prompt(tokenizer, QUESTION)
    rendered = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    for answer in (" 42", " The answer is 42.", " <think> 17 + 25 = 42 </think>"):
        assert tokenizer(rendered + answer)["input_ids"][: len(prompt)] == prompt


def test_the_r1_zero_chat_template_is_the_papers_prompt():
    tokenizer = policy().tokenizer
    rendered = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    assert rendered == R1_ZERO_TEMPLATE.format(prompt="What is 17 + 25?")
    assert prefilled_text(tokenizer, QUESTION) == ""


def test_the_r1_chat_template_opens_the_thinking_and_forgets_earlier_thoughts():
    tokenizer = policy(chat_template="r1").tokenizer
    history = [*QUESTION, {"role": "assistant", "content": "<think>hm</think>42"}, {"role": "user", "content": "Sure?"}]
    rendered = tokenizer.apply_chat_template(history, tokenize=False, add_generation_prompt=True)
    assert rendered.endswith("<｜User｜>Sure?<｜Assistant｜><think>\n")
    assert "hm" not in rendered
    assert prefilled_text(tokenizer, QUESTION) == "<think>\n"


@pytest.mark.parametrize(
    "options",
    [
        {"vocab_size": 100},
        {"context_length": 0},
        {"bias_update_rate": -1.0},
        {"bias_update_share": 1.5},
        {"balance_loss_weight": float("nan")},
        {"init_std": 0.0},
    ],
)
def test_impossible_options_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DeepseekConfig(**options)
