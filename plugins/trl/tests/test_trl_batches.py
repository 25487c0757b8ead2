"""Which conversations a step learns from, and how they lie in its tensors."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder_trl.batches import IGNORED, Batches, collate, micro_batches, pack
from ponder_trl.conversations import Conversation

LENGTHS = st.lists(st.integers(2, 40), min_size=1, max_size=30)


def conversation(length, prompt=1, first=10):
    return Conversation(torch.arange(first, first + length, dtype=torch.int32), prompt)


def batches(count=22, **changes):
    options = {"epochs": 2, "batch_size": 8, "micro_batch_tokens": 64, "packing": False, "pad": 1, "seed": 3}
    made = [conversation(2 + i % 7, first=100 * i) for i in range(count)]
    return Batches(**{"conversations": made, **options, **changes})


def first_tokens(found):
    return [int(conversation.tokens[0]) for conversation in found]


def test_every_conversation_is_read_once_an_epoch():
    made = batches()
    assert (made.steps_per_epoch, made.steps) == (3, 6)
    for epoch in range(2):
        read = [token for step in range(3) for token in first_tokens(made.conversations_of(3 * epoch + step))]
        assert sorted(read) == [100 * i for i in range(22)]
    assert first_tokens(made.conversations_of(0)) != first_tokens(made.conversations_of(3))


def test_a_batch_is_a_function_of_seed_and_step():
    assert first_tokens(batches().conversations_of(4)) == first_tokens(batches().conversations_of(4))
    assert first_tokens(batches().conversations_of(4)) != first_tokens(batches(seed=4).conversations_of(4))


def test_fewer_rows_than_a_batch_are_one_step_an_epoch():
    assert batches(3).steps == 2


def test_labels_are_the_response_and_positions_count_from_the_row():
    tensors = collate([[conversation(4, 2)], [conversation(2, 1, 50)]], pad=7)
    assert tensors["input_ids"].tolist() == [[10, 11, 12, 13], [50, 51, 7, 7]]
    assert tensors["labels"].tolist() == [[IGNORED, IGNORED, 12, 13], [IGNORED, 51, IGNORED, IGNORED]]
    assert tensors["position_ids"].tolist() == [[0, 1, 2, 3]] * 2


def test_an_end_that_is_also_the_padding_is_learnt_all_the_same():
    ended = Conversation(torch.tensor([5, 6, 0], dtype=torch.int32), 1)
    tensors = collate([[ended], [conversation(5)]], pad=0)
    assert tensors["labels"][0].tolist() == [IGNORED, 6, 0, IGNORED, IGNORED]


def test_packed_conversations_count_their_positions_from_their_own_beginning_and_so_does_the_padding():
    tensors = collate([[conversation(3), conversation(2, 1, 50)], [conversation(6)]], pad=1)
    assert tensors["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]]
    assert tensors["labels"][0].tolist() == [IGNORED, 11, 12, IGNORED, 51, IGNORED]


def test_the_first_token_of_a_conversation_is_never_predicted_from_the_one_before():
    tensors = collate([[conversation(3, 0), conversation(3, 0)]], pad=1)
    assert tensors["labels"][0].tolist() == [IGNORED, 11, 12, IGNORED, 11, 12]


@given(LENGTHS)
def test_packing_keeps_every_conversation_whole_in_rows_no_longer_than_the_longest(lengths):
    made = [conversation(length, first=100 * i) for i, length in enumerate(lengths)]
    rows = pack(made)
    assert sorted(first_tokens(found for row in rows for found in row)) == [100 * i for i in range(len(made))]
    assert all(sum(map(len, row)) <= max(lengths) for row in rows)
    assert len(rows) <= len(made)


@given(LENGTHS, st.integers(16, 100))
def test_micro_batches_hold_every_row_within_their_tokens(lengths, tokens):
    rows = [[conversation(length)] for length in lengths]
    groups = list(micro_batches(rows, tokens))
    assert sum(map(len, groups)) == len(rows)
    for group in groups:
        padded = len(group) * max(len(row[0]) for row in group)
        assert padded <= tokens or len(group) == 1


@given(LENGTHS, st.integers(16, 100), st.booleans())
def test_a_step_learns_the_same_tokens_however_it_is_cut(lengths, tokens, packing):
    made = [conversation(length) for length in lengths]
    batch = batches(conversations=made, batch_size=30, micro_batch_tokens=tokens, packing=packing)(0)
    learnt = [part["labels"][part["labels"] != IGNORED] for part in batch.parts]
    assert sum(map(len, learnt)) == batch.items == sum(length - 1 for length in lengths)
    assert torch.equal(
        torch.cat(learnt).sort().values, torch.cat([found.tokens[1:] for found in made]).sort().values.long()
    )
    assert batch.tokens == sum(lengths)
