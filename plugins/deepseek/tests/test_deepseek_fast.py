"""Our layers against transformers' own: logits and gradients over many architectures, padded and not, cached and not."""

import copy
import dataclasses
import random

import pytest
import torch
from torch.nn import functional as F
from transformers import DeepseekV3ForCausalLM, DynamicCache

from ponder.hf_compile import compile_layers
from ponder.hf_pretraining import IGNORED, TokenBatch, label_loss
from ponder_deepseek import DeepseekConfig, fast, kernels
from ponder_deepseek.balancing import RouterBalancer
from ponder_deepseek.decoding import LatentDecoder
from ponder_deepseek.kernels import Experts, HeadLoss, JoinKeys, RmsNorm, RotateTail
from ponder_deepseek.objective import DeepseekObjective
from ponder_deepseek.presets import configuration
from ponder_deepseek.sizes import TINY, Sizes
from ponder_deepseek.traced_experts import TracedExperts

VOCABULARY = 40


def drawn(seed) -> Sizes:
    """An architecture with some of everything."""
    draw = random.Random(seed)
    groups = draw.choice([1, 2, 4])
    kept = draw.randint(1, groups)
    experts = groups * draw.choice([2, 3])
    factor = draw.choice([1.0, 1.0, 4.0])
    return dataclasses.replace(
        TINY,
        hidden_size=draw.choice([24, 32, 40]),
        num_hidden_layers=draw.randint(1, 3),
        first_k_dense_replace=draw.randint(0, 1),
        num_attention_heads=draw.choice([1, 2, 3]),
        q_lora_rank=draw.choice([0, 10]),
        kv_lora_rank=draw.choice([12, 13, 16]),
        qk_nope_head_dim=draw.choice([6, 7, 16]),
        qk_rope_head_dim=draw.choice([2, 8]),
        v_head_dim=draw.choice([5, 16, 24]),
        moe_intermediate_size=draw.choice([8, 11]),
        n_routed_experts=experts,
        n_shared_experts=draw.choice([0, 1, 2]),
        n_group=groups,
        topk_group=kept,
        num_experts_per_tok=draw.randint(1, kept * experts // groups),
        norm_topk_prob=draw.random() < 0.7,
        yarn_factor=factor,
        yarn_original_length=None if factor == 1 else 16,
        yarn_mscale=draw.choice([1.0, 0.707]),
        context_length=64,
    )


def pair(sizes):
    """Transformers' model and ours, of equal weights."""
    torch.manual_seed(0)
    theirs = DeepseekV3ForCausalLM(configuration(sizes, VOCABULARY)).eval()
    for module in theirs.modules():
        if hasattr(module, "e_score_correction_bias"):
            module.e_score_correction_bias += 0.1 * torch.randn_like(module.e_score_correction_bias)
    ours = fast.accelerate(copy.deepcopy(theirs))
    # Transformers' default refuses widths that are not multiples of 16 bytes.
    theirs.set_experts_implementation("eager")
    return theirs, ours


@pytest.fixture(autouse=True)
def however_few(monkeypatch):
    monkeypatch.setattr(fast, "MANY", 0)


def tokens(*shape):
    return torch.randint(3, VOCABULARY, shape, generator=torch.Generator().manual_seed(1))


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


every_architecture = pytest.mark.parametrize("seed", range(24))


@every_architecture
def test_logits_and_gradients_are_transformers_own(seed):
    theirs, ours = pair(drawn(seed))
    ids = tokens(2, 11)
    logits = [model(input_ids=ids, use_cache=False).logits for model in (theirs, ours)]
    close(logits[1], logits[0])
    for each in logits:
        F.cross_entropy(each.flatten(0, 1), ids.flatten()).backward()
    for (name, expected), found in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        if expected.grad is None:
            assert found.grad is None, name
        else:
            # The gate of a token's only expert has a gradient of zero but for rounding.
            largest = max(expected.grad.abs().max().item(), 1e-2) if expected.numel() else 1.0
            torch.testing.assert_close(found.grad, expected.grad, atol=2e-5 * largest, rtol=1e-4, msg=name)


@every_architecture
@pytest.mark.parametrize("side", ["left", "right"])
@torch.inference_mode()
def test_padded_rows_have_transformers_logits(seed, side):
    theirs, ours = pair(drawn(seed))
    ids, mask = tokens(2, 9), torch.ones(2, 9, dtype=torch.long)
    mask[1, :4] = 0
    if side == "right":
        mask = mask.flip(1)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    options = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
    counted = mask.bool()
    close(ours(**options).logits[counted], theirs(**options).logits[counted])


@every_architecture
@torch.inference_mode()
def test_cached_decoding_has_transformers_logits_naive_and_absorbed(seed):
    theirs, ours = pair(drawn(seed))
    ids = tokens(2, 12)
    expected = theirs(input_ids=ids, use_cache=False).logits
    cache, decoder = DynamicCache(config=ours.config), LatentDecoder(ours)
    close(ours(input_ids=ids[:, :7], past_key_values=cache, use_cache=True).logits, expected[:, :7])
    close(decoder.prefill(ids[:, :7], torch.tensor([7, 7]), capacity=5), expected[:, 6])
    for place in range(7, 12):
        step = ids[:, place : place + 1]
        close(ours(input_ids=step, past_key_values=cache, use_cache=True).logits[:, 0], expected[:, place])
        close(decoder.step(step[:, 0]), expected[:, place])


@torch.inference_mode()
def test_absorbed_decoding_does_not_see_a_constant_added_to_all_positions():
    _, ours = pair(dataclasses.replace(TINY, q_lora_rank=10))
    ids = tokens(1, 9)
    places = torch.arange(9)[None]
    near, far = (ours(input_ids=ids, position_ids=places + shift, use_cache=False).logits for shift in (0, 37))
    torch.testing.assert_close(far, near, atol=1e-5, rtol=1e-5)


def steps_back_from(logits):
    """The names of all steps of the backward pass."""
    steps, seen = set(), [logits.grad_fn]
    while seen:
        step = seen.pop()
        if step is not None and step not in steps:
            steps.add(step)
            seen += [before for before, _ in step.next_functions]
    return {type(step).__name__ for step in steps}


def test_our_layers_do_run():
    _, ours = pair(TINY)
    kinds = steps_back_from(ours(input_ids=tokens(1, 5), use_cache=False).logits)
    assert {"RmsNormBackward", "RotateTailBackward", "JoinKeysBackward", "ExpertsBackward"} <= kinds


def test_bfloat16_is_left_to_transformers():
    theirs, ours = pair(TINY)
    ids = tokens(1, 5)
    theirs.set_experts_implementation("grouped_mm")
    assert torch.equal(ours.bfloat16()(ids).logits, theirs.bfloat16()(ids).logits)


def test_few_tokens_with_gradients_are_left_to_transformers(monkeypatch):
    theirs, ours = pair(TINY)
    ids = tokens(1, 5)
    theirs.set_experts_implementation("grouped_mm")
    monkeypatch.setattr(fast, "MANY", 512)
    assert torch.equal(ours(ids).logits, theirs(ids).logits)


def test_experts_of_few_tokens_without_gradients_are_ours(monkeypatch):
    _, ours = pair(TINY)
    monkeypatch.setattr(fast, "MANY", 512)
    calls = []
    monkeypatch.setattr(Experts, "apply", lambda hidden, *_: calls.append(len(hidden)) or torch.zeros_like(hidden))
    with torch.inference_mode():
        ours(tokens(1, 5))
    assert calls and set(calls) == {5}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("normalised", [True, False])
def test_the_router_chooses_and_weighs_as_transformers_does(groups, normalised):
    theirs, ours = pair(dataclasses.replace(TINY, n_group=groups, topk_group=1, norm_topk_prob=normalised))
    hidden = torch.randn(50, TINY.hidden_size, generator=torch.Generator().manual_seed(3))
    expected, found = (model.model.layers[1].mlp.gate(hidden) for model in (theirs, ours))
    for mine, other in zip(found, expected, strict=True):
        assert torch.equal(mine, other)


def test_the_routers_are_counted_as_ever():
    _, ours = pair(TINY)
    balancer = RouterBalancer(ours.train())
    with balancer.counting(torch.ones(2, 9, dtype=torch.bool)):
        ours(input_ids=tokens(2, 9), use_cache=False)
    balancer.step(0.5)
    assert sum(balancer.loads()[0]) == 2 * 9 * TINY.num_experts_per_tok


def test_parameters_keep_their_names_and_their_place():
    theirs, ours = pair(TINY)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert type(ours) is DeepseekV3ForCausalLM


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_the_gradients_by_hand_are_the_true_ones():
    torch.manual_seed(2)
    turns = torch.polar(torch.ones(1, 3, 2, dtype=torch.float64), torch.rand(1, 3, 2, dtype=torch.float64))
    chosen = torch.tensor([[0, 2], [2, 3], [3, 0], [2, 0]])
    assert torch.autograd.gradcheck(lambda x, w: RmsNorm.apply(x, w, 1e-6), (double(2, 3, 5), double(5)))
    assert torch.autograd.gradcheck(lambda x: RotateTail.apply(x, turns, 2), (double(2, 3, 2, 6),))
    assert torch.autograd.gradcheck(lambda up, key: JoinKeys.apply(up, key, 3), (double(2, 3, 2, 5), double(2, 3, 4)))
    labels = torch.tensor([1, IGNORED, 6, 0, 3])
    assert torch.autograd.gradcheck(lambda x, w: HeadLoss.apply(x, w, labels), (double(5, 4), double(7, 4)))
    assert chosen.max() == 3
    experts = (double(4, 8), double(4, 8, 8), double(4, 8, 4))
    # An expert without tokens, number 1, gets a gradient of zero.
    expected = route(experts, chosen, by_chain)
    for way in (Experts.apply, TracedExperts.apply):
        torch.testing.assert_close(route(experts, chosen, way), expected, rtol=1e-5, atol=1e-4)


def route(experts, chosen, way):
    inputs = [tensor.detach().float().requires_grad_() for tensor in experts]
    weights = torch.linspace(0.1, 0.9, chosen.numel()).view(chosen.shape).requires_grad_()
    way(*inputs, chosen, weights).square().sum().backward()
    return [tensor.grad for tensor in (*inputs, weights)]


def by_chain(hidden, gate_up, down, chosen, weights):
    gate, up = torch.einsum("tw,tkiw->tki", hidden, gate_up[chosen]).chunk(2, -1)
    return torch.einsum("tki,tkwi,tk->tw", F.silu(gate) * up, down[chosen], weights)


def test_the_compiler_sees_all_experts_of_a_layer_as_one_graph():
    _, ours = pair(TINY)
    experts = ours.model.layers[1].mlp.experts
    hidden = torch.randn(7, TINY.hidden_size, generator=torch.Generator().manual_seed(5))
    chosen, weights = torch.tensor([[0, 2], [2, 3], [3, 0], [2, 0], [1, 2], [3, 1], [0, 1]]), torch.rand(7, 2)
    assert experts.is_traceable()
    traced = torch.compile(experts.forward, backend="aot_eager", fullgraph=True)(hidden, chosen, weights)
    assert "CompiledFunctionBackward" in steps_back_from(traced)
    torch.testing.assert_close(traced, experts(hidden, chosen, weights))


@pytest.mark.parametrize(
    "change", [lambda model: model.bfloat16(), lambda model: model.set_experts_implementation("eager")]
)
def test_the_compiler_leaves_experts_alone_that_are_not_ours(change):
    _, ours = pair(TINY)
    change(ours)
    assert not ours.model.layers[1].mlp.experts.is_traceable()


def from_hidden(loss):
    """The loss of a head on the same states and labels, and its gradients."""
    torch.manual_seed(4)
    head, hidden = torch.nn.Linear(8, 30, bias=False), torch.randn(2, 7, 8, requires_grad=True)
    labels = torch.randint(0, 30, (2, 7)).index_fill(1, torch.tensor([2, 6]), IGNORED)
    value = loss(head, hidden, labels)
    value.backward()
    return value, hidden.grad, head.weight.grad


@pytest.mark.parametrize("tokens_at_once", [1, 3, 14, 100])
def test_the_loss_of_a_few_tokens_at_a_time_is_that_of_all_logits(monkeypatch, tokens_at_once):
    monkeypatch.setattr(kernels, "NEAR", 0)
    monkeypatch.setattr(kernels, "FEWEST_TOKENS", tokens_at_once)
    expected = from_hidden(lambda head, hidden, labels: label_loss(head(hidden), labels))
    for found, wanted in zip(from_hidden(fast.head_loss), expected, strict=True):
        close(found, wanted)


def test_a_loss_far_from_zero_is_exact():
    hidden, labels = torch.full((1, 1, 1), 100.0, requires_grad=True), torch.tensor([[1]])
    head = torch.nn.Linear(1, 2, bias=False)
    head.weight.data = torch.tensor([[10.0], [-10.0]])
    assert fast.head_loss(head, hidden, labels).item() == 2000


def test_the_weight_of_the_loss_reaches_the_gradients():
    once, thrice = (from_hidden(lambda *given, by=by: by * fast.head_loss(*given))[1:] for by in (1, 3))
    for one, three in zip(once, thrice, strict=True):
        torch.testing.assert_close(three, 3 * one)


@pytest.mark.parametrize("head", [torch.nn.Linear(8, 30), torch.nn.Sequential(torch.nn.Linear(8, 30, bias=False))])
def test_a_head_that_is_more_than_a_weight_is_called(head):
    hidden = torch.randn(2, 7, 8, requires_grad=True)
    assert "HeadLossBackward" not in steps_back_from(fast.head_loss(head, hidden, torch.zeros(2, 7, dtype=torch.long)))


def test_the_objective_never_holds_all_logits(monkeypatch):
    _, ours = pair(TINY)
    monkeypatch.setattr(ours.lm_head, "forward", lambda _: pytest.fail("all logits at once"))
    batch = TokenBatch.pack([[tokens(1, 9)[0].tolist()]], 9, pad=2)
    loss, _ = DeepseekObjective(ours, DeepseekConfig(preset="tiny")).loss(batch, 0.0)
    loss.backward()


def test_compiled_layers_have_the_same_gradients_and_their_routers_are_counted(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    theirs, ours = pair(dataclasses.replace(TINY, n_shared_experts=1))
    compile_layers(ours)
    balancer, ids = RouterBalancer(ours.train()), tokens(2, 9)
    with balancer.counting(torch.ones(2, 9, dtype=torch.bool)) as logits:
        label_loss(ours(input_ids=ids, use_cache=False).logits, ids).backward()
    balancer.step(0.5)
    label_loss(theirs(input_ids=ids, use_cache=False).logits, ids).backward()
    assert len(logits) == len(balancer.loads()) == TINY.num_hidden_layers - TINY.first_k_dense_replace
    assert sum(balancer.loads()[0]) == 2 * 9 * TINY.num_experts_per_tok
    for found, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        if wanted.grad is not None:
            close(found.grad, wanted.grad)
