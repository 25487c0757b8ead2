"""Tasks mixed in a ratio."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Example
from ponder.errors import InputError
from ponder_tasks import MixtureConfig
from ponder_tasks.mixture import Mixture


class Numbered:
    """A task of so many examples, named after it."""

    def __init__(self, name, size):
        self.name, self.size = name, size

    def examples(self):
        return (
            Example(f"{self.name} {number}", None, {"number": number, "task": "inner"}) for number in range(self.size)
        )


class Broken:
    def examples(self):
        raise InputError("lines.jsonl has no rows")


def mixed(sizes, **options):
    tasks = {name: Numbered(name, size) for name, size in sizes.items()}
    return list(Mixture(MixtureConfig(parts=list(sizes), **options), tasks.__getitem__).examples())


def parts(examples):
    return Counter(example.metadata["task"] for example in examples)


def test_as_many_as_fit_the_ratio_are_taken_and_none_twice():
    examples = mixed({"a": 100, "b": 20}, ratio=[3, 1])
    assert parts(examples) == {"a": 60, "b": 20}
    assert len({example.prompt for example in examples}) == 80


def test_an_example_keeps_its_metadata_but_for_the_name_of_its_part():
    example = next(iter(mixed({"a": 1, "b": 1})))
    assert example.metadata == {"number": 0, "task": "a"}


def test_parts_take_turns_from_the_beginning():
    names = [example.metadata["task"] for example in mixed({"a": 9, "b": 3}, ratio=[3, 1])]
    assert names == ["a", "a", "b", "a"] * 3


def test_without_a_ratio_all_parts_weigh_the_same():
    assert parts(mixed({"a": 5, "b": 7, "c": 6})) == {"a": 5, "b": 5, "c": 5}


def test_a_ratio_is_what_it_comes_to():
    assert mixed({"a": 30, "b": 10}, ratio=[75, 25]) == mixed({"a": 30, "b": 10}, ratio=[3, 1])


def test_a_size_is_met_exactly():
    assert parts(mixed({"a": 90, "b": 90}, ratio=[3, 1], size=10)) == {"a": 8, "b": 2}


def test_parts_are_repeated_in_another_order_when_asked_for():
    examples = mixed({"a": 6, "b": 3}, ratio=[1, 1], repeat=True)
    assert parts(examples) == {"a": 6, "b": 6}
    said = [example.metadata["number"] for example in examples if example.metadata["task"] == "b"]
    assert sorted(said[:3]) == sorted(said[3:]) == [0, 1, 2]
    assert parts(mixed({"a": 2, "b": 1}, size=12, repeat=True)) == {"a": 6, "b": 6}
    assert parts(mixed({"a": 1, "b": 1}, ratio=[3, 1], repeat=True)) == {"a": 3, "b": 1}


def test_the_order_depends_on_the_seed_alone():
    assert mixed({"a": 30, "b": 30}) == mixed({"a": 30, "b": 30})
    assert mixed({"a": 30, "b": 30}) != mixed({"a": 30, "b": 30}, seed=1)


def test_an_empty_part_is_named():
    with pytest.raises(InputError, match="part 'b' of a mixture has no examples"):
        mixed({"a": 3, "b": 0})


def test_a_part_that_cannot_be_read_is_named():
    tasks = {"a": Numbered("a", 3), "b": Broken()}
    with pytest.raises(InputError, match=r"part 'b' of a mixture: lines.jsonl has no rows"):
        Mixture(MixtureConfig(parts=["a", "b"]), tasks.__getitem__).examples()


def test_a_ratio_that_does_not_fit_is_said_with_counts():
    with pytest.raises(InputError, match=r"3:1 mixture \(a has 2, b has 9\) do not fill one round"):
        mixed({"a": 2, "b": 9}, ratio=[3, 1])


def test_a_size_that_would_repeat_a_part_is_said_with_counts():
    with pytest.raises(InputError, match=r"\(a has 10, b has 2\): a size of 12 takes 3 of 'b' and would repeat some"):
        mixed({"a": 10, "b": 2}, ratio=[3, 1], size=12)


def test_a_size_that_leaves_a_part_out_is_said():
    with pytest.raises(InputError, match="a size of 2 leaves none of 'b'"):
        mixed({"a": 10, "b": 2}, ratio=[9, 1], size=2)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"ratio": [3]}, "ratio has 1 numbers for 2 parts"),
        ({"ratio": [3, 0]}, "must be at least 1"),
        ({"size": 0}, "size must be at least 1"),
    ],
)
def test_impossible_mixtures_are_named(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        MixtureConfig(parts=["a", "b"], **options)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 5)), min_size=1, max_size=4),
    st.integers(1, 60),
)
def test_any_beginning_is_in_the_ratio_to_within_one_example(parts_and_shares, size):
    sizes = {f"p{number}": have for number, (have, _) in enumerate(parts_and_shares)}
    shares = [share for _, share in parts_and_shares]
    try:
        names = [example.metadata["task"] for example in mixed(sizes, ratio=shares, size=size, repeat=True)]
    except InputError:
        return
    counts = Counter(names)
    assert len(names) == size
    for length in range(size + 1):
        begun = Counter(names[:length])
        assert all(abs(begun[name] - length * counts[name] / size) <= len(sizes) / 2 for name in sizes)
