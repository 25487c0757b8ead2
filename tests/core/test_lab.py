"""Saved rollouts, and what their scores show."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import InputError
from ponder.lab.oddness import oddities
from ponder.lab.page import page
from ponder.lab.saved import Saved, groups_of, read_saved
from ponder.lab.study import BINS, TOTAL, correlations, distribution, study, suspects, turns
from ponder.types import Completion, Example, Rollout

GOOD = "<think>Two and two make four, as anyone can count.</think> <answer>4</answer>"


def saved(text=GOOD, group=0, place="file:1", total=None):
    rollout = Rollout(Example([{"role": "user", "content": "What is 2 + 2?"}], "4"), Completion(text), group)
    return Saved(place, rollout, {}, total)


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_of_reinforcement_are_read_with_their_scores(tmp_path):
    row = {"step": 3, "group": 1, "prompt": "2 + 2 =", "answer": "4", "completion": "4", "tokens": 2, "score": 1.5}
    (found,) = read_saved(
        write(tmp_path / "rollouts.jsonl", {**row, "rewards/accuracy": 1.0, "finish_reason": "length"})
    )
    assert found.place == "rollouts.jsonl:1"
    assert found.rollout.example == Example([{"role": "user", "content": "2 + 2 ="}], "4", {})
    assert (found.rollout.completion.text, len(found.rollout.completion.token_ids)) == ("4", 2)
    assert found.rollout.completion.finish_reason == "length"
    assert (found.scores, found.total) == ({"accuracy": 1.0}, 1.5)


def test_rows_of_an_evaluation_are_grouped_by_problem(tmp_path):
    rows = [{"problem": n // 2, "prompt": f"{n // 2}?", "completion": "x", "scores": {"a": 1.0}} for n in range(4)]
    found = read_saved(write(tmp_path / "samples.jsonl", *rows))
    assert groups_of(found) == {0: [0, 1], 1: [2, 3]}


def test_the_same_group_number_in_another_step_is_another_group(tmp_path):
    rows = [{"step": step, "group": 0, "prompt": "q", "completion": "x"} for step in (1, 1, 2)]
    assert groups_of(read_saved(write(tmp_path / "r.jsonl", *rows))) == {0: [0, 1], 1: [2]}


def test_a_stages_directory_stands_for_its_file(tmp_path):
    write(tmp_path / "samples.jsonl", {"completion": "x"})
    assert len(read_saved(tmp_path)) == 1


def test_at_most_so_many_rows_are_read(tmp_path):
    path = write(tmp_path / "r.jsonl", *[{"completion": "x"}] * 9)
    assert len(read_saved(path, 4)) == 4


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "x"}', '{"completion": 3}', "[" * 5000])
def test_a_line_that_is_no_rollout_is_named(tmp_path, line):
    path = tmp_path / "r.jsonl"
    path.write_text('{"completion": "x"}\n' + line + "\n")
    with pytest.raises(InputError, match=r"r\.jsonl:2: not a rollout"):
        read_saved(path)


def test_no_file_and_an_empty_file_are_errors(tmp_path):
    with pytest.raises(InputError, match="give a file of rollouts"):
        read_saved(tmp_path)
    (tmp_path / "r.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no rollouts"):
        read_saved(tmp_path / "r.jsonl")


@given(st.lists(st.none() | st.floats(-10, 10), min_size=1, max_size=30))
def test_a_distribution_counts_every_score_once(values):
    found = distribution("a", values)
    known = [value for value in values if value is not None]
    if not known:
        assert found is None
    else:
        assert (found.scored, found.unscored) == (len(known), len(values) - len(known))
        assert sum(found.histogram) == len(known) and len(found.histogram) == BINS
        assert found.low <= found.median <= found.high


def test_a_reward_of_length_goes_with_length():
    rows = [saved("word " * n) for n in range(1, 9)]
    lengths = [float(n) for n in range(1, 9)]
    found = {
        (row.reward, row.other): row.r for row in correlations(rows, {"brevity": [-n for n in lengths], TOTAL: lengths})
    }
    assert found["brevity", "characters"] == pytest.approx(-1)
    assert found[TOTAL, "characters"] == pytest.approx(1)
    assert (TOTAL, TOTAL) not in found


def test_what_does_not_vary_has_no_correlation():
    assert list(correlations([saved()] * 5, {TOTAL: [1.0] * 5})) == []


def test_an_advantage_that_changes_sign_is_found_with_both_values():
    rows = [saved(place=f"f:{n}") for n in range(4)]
    found = turns(rows, [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])
    assert [(turn.place, turn.before, turn.after) for turn in found.turned] == [
        ("f:0", 0.75, -0.25),
        ("f:3", -0.25, 0.75),
    ]
    assert (found.groups, found.compared, found.lost, found.gained) == (1, 4, 0, 0)


def test_groups_that_lose_or_gain_their_signal_are_counted():
    rows = [saved(group=n // 2) for n in range(4)]
    found = turns(rows, [1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0])
    assert (found.lost, found.gained, found.turned) == (1, 1, [])


def test_single_rollouts_have_no_advantage():
    assert turns([saved(group=0), saved(group=1)], [1.0, 0.0], [0.0, 1.0]) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("the end is near " * 20, "repeats itself"),
        (GOOD + "\u200b\u200b\u200b", "cannot be seen"),
        ("<think></think> <answer>4</answer>", "thinks nothing"),
        (GOOD + " <answer>5</answer>", "more tags or answers"),
        ("<think>Let me 好的让我想想这个问题 see</think> <answer>4</answer>", "other languages"),
        (GOOD * 9, "characters where"),
    ],
)
def test_odd_responses_are_told_why(text, reason):
    assert any(reason in found for found in oddities(saved(text).rollout, [len(GOOD)] * 5))


def test_an_ordinary_response_is_not_odd():
    assert oddities(saved().rollout, [len(GOOD)] * 5) == []


def test_only_high_rewards_are_suspected():
    rows = [saved("so it is " * 20, place="low"), saved("so it is " * 20, place="high"), saved(), saved(), saved()]
    assert [found.place for found in suspects(rows, [0.0, 1.0, 0.2, 0.2, 0.2])] == ["high"]


@given(st.lists(st.text(max_size=200), min_size=1, max_size=6))
def test_any_text_can_be_studied_and_shown(texts):
    rows = [saved(text, total=1.0) for text in texts]
    found = study(rows, {TOTAL: [1.0] * len(rows)}, [0.5] * len(rows))
    assert "<script" not in page(found, "<script>alert(1)</script>")
