"""Packed batches, and the next token's loss on them."""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ponder.hf_pretraining import IGNORED, NO_DOCUMENT, NextToken, TokenBatch, next_token_loss, objective_of


def model():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=32)
    )


def test_padding_is_not_predicted():
    batch = TokenBatch.pack([[[5, 6], [7]], [[8, 9, 10, 11]]], 6, pad=2)
    assert batch.inputs.tolist() == [[5, 6, 7, 2, 2, 2], [8, 9, 10, 11, 2, 2]]
    assert batch.labels.tolist() == [[6, 7, IGNORED, IGNORED, IGNORED, IGNORED], [9, 10, 11, IGNORED, IGNORED, IGNORED]]
    assert batch.predicted == 5


def test_a_batch_knows_which_document_a_token_belongs_to():
    batch = TokenBatch.pack([[[5, 6], [7]]], 5, pad=2)
    assert batch.documents.tolist() == [[0, 0, 1, NO_DOCUMENT, NO_DOCUMENT]]


def test_the_loss_does_not_see_what_stands_in_the_padding():
    losses = {
        round(next_token_loss(model(), TokenBatch.pack([[[3, 4, 5, 6]]], 9, pad=pad)).item(), 6) for pad in (0, 7, 30)
    }
    assert len(losses) == 1


def test_a_model_that_knows_nothing_has_the_loss_of_a_uniform_guess():
    ignorant = model()
    torch.nn.init.zeros_(ignorant.lm_head.weight)
    assert next_token_loss(ignorant, TokenBatch.pack([[[1, 2, 3, 4]]], 4, pad=0)).item() == pytest.approx(math.log(32))


class Plain:
    def __init__(self):
        self.model = model()


def test_a_policy_without_an_objective_learns_the_next_token():
    made, batch = Plain(), TokenBatch.pack([[[1, 2, 3, 4]]], 4, pad=0)
    loss, metrics = objective_of(made).loss(batch, 0.0)
    assert metrics == {"loss": loss.item()}
    assert loss.item() == next_token_loss(made.model, batch).item()
    assert objective_of(made).finish_step(0.0, updated=True) == {}


def test_a_policys_own_objective_comes_first():
    made = Plain()
    own = NextToken(made.model)
    made.objective = lambda: own
    assert objective_of(made) is own
