"""Loss and gradient of an update do not depend on how it is computed."""

import math
import random
from dataclasses import replace
from functools import partial

import pytest
import torch

from ponder_grpo import DapoLossConfig, DrGrpoLossConfig, GrpoLossConfig, forward
from ponder_grpo.losses import DapoLoss, DrGrpoLoss, GrpoLoss
from ponder_grpo.rows import Row
from ponder_grpo.update import PassOptions, accumulate_gradients, completion_logprobs, needs_gradient

LOSSES = {
    "grpo": GrpoLoss(GrpoLossConfig(kl_coef=0.04)),
    "grpo_no_kl": GrpoLoss(GrpoLossConfig(kl_coef=0)),
    "unbiased": GrpoLoss(GrpoLossConfig(kl_coef=0.04, kl="unbiased", epsilon_low=10, epsilon_high=10)),
    "dapo": DapoLoss(DapoLossConfig()),
    "dr_grpo": DrGrpoLoss(DrGrpoLossConfig()),
}


def make_rows(model, groups=5, size=4):
    """Prompts and completions of mixed lengths, one group tied, one completion empty, one of a single token.

    The old and the reference policy are near the model, as they are in training.
    """
    draw = random.Random(3)
    rows = []
    for group in range(groups):
        prompt = [draw.randrange(2, 18) for _ in range(1 + (5 * group) % 7)]
        for sample in range(size):
            length = {(1, 1): 0, (2, 2): 1}.get((group, sample), draw.randrange(1, 12))
            completion = [draw.randrange(2, 18) for _ in range(length)]
            advantage = 0.0 if group == 3 else draw.uniform(-1, 1)
            rows.append(
                Row(
                    index=len(rows),
                    group=group,
                    prompt=prompt,
                    completion=completion,
                    advantage=advantage,
                )
            )
    current = completion_logprobs(partial(forward.read_prompts, model), rows, PassOptions(0.8, 4096))
    return [
        replace(row, old_logprobs=_near(current[row.index], draw), reference_logprobs=_near(current[row.index], draw))
        for row in rows
    ]


def _near(logprobs, draw):
    return logprobs + torch.tensor([draw.uniform(-0.4, 0.4) for _ in logprobs])


def loss_and_gradient(model, rows, loss, budget=4096, temperature=0.8, cap=None):
    model.zero_grad(set_to_none=True)
    metrics = accumulate_gradients(
        partial(forward.read_prompts, model), rows, loss, 12, PassOptions(temperature, budget, cap)
    )
    gradient = torch.cat(
        [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in model.parameters()]
    )
    assert gradient.norm() > 0
    return metrics, gradient / gradient.norm()


def assert_same(first, second):
    (metrics, gradient), (other_metrics, other_gradient) = first, second
    assert metrics == pytest.approx(other_metrics, abs=1e-6)
    assert (gradient - other_gradient).abs().max().item() < 1e-6


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("budget", [16, 40, 100])
def test_loss_and_gradient_do_not_depend_on_the_micro_batch_size(model, loss, budget):
    assert_same(
        loss_and_gradient(model, make_rows(model), loss), loss_and_gradient(model, make_rows(model), loss, budget)
    )


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_loss_and_gradient_do_not_depend_on_sharing_the_prompts(model, loss, monkeypatch):
    shared = loss_and_gradient(model, make_rows(model), loss)
    monkeypatch.setattr(forward, "can_share_prompts", lambda model: False)
    assert_same(shared, loss_and_gradient(model, make_rows(model), loss))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_loss_and_gradient_do_not_depend_on_the_order_of_the_rows(model, loss):
    rows = make_rows(model)
    shuffled = random.Random(5).sample(rows, len(rows))
    assert_same(loss_and_gradient(model, rows, loss), loss_and_gradient(model, shuffled, loss))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_loss_and_gradient_do_not_depend_on_padding(model, loss, monkeypatch):
    tight = loss_and_gradient(model, make_rows(model), loss)
    real = forward.pad

    def wasteful(sequences, device):
        tokens, mask = real(sequences, device)
        return torch.nn.functional.pad(tokens, (0, 5)), torch.nn.functional.pad(mask, (0, 5))

    monkeypatch.setattr(forward, "pad", wasteful)
    cropped = forward.SharedPrompts.logprobs

    def logprobs(self, prompts, completions):
        return cropped(self, prompts, completions)[:, : max(map(len, completions))]

    monkeypatch.setattr(forward.SharedPrompts, "logprobs", logprobs)
    assert_same(tight, loss_and_gradient(model, make_rows(model), loss))


@pytest.mark.parametrize("name", ["grpo_no_kl", "dapo", "dr_grpo"])
def test_leaving_out_rows_without_advantage_changes_nothing(model, name):
    loss = LOSSES[name]
    assert_same(
        loss_and_gradient(model, make_rows(model), loss), loss_and_gradient(model, make_rows(model), _EveryRow(loss))
    )


class _EveryRow:
    needs_every_row = True

    def __init__(self, loss):
        self._loss = loss

    def __call__(self, inputs):
        return self._loss(inputs)


def test_without_a_kl_term_tied_and_empty_rows_are_not_computed(model):
    computed = [row for row in make_rows(model) if needs_gradient(row, LOSSES["dapo"])]
    assert len(computed) == 20 - 4 - 1
    assert sum(needs_gradient(row, LOSSES["grpo"]) for row in make_rows(model)) == 20 - 1


