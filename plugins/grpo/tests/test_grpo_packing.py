import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder_grpo.packing import PADDING_WORTH_A_PASS, micro_batches, prompt_chunks
from ponder_grpo.rows import Row, pad

lengths_of = st.lists(st.integers(0, 400), max_size=60)


@given(lengths_of, st.integers(16, 2000))
def test_every_row_is_in_exactly_one_micro_batch(lengths, budget):
    batches = micro_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(lengths_of, st.integers(16, 2000))
def test_a_micro_batch_keeps_to_its_budget_and_holds_little_padding(lengths, budget):
    for batch in micro_batches(lengths, budget):
        chosen = [lengths[index] for index in batch]
        assert len(batch) == 1 or max(chosen) * len(chosen) <= budget
        assert max(chosen) * len(chosen) - sum(chosen) <= PADDING_WORTH_A_PASS


def test_equal_lengths_make_one_micro_batch():
    assert micro_batches([7] * 50, 10_000) == [list(range(50))]


def row(index, group, prompt):
    return Row(index=index, group=group, prompt=[1] * prompt, completion=[2])


def test_groups_stay_whole_when_prompts_are_cut_into_chunks():
    rows = [row(index, index % 4, 10 + 5 * (index % 4)) for index in range(12)]
    chunks = prompt_chunks(rows, 40)
    assert sorted(r.index for chunk in chunks for r in chunk) == list(range(12))
    groups = [{r.group for r in chunk} for chunk in chunks]
    assert sum(map(len, groups)) == 4
    assert len(chunks) > 1


def test_a_prompt_longer_than_the_budget_is_alone():
    chunks = prompt_chunks([row(0, 0, 100), row(1, 1, 8), row(2, 2, 8)], 20)
    assert [[r.index for r in chunk] for chunk in chunks] == [[0], [1, 2]]


def test_padding_stands_right_of_the_tokens():
    tokens, mask = pad([[5, 6, 7], [], [8]], torch.device("cpu"))
    assert tokens.tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    assert mask.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
