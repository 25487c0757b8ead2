"""Balancing: the reference's worked examples, the counts behind the bias, and what pre-training makes of them."""

import multiprocessing

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed

from ponder.hf_pretraining import IGNORED, TokenBatch
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.balancing import RouterBalancer, balance_loss, bias_direction, imbalance, max_violation
from ponder_deepseek.policy import DeepseekPolicy

SCORES = torch.tensor([[[0.8, 0.6, 0.2, 0.4], [0.5, 0.7, 0.1, 0.6]]])


def policy(**options):
    return DeepseekPolicy(DeepseekConfig(**{"preset": "tiny", **options}), seed=1)


def everywhere(rows, length):
    return torch.ones(rows, length, dtype=torch.bool)


def logits_of(scores):
    return scores.logit().flatten(0, 1)


def biases(model):
    return model.model.layers[1].mlp.gate.e_score_correction_bias


# The bias


@pytest.mark.parametrize(
    ("loads", "expected"),
    [([10, 6, 4, 4], [-1, 0, 1, 1]), ([9, 7, 6, 2], [-1, -1, 0, 1]), ([5, 5, 5, 5], [0, 0, 0, 0])],
)
def test_the_bias_moves_towards_the_mean_load(loads, expected):
    assert bias_direction(torch.tensor(loads, dtype=torch.float)).tolist() == expected


def test_the_largest_violation_of_the_reference():
    assert max_violation(torch.tensor([9.0, 7.0, 6.0, 2.0])).item() == pytest.approx(0.5)


def test_the_loads_of_all_micro_batches_move_every_bias_by_the_rate():
    model = policy().model
    balancer = RouterBalancer(model)
    for _ in range(2):
        with balancer.counting(everywhere(2, 9)):
            model(torch.randint(0, 200, (2, 9)))
    metrics = balancer.step(0.001)
    [loads] = balancer.loads()
    assert sum(loads) == 2 * 2 * 9 * 2
    assert metrics["load_violation_max"] == pytest.approx(max(loads) / 18 - 1)
    assert metrics["dead_experts"] == loads.count(0)
    expected = [0.001 * ((load < 18) - (load > 18)) for load in loads]
    assert biases(model).tolist() == pytest.approx(expected)


def test_padding_is_no_load():
    model = policy().model
    balancer = RouterBalancer(model)
    counted = everywhere(2, 9)
    counted[1, 4:] = False
    with balancer.counting(counted):
        model(torch.randint(0, 200, (2, 9)))
    balancer.step(0.0)
    assert sum(balancer.loads()[0]) == 2 * (9 + 4)


def test_a_rate_of_zero_measures_and_moves_nothing():
    model = policy().model
    balancer = RouterBalancer(model)
    with balancer.counting(everywhere(2, 9)):
        model(torch.randint(0, 200, (2, 9)))
    assert balancer.step(0.0)["load_violation_max"] > 0
    assert not biases(model).any()


def test_what_runs_outside_of_counting_is_no_load():
    model = policy().model
    balancer = RouterBalancer(model)
    with balancer.counting(everywhere(2, 9)):
        pass
    model(torch.randint(0, 200, (2, 9)))
    balancer.step(0.001)
    assert balancer.loads() == [[0, 0, 0, 0]]
    assert not biases(model).any()


def of_a_rank(rank, folder, results):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=2)
    model = policy().model
    balancer = RouterBalancer(model)
    choice = torch.tensor([[[0, 1], [0, 2]], [[0, 3], [0, 3]]])[rank]
    balancer._count(0, everywhere(1, 2).flatten(), [], model, (), (torch.zeros(2, 4), torch.zeros(2, 2), choice))
    balancer.step(0.001)
    results.put((balancer.loads(), biases(model).tolist()))
    distributed.destroy_process_group()