def test_the_gradient_is_that_of_the_loss_written_out_row_by_row(model):
    loss = GrpoLoss(GrpoLossConfig(kl_coef=0))
    rows = make_rows(model)
    metrics, gradient = loss_and_gradient(model, rows, loss)
    model.zero_grad(set_to_none=True)
    total = torch.zeros(())
    for row in rows:
        if not row.completion:
            continue
        logits = model(input_ids=torch.tensor([[*row.prompt, *row.completion]]), use_cache=False).logits[0]
        logprobs = (logits / 0.8).log_softmax(-1)[len(row.prompt) - 1 : -1]
        ratio = (logprobs.gather(1, torch.tensor(row.completion)[:, None])[:, 0] - row.old_logprobs).exp()
        objective = torch.minimum(ratio * row.advantage, ratio.clamp(0.8, 1.2) * row.advantage)
        total = total - objective.mean() / len(rows)
    total.backward()
    written_out = torch.cat(
        [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in model.parameters()]
    )
    assert metrics["loss"] == pytest.approx(total.item(), abs=1e-6)
    assert (gradient - written_out / written_out.norm()).abs().max().item() < 1e-6


def test_log_probabilities_come_back_by_row_whatever_the_cut(model):
    rows = make_rows(model)
    whole = completion_logprobs(partial(forward.read_prompts, model), rows, PassOptions(1.0, 4096))
    pieces = completion_logprobs(partial(forward.read_prompts, model), list(reversed(rows)), PassOptions(1.0, 16))
    for row in rows:
        assert len(whole[row.index]) == len(row.completion)
        torch.testing.assert_close(pieces[row.index], whole[row.index], rtol=0, atol=1e-5)


def test_missing_old_and_reference_values_stand_for_the_current_policy(model):
    rows = make_rows(model)
    current = completion_logprobs(partial(forward.read_prompts, model), rows, PassOptions(0.8, 4096))
    given = [replace(row, old_logprobs=current[row.index], reference_logprobs=current[row.index]) for row in rows]
    left_out = [replace(row, old_logprobs=None, reference_logprobs=None) for row in rows]
    loss = LOSSES["grpo"]
    assert_same(loss_and_gradient(model, given, loss), loss_and_gradient(model, left_out, loss))


def test_the_distance_to_the_samplers_log_probabilities_is_measured(model):
    rows = make_rows(model)
    current = completion_logprobs(partial(forward.read_prompts, model), rows, PassOptions(0.8, 4096))
    shifted = [replace(row, sampled_logprobs=(current[row.index] + 0.25).tolist()) for row in rows]
    metrics, _ = loss_and_gradient(model, shifted, LOSSES["dapo"])
    assert metrics["sampler_gap"] == pytest.approx(0.25, abs=1e-5)


def from_sampler(model, shift):
    """Rows whose sampler thought each token so many nats less likely than the model does."""
    rows = [replace(row, old_logprobs=None, reference_logprobs=None) for row in make_rows(model)]
    current = completion_logprobs(partial(forward.read_prompts, model), rows, PassOptions(0.8, 4096))
    return [replace(row, sampled_logprobs=(current[row.index] - shift).tolist()) for row in rows]


def raw_gradient(model, rows, loss, cap=None):
    model.zero_grad(set_to_none=True)
    metrics = accumulate_gradients(
        partial(forward.read_prompts, model), rows, loss, 12, PassOptions(0.8, 4096, importance_cap=cap)
    )
    return metrics, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_a_sampler_that_agrees_is_weighted_by_one(model):
    rows = from_sampler(model, 0.0)
    metrics, weighted = raw_gradient(model, rows, LOSSES["dapo"], cap=2.0)
    _, plain = raw_gradient(model, rows, LOSSES["dapo"])
    assert (metrics["importance"], metrics["importance_capped"]) == (pytest.approx(1, abs=1e-5), 0)
    torch.testing.assert_close(weighted, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("shift", "weight", "capped"), [(0.5, math.exp(0.5), 0), (-0.5, math.exp(-0.5), 0), (3.0, 2.0, 1)]
)
def test_tokens_weigh_by_how_much_likelier_the_trainer_thinks_them_up_to_the_cap(model, shift, weight, capped):
    rows = from_sampler(model, shift)
    metrics, weighted = raw_gradient(model, rows, LOSSES["dr_grpo"], cap=2.0)
    _, plain = raw_gradient(model, rows, LOSSES["dr_grpo"])
    assert metrics["importance"] == pytest.approx(weight, rel=1e-4)
    assert metrics["importance_capped"] == capped
    torch.testing.assert_close(weighted, weight * plain, rtol=1e-3, atol=1e-5)


def test_after_an_update_tokens_still_weigh_by_what_the_trainer_thought_before_it(model):
    rows = from_sampler(model, 0.5)
    old = completion_logprobs(partial(forward.read_prompts, model), rows, PassOptions(0.8, 4096))
    rows = [replace(row, old_logprobs=old[row.index]) for row in rows]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.1
    metrics, _ = raw_gradient(model, rows, LOSSES["dapo"], cap=2.0)
    assert metrics["importance"] == pytest.approx(math.exp(0.5), rel=1e-4)


def test_a_model_with_a_sliding_window_is_read_row_by_row():
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=18,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        sliding_window=4,
    )
    model = MistralForCausalLM(config)
    assert not forward.can_share_prompts(model)
    assert (
        completion_logprobs(partial(forward.read_prompts, model), make_rows(model), PassOptions(1.0, 64))[0]
        .isfinite()
        .all()
    )


def test_a_policy_may_score_completions_in_its_own_way(model):
    class Own:
        def __init__(self, model):
            self.model = model

        def read_prompts(self, prompts, temperature):
            return forward.PlainPrompts(self.model, prompts, temperature)

    assert isinstance(forward.reader_of(Own(model))([[2, 3]], 1.0), forward.PlainPrompts)
