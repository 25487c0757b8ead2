"""Speculative decoding: guesses change how many passes a text takes, never the text or its distribution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ponder import Example
from ponder.errors import InputError, StageError
from ponder_sampling import FastConfig, SamplingConfig
from ponder_sampling.drawing import row_keys, truncate, uniforms
from ponder_sampling.fast import GUESS_COST, SPECULATIVE_ROWS, FastSampler
from ponder_sampling.speculative import Guesses, SpeculativeRows, decode_ahead

EXAMPLES = [Example("What is 3 + 4?"), Example("Hi"), Example("1+1=2; 2+2=")]


class MarkovDecoder:
    """A drafting decoder of a model whose logits depend on the last token alone, and of guesses by another such table."""

    def __init__(self, table: Tensor, guesses: Tensor, depth: int) -> None:
        self.table, self.guesses, self.depth = table, guesses, depth
        self.cost = 0.1
        self.passes = 0
        self.capacity = 0

    def prefill(self, input_ids: Tensor, lengths: Tensor, capacity: int) -> Tensor:
        self.last, self.read = input_ids[torch.arange(len(lengths)), lengths - 1], lengths.clone()
        self.capacity = input_ids.shape[1] + capacity
        return self.table[self.last]

    def select(self, rows: Tensor) -> None:
        self.last, self.read = self.last[rows], self.read[rows]

    def step(self, tokens: Tensor) -> Tensor:
        self.passes += 1
        self.last = tokens
        return self.table[tokens]

    def draft(self, tokens: Tensor, choose) -> Tensor:
        found = [tokens]
        for number in range(self.depth):
            found.append(choose(self.guesses[found[-1]], number))
        return torch.stack(found[1:], 1)

    def verify(self, tokens: Tensor) -> Tensor:
        self.passes += 1
        self.verified = tokens
        assert int(self.read.max()) + tokens.shape[1] <= self.capacity
        return self.table[tokens]

    def keep(self, counts: Tensor) -> None:
        self.read = self.read + counts


def tables(vocabulary: int, noise: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(vocabulary, vocabulary, generator=generator) * 2
    return table, table + noise * torch.randn(vocabulary, vocabulary, generator=generator)


@pytest.fixture
def make_guessing(make_policy):
    """A policy whose guesses are as good as `noise` allows."""

    def make(noise: float = 0.5, depth: int = 1):
        policy = make_policy()
        decoder = MarkovDecoder(*tables(len(policy.tokenizer), noise), depth)
        policy.decoder = policy.drafting_decoder = lambda: decoder
        return policy, decoder

    return make


def sampler(speculative: bool | None, **options) -> FastSampler:
    return FastSampler(FastConfig(**{"max_new_tokens": 20, **options}, speculative=speculative))


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"temperature": 0.7, "top_p": 0.8}, {"top_k": 3}])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_text_is_that_without_guesses_bit_for_bit(make_guessing, depth: int, options) -> None:
    policy, _ = make_guessing(depth=depth)
    plain = sampler(False, **options).sample(policy, EXAMPLES, 6, seed=2)
    ahead = sampler(True, **options).sample(policy, EXAMPLES, 6, seed=2)
    assert ahead == plain


def test_some_texts_of_these_tests_end_before_the_limit(make_guessing) -> None:
    groups = sampler(True, max_new_tokens=200).sample(make_guessing(depth=2)[0], EXAMPLES, 8, seed=2)
    assert {completion.finish_reason for group in groups for completion in group} == {"stop", "length"}


@pytest.mark.parametrize(
    "options",
    [SamplingConfig(), SamplingConfig(temperature=0.6, top_p=0.9), SamplingConfig(temperature=1.5, top_k=3)],
)
@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_texts_of_four_tokens_have_the_frequencies_of_the_models_own_distribution(options, noise: float) -> None:
    rows, length = 40_000, 4
    table, guesses = tables(4, noise)
    decoder, counted = MarkovDecoder(table, guesses, 2), Guesses()
    keys = row_keys(11, ((0, sample) for sample in range(rows)))
    state = SpeculativeRows.start(keys, torch.full((rows,), length), -1, 2, counted)
    logits = decoder.prefill(torch.zeros(rows, 1, dtype=torch.long), torch.ones(rows, dtype=torch.long), length + 2)
    list(decode_ahead(decoder, logits, state, options))
    scale = options.temperature
    step = truncate((table / scale).softmax(-1), options).double()
    step /= step.sum(-1, keepdim=True)
    expected = torch.einsum("a,ab,bc,cd->abcd", step[0], step, step, step).flatten() * rows
    codes = (state.tokens[:, :length] * torch.tensor([64, 16, 4, 1])).sum(1)
    observed = torch.bincount(codes, minlength=256)
    usual = expected >= 5
    statistic = float(((observed - expected)[usual] ** 2 / expected[usual]).sum())
    freedom = int(usual.sum()) - 1
    # Four standard deviations of a chi-square.
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5
    assert observed[expected == 0].sum() == 0
    assert 0.05 < counted.right / counted.made < 0.95


def test_good_guesses_save_passes_and_are_reported_once(make_guessing) -> None:
    policy, decoder = make_guessing(noise=0.0, depth=2)
    good = sampler(True, max_new_tokens=30)
    [[completion]] = good.sample(policy, EXAMPLES[:1], 1, seed=0)
    assert decoder.passes <= -(-len(completion.token_ids) // 3)
    assert good.statistics()["draft_acceptance"] > 0.9
    assert good.statistics() == {}


def test_hopeless_guesses_cost_no_token(make_guessing) -> None:
    policy, decoder = make_guessing(depth=1)
    decoder.guesses = -100 * decoder.table
    bad = sampler(True, temperature=0.0)
    assert bad.sample(policy, EXAMPLES, 2, seed=0) == sampler(False, temperature=0.0).sample(
        policy, EXAMPLES, 2, seed=0
    )
    assert bad.statistics()["draft_acceptance"] == 0.0


def test_log_probabilities_are_the_models_not_the_guesses(make_guessing) -> None:
    policy, decoder = make_guessing(noise=1.0)
    [[completion]] = sampler(True, temperature=0.8).sample(policy, EXAMPLES[:1], 1, seed=4)
    last = policy.tokenizer(EXAMPLES[0].prompt)["input_ids"][-1]
    before = torch.tensor([last, *completion.token_ids[:-1]])
    expected = (decoder.table[before] / 0.8).log_softmax(-1)[
        torch.arange(len(before)), torch.tensor(completion.token_ids)
    ]
    assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-5)


def test_a_completion_ends_where_the_context_ends_though_guesses_reach_beyond(make_guessing) -> None:
    policy, _ = make_guessing(depth=3)
    examples = [Example("x" * 60), Example("y" * 50)]
    groups = sampler(True, max_new_tokens=30).sample(policy, examples, 4, seed=0)
    assert [max(len(completion.token_ids) for completion in group) for group in groups] == [4, 14]
    assert groups == sampler(False, max_new_tokens=30).sample(policy, examples, 4, seed=0)


def test_a_stream_tells_the_tokens_of_a_pass_one_by_one(make_guessing) -> None:
    policy, _ = make_guessing(depth=2)
    stream, pieces = sampler(True).stream(policy, EXAMPLES[1], 5), []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            completion = end.value
            break
    assert "".join(pieces) == completion.text
    assert [[completion]] == sampler(False).sample(policy, EXAMPLES[1:2], 1, 5)


def test_cheap_guesses_are_made_for_few_rows_unless_the_option_says(make_guessing) -> None:
    policy, decoder = make_guessing()
    for rows, cost, speculative, expected in (
        (SPECULATIVE_ROWS, GUESS_COST, None, True),
        (SPECULATIVE_ROWS, 1 / 3, None, False),
        (SPECULATIVE_ROWS + 1, GUESS_COST, None, False),
        (SPECULATIVE_ROWS + 1, 1 / 3, True, True),
        (1, GUESS_COST, False, False),
    ):
        decoder.cost = cost
        one = sampler(speculative)
        one.sample(policy, EXAMPLES[:1], rows, seed=0)
        assert bool(one.statistics()) is expected


def test_a_policy_that_cannot_guess_is_refused_only_when_it_is_asked_to(make_policy) -> None:
    policy = make_policy()
    assert sampler(None).sample(policy, EXAMPLES, 1, seed=0)
    with pytest.raises(InputError, match=r"no modules for multi-token prediction.*mtp_depth: 1"):
        sampler(True).sample(policy, EXAMPLES, 1, seed=0)
    policy.drafting_decoder = lambda: None
    with pytest.raises(InputError, match="no modules"):
        sampler(True).sample(policy, EXAMPLES, 1, seed=0)


def test_logits_that_are_not_finite_end_the_stage_and_guesses_that_are_not_do_no_harm(make_guessing) -> None:
    policy, decoder = make_guessing()
    plain = sampler(False).sample(policy, EXAMPLES, 2, seed=0)
    decoder.guesses = torch.full_like(decoder.guesses, torch.nan)
    assert sampler(True).sample(policy, EXAMPLES, 2, seed=0) == plain
    decoder.table = torch.full_like(decoder.table, torch.nan)
    with pytest.raises(StageError, match="not finite"):
        sampler(True).sample(policy, EXAMPLES, 2, seed=0)


def test_numbers_of_a_stream_may_be_asked_for_at_a_place_of_each_rows_own() -> None:
    keys = row_keys(3, [(0, 0), (0, 1), (1, 0)])
    each = [float(uniforms(keys[row : row + 1], place)) for row, place in enumerate((5, 0, 2**40))]
    assert uniforms(keys, torch.tensor([5, 0, 2**40])).tolist() == each
