"""Estimators of KL(pi || pi_ref) from one sampled token each: delta = log pi_ref - log pi.

As a loss term they differ from what they estimate: the gradient of their sample mean is not the gradient of the KL.
Source of k1, k2, k3: J. Schulman, "Approximating KL divergence" (2020).
"""

from __future__ import annotations

from torch import Tensor

from ponder_grpo.config import KlName


def k1(delta: Tensor) -> Tensor:
    """-delta: unbiased on policy, high variance, of either sign.

    No use as a loss: its gradient is that of log pi, whose expectation under pi is zero, whatever the reference is.
    """
    return -delta


def k2(delta: Tensor) -> Tensor:
    """delta^2 / 2: biased, but on policy its gradient is exactly that of KL(pi || pi_ref)."""
    return delta.square() / 2


def k3(delta: Tensor) -> Tensor:
    """e^delta - delta - 1 >= 0 (DeepSeekMath, equation 4; DeepSeek-R1, equation 2): unbiased on policy.

    As a loss its gradient is that of KL(pi_ref || pi): dk3 / dlog pi = 1 - e^delta.
    """
    return delta.expm1() - delta


def unbiased(delta: Tensor, ratio: Tensor) -> Tensor:
    """(pi / pi_old) * k3, with the gradient through the ratio too (DeepSeek-V3.2, section 3.1).

    Unbiased for samples of pi_old, and so is its gradient for that of KL(pi || pi_ref).
    """
    return ratio * k3(delta)


def kl_estimate(kind: KlName, logprobs: Tensor, reference_logprobs: Tensor, ratio: Tensor) -> Tensor:
    """The estimator that `kind` names, for each token: [rows, tokens] -> [rows, tokens], nats."""
    delta = reference_logprobs - logprobs
    if kind == "unbiased":
        return unbiased(delta, ratio)
    return {"k1": k1, "k2": k2, "k3": k3}[kind](delta)
