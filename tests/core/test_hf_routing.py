"""Records of experts, and probabilities among kept tokens."""

import pytest
import torch

from ponder.hf import token_logprobs
from ponder.hf_routing import OWN_CHOICE, Choices, pack_routing, pad_routing, unpack_routing


@pytest.mark.parametrize(("count", "width"), [(8, 1), (256, 1), (257, 2), (4096, 2)])
def test_experts_come_back_from_as_few_bytes_as_hold_them(count, width):
    experts = torch.randint(0, count, (5, 3, 2))
    experts[0, 0, 0] = count - 1
    routing = pack_routing(experts, count)
    assert (routing.layers, routing.chosen, routing.width) == (3, 2, width)
    assert len(routing.experts) == 30 * width
    assert torch.equal(unpack_routing(routing), experts)


def test_the_bytes_of_a_number_begin_with_the_lowest():
    assert pack_routing(torch.tensor([[[258]]]), 300).experts == b"\x02\x01"


def test_rows_are_padded_with_the_routers_own_choice():
    padded = pad_routing([torch.full((2, 1, 1), 3), torch.full((1, 1, 1), 5)], 3)
    assert padded.flatten(1).tolist() == [[3, 3, OWN_CHOICE], [5, OWN_CHOICE, OWN_CHOICE]]


def test_choices_are_stacked_layer_by_layer_in_the_order_of_the_tokens():
    choices = Choices(2)
    for token in range(2):
        for layer in range(2):
            choices.add(layer, torch.tensor([[10 * layer + token]]))
    assert choices.take().tolist() == [[[0], [10]], [[1], [11]]]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_among_kept_tokens_are_those_of_the_others_masked(temperature):
    logits = torch.randn(2, 6)
    tokens, kept = torch.tensor([1, 4]), torch.tensor([[1, 3, 5], [4, -1, -1]])
    masked = torch.full_like(logits, float("-inf"))
    masked[0, [1, 3, 5]] = logits[0, [1, 3, 5]] / temperature
    masked[1, 4] = logits[1, 4] / temperature
    expected = masked.log_softmax(-1)[torch.arange(2), tokens]
    torch.testing.assert_close(token_logprobs(logits, tokens, temperature, kept), expected)
