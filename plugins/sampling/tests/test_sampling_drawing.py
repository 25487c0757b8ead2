"""How a token is drawn: streams, inverse CDF, truncation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder_sampling import SamplingConfig
from ponder_sampling.drawing import draw, row_keys, truncate, uniforms

LOGITS = torch.tensor([2.0, -1.0, 0.5, 0.0, 1.5, -4.0])


def _many_draws(options: SamplingConfig, count: int = 40_000) -> torch.Tensor:
    numbers = uniforms(row_keys(7, ((0, sample) for sample in range(count))), 0)
    return draw(LOGITS.expand(count, -1), numbers, options)[0]


def _chi_square(tokens: torch.Tensor, probabilities: torch.Tensor) -> float:
    expected = probabilities * len(tokens)
    observed = torch.bincount(tokens, minlength=len(probabilities))
    kept = expected > 0
    assert observed[~kept].sum() == 0
    return float(((observed - expected)[kept] ** 2 / expected[kept]).sum())


def test_streams_are_splitmix64() -> None:
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    key = torch.tensor([1234567])
    drawn = [float(uniforms(key, position)) for position in range(5)]
    assert drawn == [(value >> 11) * 2.0**-53 for value in published]


def test_streams_differ_by_seed_example_and_sample() -> None:
    keys = [*row_keys(0, [(0, 0), (0, 1), (1, 0)]).tolist(), *row_keys(1, [(0, 0)]).tolist()]
    assert len(set(keys)) == 4


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
def test_frequencies_follow_the_softmax_at_the_temperature(temperature: float) -> None:
    tokens = _many_draws(SamplingConfig(temperature=temperature))
    # 99.9th percentile of chi-square with 5 degrees of freedom.
    assert _chi_square(tokens, (LOGITS / temperature).softmax(-1).double()) < 20.5


def test_frequencies_within_the_nucleus_are_the_renormalised_ones() -> None:
    probabilities = LOGITS.softmax(-1).double()
    nucleus = torch.where(LOGITS >= 0.5, probabilities, 0.0)
    tokens = _many_draws(SamplingConfig(top_p=0.85))
    assert _chi_square(tokens, nucleus / nucleus.sum()) < 13.8


def test_log_probabilities_are_of_the_untruncated_softmax_at_the_temperature() -> None:
    options = SamplingConfig(temperature=0.7, top_k=2, top_p=0.9)
    tokens, logprobs = draw(LOGITS.expand(100, -1), torch.linspace(0, 0.999, 100).double(), options)
    expected = (LOGITS / 0.7).log_softmax(-1)[tokens]
    assert torch.allclose(logprobs, expected, atol=1e-6)


def test_temperature_zero_takes_the_likeliest_token_and_reports_temperature_one() -> None:
    tokens, logprobs = draw(LOGITS[None], torch.tensor([0.99], dtype=torch.float64), SamplingConfig(temperature=0.0))
    assert tokens.tolist() == [0]
    assert logprobs.item() == pytest.approx(LOGITS.log_softmax(-1)[0].item(), abs=1e-6)


@pytest.mark.parametrize("number", [0.0, 1 - 2.0**-53])
@pytest.mark.parametrize("shift", [0.0, 0.3, 1.7, -2.2])
def test_the_ends_of_the_unit_interval_draw_tokens_of_positive_probability(number: float, shift: float) -> None:
    logits = torch.tensor([[-math.inf, 1.0, 2.0 + shift, -math.inf]])
    tokens, _ = draw(logits, torch.tensor([number], dtype=torch.float64), SamplingConfig())
    assert tokens.item() in (1, 2)


def test_a_row_of_nan_has_a_log_probability_that_is_not_finite() -> None:
    _, logprobs = draw(torch.full((1, 4), math.nan), torch.tensor([0.5], dtype=torch.float64), SamplingConfig())
    assert not logprobs.isfinite().any()


def _nucleus_by_definition(probabilities: list[float], top_k: int, top_p: float) -> set[int]:
    order = sorted(range(len(probabilities)), key=lambda token: -probabilities[token])[: top_k or None]
    total, before, kept = sum(probabilities[token] for token in order), 0.0, set()
    for token in order:
        if before < top_p * total:
            kept.add(token)
        before += probabilities[token]
    return kept


@given(
    st.lists(st.integers(1, 1000), min_size=2, max_size=100, unique=True),
    st.integers(0, 120),
    st.sampled_from([0.1, 0.333, 0.5, 0.777, 0.95, 1.0]),
)
@settings(max_examples=200, deadline=None)
def test_truncation_keeps_the_set_that_the_definition_says(weights: list[int], top_k: int, top_p: float) -> None:
    probabilities = torch.tensor([weights]).double()
    probabilities /= probabilities.sum()
    kept = truncate(probabilities, SamplingConfig(top_k=top_k, top_p=top_p))[0]
    by_definition = _nucleus_by_definition(probabilities[0].tolist(), top_k, top_p)
    # Where the cumulative sum meets top_p exactly, rounding may decide either way about one token.
    assert len(set(kept.nonzero().flatten().tolist()) ^ by_definition) <= 1
    assert kept.max() == probabilities.max()


def test_a_nucleus_wider_than_the_first_guess_is_found_whole() -> None:
    probabilities = torch.full((2, 1000), 1 / 1000)
    probabilities[1] = torch.softmax(torch.arange(1000.0), -1)
    kept = truncate(probabilities, SamplingConfig(top_p=0.5)) > 0
    assert kept.sum(1).tolist() == [pytest.approx(500, abs=1), 2 if probabilities[1].max() < 0.5 else 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be 0"),
        ({"temperature": math.nan}, "temperature must be 0"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"top_p": 1.5}, "top_p must be above 0"),
        ({"top_k": -1}, "top_k must be 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**options)
