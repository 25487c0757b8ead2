import pytest
import torch

from ponder.errors import InputError
from ponder.types import LossInputs
from ponder_grpo import DapoLossConfig, DrGrpoLossConfig, GrpoLossConfig
from ponder_grpo.losses import DapoLoss, DrGrpoLoss, GrpoLoss

POLICY = [[0.5, 0.4], [0.3, 0.6, 0.2]]
OLD = [[0.4, 0.4], [0.3, 0.5, 0.4]]
REFERENCE = [[0.45, 0.5], [0.35, 0.5, 0.3]]
GARBAGE = float("nan")


def logs(probabilities):
    return torch.tensor([[*row, *[GARBAGE] * (3 - len(row))] for row in probabilities], dtype=torch.float64).log()


def worked_batch(advantages=(1.0, -1.0), **changes):
    mask = torch.tensor([[True, True, False], [True, True, True]])
    inputs = {
        "logprobs": logs(POLICY).requires_grad_(),
        "old_logprobs": logs(OLD),
        "reference_logprobs": logs(REFERENCE),
        "advantages": torch.tensor(advantages, dtype=torch.float64),
        "mask": mask,
        "batch_rows": 2,
        "batch_tokens": 5,
        "max_tokens": 4,
    }
    return LossInputs(**{**inputs, **changes})


CENTRED = (0.5, -0.5)


@pytest.mark.parametrize(
    ("loss", "advantages", "expected"),
    [
        (GrpoLoss(GrpoLossConfig(kl_coef=0)), (1.0, -1.0), -0.05),
        (GrpoLoss(GrpoLossConfig(kl_coef=0.001)), (1.0, -1.0), -0.0499714948),
        (GrpoLoss(GrpoLossConfig(kl_coef=0.04)), (1.0, -1.0), -0.0488597919),
        (GrpoLoss(GrpoLossConfig(kl_coef=0.001, epsilon_low=10, epsilon_high=10)), (1.0, -1.0), -0.1124714948),
        (DapoLoss(DapoLossConfig()), (1.0, -1.0), 0.15),
        (DrGrpoLoss(DrGrpoLossConfig()), CENTRED, 0.05),
        (DrGrpoLoss(DrGrpoLossConfig(denominator=8)), CENTRED, 0.025),
        (GrpoLoss(GrpoLossConfig(kl_coef=0.001, kl="unbiased")), CENTRED, -0.0249785158),
    ],
)
def test_the_worked_batch_gives_every_printed_loss(loss, advantages, expected):
    assert loss(worked_batch(advantages)).loss.item() == pytest.approx(expected, rel=1e-6)


def one_token(ratio, advantage, loss):
    logprobs = torch.tensor([[ratio]], dtype=torch.float64).log().requires_grad_()
    inputs = LossInputs(
        logprobs=logprobs,
        old_logprobs=torch.zeros(1, 1, dtype=torch.float64),
        reference_logprobs=None,
        advantages=torch.tensor([advantage], dtype=torch.float64),
        mask=torch.ones(1, 1, dtype=torch.bool),
        batch_rows=1,
        batch_tokens=1,
        max_tokens=1,
    )
    output = loss(inputs)
    output.loss.backward()
    return -output.loss.item(), -logprobs.grad.item(), output.metrics["clip_fraction"].item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "gradient", "clipped"),
    [
        (0.5, 1, 0.5, 0.5, 0),
        (10.9, 1, 10.9, 10.9, 0),
        (12.0, 1, 11.0, 0.0, 1),
        (500.0, 1, 11.0, 0.0, 1),
        (0.001, -1, -0.001, -0.001, 0),
        (12.0, -1, -12.0, -12.0, 0),
        (500.0, -1, -500.0, -500.0, 0),
    ],
)
def test_a_clip_range_of_ten_caps_good_tokens_at_eleven_and_bad_ones_never(
    ratio, advantage, objective, gradient, clipped
):
    loss = GrpoLoss(GrpoLossConfig(epsilon_low=10, epsilon_high=10, kl_coef=0))
    assert one_token(ratio, advantage, loss) == pytest.approx((objective, gradient, clipped))


def test_metrics_are_token_means_of_the_batch():
    metrics = GrpoLoss(GrpoLossConfig(kl_coef=0.04))(worked_batch()).metrics
    assert metrics["kl"].item() == pytest.approx(
        (0.0053605157 + 0.0268564487 + 0.0125159869 + 0.0156548876 + 0.0945348919) / 5, rel=1e-6
    )
    assert metrics["clip_fraction"].item() == pytest.approx(2 / 5)
    assert metrics["ratio_drift"].item() == pytest.approx((0.25 + 0.2 + 0.5) / 5)


@pytest.mark.parametrize(
    "loss", [GrpoLoss(GrpoLossConfig()), DapoLoss(DapoLossConfig(kl_coef=0.1)), DrGrpoLoss(DrGrpoLossConfig())]
)
def test_the_shares_of_micro_batches_add_up_to_the_batch(loss):
    whole = worked_batch()
    parts = [
        worked_batch(
            **{name: getattr(whole, name).detach()[row : row + 1] for name in per_row},
            advantages=whole.advantages[row : row + 1].tolist(),
        )
        for row in (0, 1)
        for per_row in [("logprobs", "old_logprobs", "reference_logprobs", "mask")]
    ]
    expected, outputs = loss(whole), [loss(part) for part in parts]
    assert sum(output.loss.item() for output in outputs) == pytest.approx(expected.loss.item(), rel=1e-12)
    for name, value in expected.metrics.items():
        assert sum(output.metrics[name].item() for output in outputs) == pytest.approx(value.item(), rel=1e-12)


def test_what_stands_behind_a_completion_reaches_neither_loss_nor_gradient():
    inputs = worked_batch()
    GrpoLoss(GrpoLossConfig(kl_coef=0.04)).__call__(inputs).loss.backward()
    assert inputs.logprobs.grad.isfinite().all()
    assert inputs.logprobs.grad[0, 2] == 0


@pytest.mark.parametrize(
    "loss", [GrpoLoss(GrpoLossConfig()), DapoLoss(DapoLossConfig()), DrGrpoLoss(DrGrpoLossConfig())]
)
def test_an_empty_completion_adds_nothing_and_is_finite(loss):
    nothing = worked_batch(mask=torch.zeros(2, 3, dtype=torch.bool), batch_tokens=0)
    assert loss(nothing).loss.item() == 0


def test_a_reference_is_asked_for_only_when_the_kl_term_has_weight():
    assert GrpoLoss(GrpoLossConfig()).needs_reference
    assert not GrpoLoss(GrpoLossConfig(kl_coef=0)).needs_reference
    with pytest.raises(ValueError, match="reference_logprobs"):
        GrpoLoss(GrpoLossConfig())(worked_batch(reference_logprobs=None))


def test_dr_grpo_without_any_length_limit_says_what_to_set():
    with pytest.raises(InputError, match="denominator"):
        DrGrpoLoss(DrGrpoLossConfig())(worked_batch(max_tokens=0))


@pytest.mark.parametrize("name", ["epsilon_low", "epsilon_high", "kl_coef"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_negative_or_unbounded_option_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        GrpoLossConfig(**{name: value})
