"""What transformers-based plugins share: prompts, log-probabilities, optimizer state."""

import math

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from ponder import hf
from ponder.errors import InputError


class Model:
    """The part of a policy that its training state needs."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 4))
        self.version = 0


def tokenizer(chat_template=None):
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1, "<think>": 2, "there": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    made.chat_template = chat_template
    return made


def test_a_plain_prompt_is_encoded_as_it_is():
    assert hf.encode_prompt(tokenizer(), "hello there") == [1, 3]


def test_messages_go_through_the_chat_template_open_for_the_assistant():
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %} there{% endif %}"
    assert hf.encode_prompt(tokenizer(template), [{"role": "user", "content": "hello"}]) == [1, 3]


def test_messages_without_a_chat_template_say_what_to_do():
    with pytest.raises(InputError, match="no chat template: give the policy a chat template"):
        hf.encode_prompt(tokenizer(), [{"role": "user", "content": "hello"}])


@pytest.mark.parametrize(
    ("prompt", "prefilled"),
    [
        ("hello", ""),
        ("hello <think>\n", "<think>\n"),
        ("say <think> and </think>", ""),
        ("example <think> x </think> now <think>", "<think>"),
    ],
)
def test_what_the_prompt_puts_into_the_assistants_mouth_is_found(prompt, prefilled):
    assert hf.prefilled_text(tokenizer(), prompt) == prefilled


@given(st.integers(0, 5), st.floats(0.1, 3.0), st.integers(0, 99))
def test_log_probabilities_are_those_of_the_softmax_at_the_temperature(rows, temperature, seed):
    torch.manual_seed(seed)
    logits, tokens = torch.randn(rows, 3, 7), torch.randint(0, 7, (rows, 3))
    expected = (logits / temperature).log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
    torch.testing.assert_close(hf.token_logprobs(logits, tokens, temperature), expected, atol=1e-5, rtol=1e-5)


def test_log_probabilities_do_not_depend_on_the_chunks(monkeypatch):
    torch.manual_seed(0)
    logits, tokens = torch.randn(50, 11), torch.randint(0, 11, (50,))
    whole = hf.token_logprobs(logits, tokens)
    monkeypatch.setattr(hf, "CACHED_CHUNK", 33)
    assert torch.equal(hf.token_logprobs(logits, tokens), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("among", [None, 3])
@given(temperature=st.floats(0.1, 3.0), seed=st.integers(0, 99))
def test_the_gradient_of_log_probabilities_is_the_softmaxs_whatever_the_chunks(among, dtype, temperature, seed):
    torch.manual_seed(seed)
    logits, tokens = torch.randn(6, 11).to(dtype), torch.randint(0, 11, (6,))
    kept, masked = None, torch.zeros(6, 11)
    if among is not None:
        others = torch.rand(6, 11).argsort(1)[:, :among]
        kept = torch.cat([tokens[:, None], others.where(others != tokens[:, None], -1)], dim=1)
        masked = torch.full((6, 12), float("-inf")).scatter_(1, kept.where(kept >= 0, 11), 0.0)[:, :11]
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    weights = torch.randn(6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hf, "CACHED_CHUNK", 33)
        (hf.token_logprobs(ours, tokens, temperature, kept) * weights).sum().backward()
    expected = (plain.float() / temperature + masked).log_softmax(1).gather(1, tokens[:, None]).squeeze(1)
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, atol=1e-2 if dtype == torch.bfloat16 else 1e-5, rtol=1e-2)


def test_half_precision_logits_are_normalised_in_single_precision():
    logits = torch.zeros(1, 1000, dtype=torch.bfloat16)
    assert hf.token_logprobs(logits, torch.tensor([3])).item() == pytest.approx(-math.log(1000), abs=1e-6)


def test_vectors_are_not_decayed_and_frozen_parameters_are_left_out():
    module = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))
    module[0].bias.requires_grad_(False)
    decayed, plain = hf.adamw(module, 1e-3, weight_decay=0.1).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert [p.ndim for p in decayed["params"]] == [2]
    assert len(plain["params"]) == 2


def test_gradients_are_scaled_to_the_largest_norm_and_their_own_norm_is_told():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert hf.clip_gradients([weight, nn.Parameter(torch.zeros(1))], 1.0) == pytest.approx(5.0)
    torch.testing.assert_close(weight.grad, torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_told_and_left_alone(bad):
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([bad, 4.0])
    assert not math.isfinite(hf.clip_gradients([weight], 1.0))
    assert weight.grad[1] == 4.0


def train(policy, optimizer, steps, seed):
    torch.manual_seed(seed)
    for _ in range(steps):
        policy.model(torch.randn(3, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        policy.version += 1


def test_training_goes_on_from_a_checkpoint_to_the_bit(tmp_path):
    straight, resumed = Model(), Model(seed=9)
    optimizer = hf.adamw(straight.model, 1e-2)
    train(straight, optimizer, 3, seed=1)
    hf.TrainingState(straight, optimizer).save(tmp_path)
    train(straight, optimizer, 3, seed=2)

    other = hf.adamw(resumed.model, 1e-2)
    hf.TrainingState(resumed, other).load(tmp_path)
    assert resumed.version == 3
    train(resumed, other, 3, seed=2)
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_state_before_the_first_step_can_be_saved_too(tmp_path):
    policy = Model()
    hf.TrainingState(policy, hf.adamw(policy.model, 1e-2)).save(tmp_path)
    again = Model(seed=3)
    hf.TrainingState(again, hf.adamw(again.model, 1e-2)).load(tmp_path)
    assert torch.equal(again.model[0].weight, policy.model[0].weight)


def test_further_modules_are_part_of_the_state(tmp_path):
    policy, reference = Model(), nn.Linear(2, 2)
    hf.TrainingState(policy, hf.adamw(policy.model, 1e-2), {"reference": reference}).save(tmp_path)
    other = nn.Linear(2, 2)
    hf.TrainingState(policy, hf.adamw(policy.model, 1e-2), {"reference": other}).load(tmp_path)
    assert torch.equal(reference.weight, other.weight)


def test_tied_weights_are_saved_and_stay_tied(tmp_path):
    policy = Model()
    policy.model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    policy.model[1].weight = policy.model[0].weight
    state = hf.TrainingState(policy, hf.adamw(policy.model, 1e-2))
    state.save(tmp_path)
    state.load(tmp_path)
    assert policy.model[1].weight is policy.model[0].weight


def test_active_parameters_of_a_dense_model_leave_the_embedding_out_unless_it_is_the_head():
    def model(tied):
        sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.LlamaConfig(vocab_size=32, num_key_value_heads=2, tie_word_embeddings=tied, **sizes)
        return transformers.LlamaForCausalLM(config)

    body = 4 * 8 * 8 + 3 * 8 * 16 + 3 * 8
    assert hf.active_parameters(model(tied=False)) == body + 32 * 8
    assert hf.active_parameters(model(tied=True)) == body + 32 * 8


def test_active_parameters_of_a_mixture_count_the_chosen_experts():
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    latent = {"kv_lora_rank": 4, "q_lora_rank": None, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 4}
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 1, "moe_intermediate_size": 8, "first_k_dense_replace": 1}
    grouping = {"n_group": 1, "topk_group": 1, "num_key_value_heads": 2}
    model = transformers.DeepseekV3ForCausalLM(
        transformers.DeepseekV3Config(vocab_size=32, **sizes, **latent, **experts, **grouping)
    )
    idle = 3 * 3 * 8 * 8
    assert hf.active_parameters(model) == sum(p.numel() for p in model.parameters()) - 32 * 8 - idle
