"""JSON Lines files, good and bad."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import InputError
from ponder_tasks import JsonlConfig
from ponder_tasks.jsonl import Jsonl


def write(tmp_path, content):
    path = tmp_path / "problems.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path, content, **options):
    return list(Jsonl(JsonlConfig(path=write(tmp_path, content), **options)).examples())


def test_rows_become_examples_in_order(tmp_path):
    rows = '{"prompt": "1 + 1?", "answer": "2", "difficulty": 1}\n\n{"prompt": "2 + 2?", "answer": 4}\n'
    first, second = read(tmp_path, rows)
    assert (first.prompt, first.answer, first.metadata) == ("1 + 1?", "2", {"difficulty": 1})
    assert (second.prompt, second.answer) == ("2 + 2?", "4")


def test_messages_are_kept_and_text_can_become_a_message(tmp_path):
    messages = [{"role": "user", "content": "hello"}]
    (kept,) = read(tmp_path, json.dumps({"prompt": messages}))
    (made,) = read(tmp_path, '{"prompt": "hello"}', as_chat=True)
    assert kept.prompt == made.prompt == messages


def test_columns_can_have_other_names(tmp_path):
    (example,) = read(tmp_path, '{"question": "1 + 1?", "gold": "2"}', prompt="question", answer="gold")
    assert (example.prompt, example.answer) == ("1 + 1?", "2")


def test_an_answer_can_be_what_comes_after_a_mark(tmp_path):
    rows = [{"prompt": "?", "answer": "3 #### 4 = 7\n#### 7 \n"}, {"prompt": "?", "answer": 7}, {"prompt": "?"}]
    read_rows = read(tmp_path, "\n".join(map(json.dumps, rows)), answer_after="####")
    assert [example.answer for example in read_rows] == ["7", "7", None]


@pytest.mark.parametrize("answer", ["7", "7 ####", "7 #### \n"])
def test_an_answer_without_anything_after_the_mark_is_malformed(tmp_path, answer):
    with pytest.raises(InputError, match="line 1: the answer has nothing after '####'"):
        read(tmp_path, json.dumps({"prompt": "?", "answer": answer}), answer_after="####")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ("[1, 2]", "a JSON object is needed, not a list"),
        ('{"promt": "x"}', "no 'prompt'; the columns are 'promt'"),
        ('{"prompt": ""}', "must be text"),
        ('{"prompt": null}', "not null"),
        ('{"prompt": [{"role": "user"}]}', "messages"),
        ('{"prompt": "x", "answer": [1]}', "the answer must be text or a number"),
        ('{"prompt": "x", "answer": NaN}', "NaN is not JSON"),
        ('{"prompt": ' + "[" * 100_000, "JSON|nested"),
    ],
)
def test_a_malformed_line_is_named_with_its_number(tmp_path, line, complaint):
    with pytest.raises(InputError, match=f"(?s)problems.jsonl.*line 2.*({complaint})"):
        read(tmp_path, '{"prompt": "fine"}\n' + line + "\n")


def test_all_malformed_lines_are_counted_and_the_first_ones_shown(tmp_path):
    with pytest.raises(InputError, match=r"(?s)9 malformed.*line 5.*and 4 more"):
        read(tmp_path, "oops\n" * 9)


def test_a_missing_file_an_empty_file_and_other_encodings_are_said(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        Jsonl(JsonlConfig(path=tmp_path / "absent.jsonl")).examples()
    with pytest.raises(InputError, match="has no rows"):
        read(tmp_path, "\n \n")
    with pytest.raises(InputError, match="line 2 is not UTF-8"):
        read(tmp_path, b'{"prompt": "x"}\n' + b'{"prompt": "\xff"}')


@given(st.text(max_size=200))
def test_any_text_gives_examples_or_an_input_error(tmp_path_factory, text):
    with contextlib.suppress(InputError):
        read(tmp_path_factory.mktemp("rows"), text.encode("utf-8", "replace"))