def test_ranks_sum_their_loads_and_move_alike(tmp_path):
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    ranks = [fork.Process(target=of_a_rank, args=(rank, tmp_path, results)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    first, second = results.get(timeout=60), results.get(timeout=60)
    for rank in ranks:
        rank.join(60)
    assert first == second
    loads, moved = first
    assert loads == [[4, 1, 1, 2]]
    assert moved == pytest.approx([-0.001, 0.001, 0.001, 0.0])


# The balance loss


def test_the_balance_loss_of_the_reference():
    assert imbalance(SCORES, everywhere(1, 2), 2).item() == pytest.approx(1.2578947)
    whole = 1e-4 * balance_loss([logits_of(SCORES)], everywhere(1, 2), 2)
    assert whole.item() == pytest.approx(1.2578947e-4)


@given(st.integers(2, 12), st.integers(1, 5), st.floats(0.01, 0.99))
def test_uniform_routing_gives_exactly_one(experts, length, score):
    scores = torch.full((1, length, experts), score)
    assert imbalance(scores, everywhere(1, length), min(2, experts)).item() == pytest.approx(1)


def test_layers_are_summed_and_sequences_averaged():
    even = torch.full((1, 2, 4), 0.5)
    two_rows = logits_of(torch.cat([SCORES, even]))
    loss = balance_loss([two_rows, two_rows], everywhere(2, 2), 2)
    assert loss.item() == pytest.approx(2 * (1.2578947 + 1) / 2)


def test_over_a_batch_all_rows_are_one_sequence():
    rows = logits_of(SCORES.transpose(0, 1))
    assert balance_loss([rows], everywhere(2, 1), 2, is_over_batch=True).item() == pytest.approx(1.2578947)
    assert balance_loss([rows], everywhere(2, 1), 2).item() > 1.3


def test_padding_does_not_enter_the_balance_loss():
    padded = torch.cat([SCORES, torch.rand(1, 3, 4)], dim=1)
    counted = torch.tensor([[True, True, False, False, False]])
    assert imbalance(padded, counted, 2).item() == pytest.approx(1.2578947)


def test_the_gradient_lowers_the_scores_of_what_is_chosen_too_often():
    logits = logits_of(SCORES).requires_grad_()
    balance_loss([logits], everywhere(1, 2), 2).backward()
    assert logits.grad[:, 1].min() > 0
    assert logits.grad[:, 2].max() < 0


# Pre-training


def batch():
    return TokenBatch.pack([[[5, 6, 7, 8, 9, 10, 11]]], 8, pad=0)


def train(made, progress=0.0, *, updated=True):
    objective = made.objective()
    made.model.train()
    loss, metrics = objective.loss(batch(), progress)
    return loss, metrics, objective.finish_step(progress, updated=updated)


def test_a_step_of_the_objective_moves_the_biases():
    made = policy()
    _, _, metrics = train(made)
    assert metrics["load_violation_max"] > 0
    assert biases(made.model).any()


@pytest.mark.parametrize(("progress", "moves"), [(0.0, True), (0.966, True), (0.967, False), (0.999, False)])
def test_gamma_is_zero_for_the_last_500_of_14800_billion_tokens(progress, moves):
    made = policy()
    train(made, progress)
    assert bool(biases(made.model).any()) == moves


def test_a_skipped_step_moves_no_bias_now_or_later():
    made = policy()
    objective = made.objective()
    objective.loss(batch(), 0.0)
    assert objective.finish_step(0.0, updated=False) == {}
    objective.finish_step(0.0, updated=True)
    assert not biases(made.model).any()


def test_the_balance_loss_is_added_with_its_weight_and_reaches_the_routers():
    plain, _, _ = train(policy(balance_loss_weight=0.0))
    made = policy(balance_loss_weight=0.5)
    loss, metrics, _ = train(made)
    assert metrics["loss"] == plain.item()
    assert loss.item() == pytest.approx(plain.item() + metrics["balance_loss"])
    assert metrics["balance_loss"] >= 0.5 * 0.9
    (loss - plain.detach()).backward()
    assert made.model.model.layers[1].mlp.gate.weight.grad.any()


def test_a_weight_of_zero_adds_nothing():
    loss, metrics, _ = train(policy(balance_loss_weight=0.0))
    assert metrics == {"loss": loss.item()}


def test_padding_of_a_packed_row_is_no_load():
    made = policy()
    objective = made.objective()
    objective.loss(batch(), 0.0)
    objective.finish_step(0.0, updated=True)
    assert sum(objective.expert_loads()[0]) == 7 * 2
    assert int(batch().labels.ne(IGNORED).sum()) == 6
