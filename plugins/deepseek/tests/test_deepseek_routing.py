"""Routers watched and replayed."""

import pytest
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from ponder.hf_routing import OWN_CHOICE
from ponder_deepseek.decoding import LatentDecoder
from ponder_deepseek.presets import preset
from ponder_deepseek.routing import DeepseekRouters, chosen_weights

GROUPS = {"n_routed_experts": 8, "n_group": 4, "topk_group": 2, "num_hidden_layers": 3}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DeepseekV3ForCausalLM(DeepseekV3Config(**{**preset("tiny", 50).to_dict(), **GROUPS})).eval()


def watched(model, tokens):
    routers = DeepseekRouters(model)
    with torch.no_grad(), routers.watching() as choices:
        logits = model(tokens).logits
    return logits, choices.take().view(*tokens.shape, 2, 2)


def disturb(model):
    for router in model.modules():
        if isinstance(router, DeepseekV3TopkRouter):
            router.e_score_correction_bias += torch.linspace(3, -3, 8)


def test_watching_notes_the_experts_of_each_token_and_layer(model):
    tokens = torch.randint(0, 50, (2, 5))
    _, choices = watched(model, tokens)
    _, of_the_beginning = watched(model, tokens[:, :3])
    assert choices.shape == (2, 5, 2, 2)
    assert (choices[..., 0] != choices[..., 1]).all()
    assert torch.equal(choices[:, :3].sort(-1)[0], of_the_beginning.sort(-1)[0])


def test_replayed_choices_make_the_same_logits_under_a_disturbed_bias(model):
    tokens = torch.randint(0, 50, (2, 5))
    expected, choices = watched(model, tokens)
    disturb(model)
    with torch.no_grad():
        assert not torch.allclose(model(tokens).logits, expected, atol=1e-3)
        with DeepseekRouters(model).replaying(choices):
            torch.testing.assert_close(model(tokens).logits, expected, atol=1e-5, rtol=1e-5)


def test_where_nothing_was_recorded_the_router_chooses(model):
    tokens = torch.randint(0, 50, (2, 5))
    expected, choices = watched(model, tokens)
    with torch.no_grad(), DeepseekRouters(model).replaying(torch.full_like(choices, OWN_CHOICE)):
        assert torch.equal(model(tokens).logits, expected)


def test_replay_keeps_the_gradient_to_the_router_through_the_chosen_scores(model):
    tokens = torch.randint(0, 50, (2, 5))
    _, choices = watched(model, tokens)
    with DeepseekRouters(model).replaying(choices):
        model(tokens).logits.square().sum().backward()
    assert model.model.layers[1].mlp.gate.weight.grad.any()


def test_what_is_watched_around_a_replay_is_the_routers_own_choice(model):
    tokens = torch.randint(0, 50, (2, 5))
    _, choices = watched(model, tokens)
    routers = DeepseekRouters(model)
    other = (choices + 1) % 8
    with torch.no_grad(), routers.watching() as own, routers.replaying(other), routers.watching() as used:
        model(tokens)
    assert torch.equal(own.take().view_as(choices)[:, :, 0], choices[:, :, 0])
    assert torch.equal(used.take().view_as(choices), other)


def test_the_weights_are_the_current_scores_of_the_recorded_experts_normalised_and_scaled(model):
    router = model.model.layers[1].mlp.gate
    router.routed_scaling_factor = 2.5
    scores = torch.tensor([[0.9, 0.1, 0.6, 0.55, 0.2, 0.15, 0.7, 0.25]])
    # The worked example of group-limited routing: experts 6 and 2 were chosen under a bias, the weights know none.
    weights, _ = chosen_weights(router, scores.logit(), torch.tensor([[6, 2]]))
    assert weights[0].tolist() == pytest.approx([1.3461538, 1.1538462])


@pytest.mark.parametrize(
    ("bias", "experts", "weights"),
    [({}, [0, 2], [1.5, 1.0]), ({0: -0.30, 7: 0.05}, [6, 2], [1.3461538, 1.1538462])],
)
def test_the_group_limited_routing_of_the_reference(bias, experts, weights):
    changes = {"hidden_size": 8, "n_routed_experts": 8, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5}
    router = DeepseekV3TopkRouter(DeepseekV3Config(**{**preset("tiny", 50).to_dict(), **changes}))
    for expert, value in bias.items():
        router.e_score_correction_bias[expert] = value
    with torch.no_grad():
        router.weight.copy_(torch.eye(8))
        scores = torch.tensor([0.9, 0.1, 0.6, 0.55, 0.2, 0.15, 0.7, 0.25])
        _, found, chosen = router(scores.logit()[None])
    by_expert = dict(zip(chosen[0].tolist(), found[0].tolist(), strict=True))
    assert by_expert == {expert: pytest.approx(weight) for expert, weight in zip(experts, weights, strict=True)}


def test_decoding_is_watched_too(model):
    tokens = torch.randint(0, 50, (2, 5))
    _, expected = watched(model, tokens)
    decoder = LatentDecoder(model)
    with torch.inference_mode(), DeepseekRouters(model).watching() as choices:
        decoder.prefill(tokens[:, :3], torch.tensor([3, 3]), capacity=2)
        read = choices.take().view(2, 3, 2, 2)
        decoder.step(tokens[:, 3])
        step = choices.take()
    assert torch.equal(read.sort(-1)[0], expected[:, :3].sort(-1)[0])
    assert torch.equal(step.sort(-1)[0], expected[:, 3].sort(-1)[0])
