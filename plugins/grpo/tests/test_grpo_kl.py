import pytest
import torch

from ponder_grpo.kl import k1, k2, k3, kl_estimate, unbiased

DELTAS = [-2, -1, -0.5, -0.1, 0, 0.1, 0.5, 1, 2, 5]
K3 = [1.1353353, 0.3678794, 0.1065307, 0.0048374, 0, 0.0051709, 0.1487213, 0.7182818, 4.3890561, 142.4131591]
DK3 = [0.8646647, 0.6321206, 0.3934693, 0.0951626, 0, -0.1051709, -0.6487213, -1.7182818, -6.3890561, -147.4131591]

POLICY = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
REFERENCE = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
OLD = torch.tensor([0.6, 0.2, 0.2], dtype=torch.float64)
FORWARD_GRADIENT = [0.0989382, -0.0938848, -0.0050534]


def test_k3_and_its_derivative_match_the_table():
    logprob = torch.zeros(len(DELTAS), dtype=torch.float64, requires_grad=True)
    values = k3(torch.tensor(DELTAS, dtype=torch.float64) - logprob)
    values.sum().backward()
    assert values.tolist() == pytest.approx(K3, rel=1e-6, abs=5e-8)
    assert logprob.grad.tolist() == pytest.approx(DK3, rel=1e-6, abs=5e-8)


def test_k1_and_k2_are_their_definitions():
    deltas = torch.tensor([-2.0, 0.0, 3.0])
    assert k1(deltas).tolist() == [2.0, 0.0, -3.0]
    assert k2(deltas).tolist() == [2.0, 0.0, 4.5]


def test_expectations_on_three_categories_match_the_reference():
    delta = (REFERENCE / POLICY).log()
    assert (POLICY * k1(delta)).sum().item() == pytest.approx(0.0252671539, rel=1e-6)
    assert (POLICY * k3(delta)).sum().item() == pytest.approx(0.0252671539, rel=1e-6)
    assert (OLD * k3(delta)).sum().item() == pytest.approx(0.0230163830, rel=1e-6)
    assert (OLD * unbiased(delta, POLICY / OLD)).sum().item() == pytest.approx(0.0252671539, rel=1e-6)


def gradient(weights, estimate):
    """The gradient in the logits of the mean of an estimator, under fixed weights of the categories."""
    logits = POLICY.log().requires_grad_()
    logprobs = logits.log_softmax(0)
    (weights * estimate(logprobs)).sum().backward()
    return logits.grad.tolist()


def test_the_gradient_of_k3_is_that_of_the_reverse_divergence():
    measured = gradient(POLICY, lambda logprobs: k3(REFERENCE.log() - logprobs))
    assert measured == pytest.approx([0.1, -0.1, 0.0], rel=1e-6, abs=1e-12)


def test_the_gradient_of_the_unbiased_form_is_that_of_the_divergence():
    measured = gradient(OLD, lambda logprobs: unbiased(REFERENCE.log() - logprobs, (logprobs - OLD.log()).exp()))
    assert measured == pytest.approx(FORWARD_GRADIENT, rel=1e-5)


def test_the_gradient_of_k2_on_policy_is_that_of_the_divergence():
    assert gradient(POLICY, lambda logprobs: k2(REFERENCE.log() - logprobs)) == pytest.approx(
        FORWARD_GRADIENT, rel=1e-5
    )


def test_the_gradient_of_k1_is_zero_whatever_the_reference():
    assert gradient(POLICY, lambda logprobs: k1(REFERENCE.log() - logprobs)) == pytest.approx([0, 0, 0], abs=1e-12)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3", "unbiased"])
def test_every_estimator_is_zero_where_policy_and_reference_agree(kind):
    logprobs = torch.tensor([[-1.0, -2.0]])
    assert kl_estimate(kind, logprobs, logprobs, torch.tensor([[0.5, 2.0]])).abs().sum().item() == 0
