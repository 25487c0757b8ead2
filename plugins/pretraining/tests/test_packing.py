"""Packing documents into rows."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ponder_pretraining.packing import pack, packed_rows

DOCUMENTS = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=16), max_size=60)


@given(DOCUMENTS)
def test_every_document_stands_whole_in_exactly_one_row(documents):
    packed = [document for row in pack(documents, 16) for document in row]
    assert sorted(packed) == sorted(documents)


@given(DOCUMENTS)
def test_no_row_is_longer_than_its_length(documents):
    assert all(sum(map(len, row)) <= 16 for row in pack(documents, 16))


def test_equal_halves_leave_no_padding():
    assert [sum(map(len, row)) for row in pack([[1] * 8] * 10, 16)] == [16] * 5


def rows_of(texts, seed, count, length=8):
    def tokenize(block):
        return [[ord(letter) for letter in text] for text in block]

    return list(itertools.islice(packed_rows(lambda: iter(texts), tokenize, length, seed), count))


def test_the_stream_is_a_function_of_the_seed():
    texts = [chr(97 + place) * 3 for place in range(20)]
    assert rows_of(texts, 1, 30) == rows_of(texts, 1, 30)
    assert rows_of(texts, 1, 30) != rows_of(texts, 2, 30)


def test_documents_come_back_in_another_order_in_the_next_epoch():
    texts = [chr(97 + place) * 4 for place in range(20)]
    first, second = rows_of(texts, 1, 10), rows_of(texts, 1, 20)[10:]
    assert first != second
    assert sorted(map(str, itertools.chain(*first))) == sorted(map(str, itertools.chain(*second)))


def test_a_document_longer_than_a_row_is_cut_into_rows_and_loses_nothing():
    (row,) = {str(sorted(map(len, itertools.chain(*rows_of(["a" * 20], 0, 3)))))}
    assert row == "[4, 8, 8]"


def test_no_documents_make_an_empty_stream():
    assert rows_of([], 0, 5) == []
