import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder import StageResult
from ponder.context import FinishedStage
from ponder_evaluation import ReportConfig
from ponder_evaluation.markup import text
from ponder_evaluation.readings import read_stage
from ponder_evaluation.report import ReportStage, render

VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """A page taken apart: its tags, its addresses, its words; unbalanced tags are an error."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.addresses, self.words = [], [], [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def finished(directory, name, type_, metrics=None, **options):
    directory.joinpath(name).mkdir(parents=True, exist_ok=True)
    return FinishedStage(name, type_, directory / name, StageResult(metrics=metrics or {}), "0123456789abcdef", options)


def evaluation(directory, name, policy, right, completion="<think>so</think><answer>2</answer>"):
    rows = [
        {
            "problem": number,
            "difficulty": str(number % 3 + 2),
            "prompt": f"1 + {number} =",
            "answer": str(1 + number),
            "completion": completion,
            "correct": number < right,
            "length": 10 + number % 3,
        }
        for number in range(9)
    ]
    lines(directory / name / "samples.jsonl", rows)
    metrics = {"pass@1": right / 9, "pass@1_low": 0.1, "pass@1_high": 0.9, "response_length": 11.0, "format_rate": 0.5}
    return finished(directory, name, "evaluate", metrics, policy=policy, task="sums")


@pytest.fixture
def stages(tmp_path):
    """A run as the main job makes it: pretrain, evaluate, grpo, evaluate."""
    pretrain = finished(tmp_path, "pretrain", "pretrain", {"loss": 1.5}, policy="base", task="web")
    lines(tmp_path / "pretrain" / "metrics.jsonl", [{"step": step, "loss": 4 / (step + 1)} for step in range(100)])
    grpo = finished(tmp_path, "zero", "grpo", {"reward": 0.8}, policy="pretrain", task="sums", group_size=16)
    steps = [
        {"step": step, "rewards/accuracy": step / 50, "rewards/accuracy/error": 0, "response_length": 12 + step}
        | {"language_consistency": 0.9, "chinese_share": 0.1, "reflection_rate": step / 20}
        for step in range(50)
    ]
    lines(tmp_path / "zero" / "metrics.jsonl", steps)
    probes = [
        {"step": step, "prompt": "3 + 4 =", "answer": "7", "completion": f"probe at {step}", "tokens": 5, "score": 1.1}
        for step in range(0, 60, 5)
    ]
    lines(tmp_path / "zero" / "probes.jsonl", probes)
    before = evaluation(tmp_path, "before", "pretrain", 4)
    return [pretrain, before, grpo, evaluation(tmp_path, "after", "zero", 8)]


def page_of(stages, title="sums"):
    return render(title, [read_stage(stage) for stage in stages])


def run(make_context, stages, **options):
    context = make_context()
    context.stages = {stage.name: stage for stage in stages}
    names = [stage.name for stage in stages]
    ReportStage(ReportConfig(stages=names, **options)).run(context)
    return context


def test_the_page_and_its_figures_are_written_and_tracked(make_context, stages):
    context = run(make_context, stages)
    assert context.artifacts == ["report.html", "curves_pretrain.png", "curves_zero.png", "accuracy_and_length.png"]
    assert (context.directory / "figures" / "curves_zero.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_run_gives_the_same_page(stages):
    assert page_of(stages) == page_of(stages)


def test_the_page_stands_alone(stages):
    page = Page(page_of(stages))
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.search(r"url\((?!#)|@import", page_of(stages))


def test_the_page_suits_both_themes_and_narrow_screens(stages):
    source = page_of(stages)
    assert "prefers-color-scheme: dark" in source
    assert 'name="viewport" content="width=device-width' in source
    assert "#010203" not in source and "currentColor" in source and "var(--series-1)" in source


def test_accuracy_before_and_after_is_told_with_its_interval(stages):
    words = Page(page_of(stages)).text
    assert "44.4 % → 88.9 %" in words
    assert "44.4 % 10.0 to 90.0 %" in words


def test_curves_of_both_training_stages_are_drawn(stages):
    words = Page(page_of(stages)).text
    for title in ("Loss", "Accuracy and other rewards", "Response length", "Languages", "Reflection"):
        assert title in words
    assert "rewards/accuracy/error" not in words


def test_accuracy_against_length_is_drawn_by_difficulty(stages):
    words = Page(page_of(stages)).text
    assert "Accuracy against response length" in words
    assert "Accuracy by difficulty" in words


def test_one_problem_is_shown_at_several_steps(stages):
    words = Page(page_of(stages)).text
    assert "probe at 0" in words and "probe at 55" in words
    assert words.count("probe at") == 6


def test_an_answer_that_became_right_is_shown_first(stages):
    _, _, examples = Page(page_of(stages)).text.partition("Answers before and after")
    assert examples.index("1 + 4 =") < examples.index("wrong") < examples.index("right")


def test_the_chain_of_stages_is_told(stages):
    words = Page(page_of(stages)).text
    assert "base → pretrain (pretrain on web) → zero (grpo on sums)" in words
    assert "group_size" in words and "0123456789ab" in words


def test_a_title_can_be_given(make_context, stages):
    context = run(make_context, stages, title="My <b>run</b>")
    assert "<title>My &lt;b&gt;run&lt;/b&gt;</title>" in (context.directory / "report.html").read_text()


def test_a_run_without_training_has_a_page(make_context, tmp_path):
    context = run(make_context, [evaluation(tmp_path, "before", "base", 3)])
    page = Page((context.directory / "report.html").read_text())
    assert "33.3 %" in page.text
    assert "step by step" not in page.text


def test_a_run_without_an_evaluation_has_a_page(make_context, stages):
    context = run(make_context, stages[:1])
    assert context.artifacts == ["report.html", "curves_pretrain.png"]


def test_a_run_without_stages_has_a_page(make_context):
    context = run(make_context, [])
    assert "no stages yet" in (context.directory / "report.html").read_text()


def test_damaged_files_count_as_empty(stages):
    (stages[2].directory / "metrics.jsonl").write_bytes(
        b'{"step": 1, "loss": \xff\n[1]\nnull\n{"step": "x"}\n{"step": 2, "loss": NaN}\n'
    )
    (stages[2].directory / "probes.jsonl").unlink()
    words = Page(page_of(stages)).text
    assert "zero, step by step" not in words and "several steps" not in words


HOSTILE = "</pre><script>alert(1)</script>\x1b[31m\x00\ud800\u202e&lt;$x_1$"


def test_hostile_text_stays_text(tmp_path):
    stage = evaluation(
        tmp_path, HOSTILE.replace("/", "").replace("\x00", "").replace("\ud800", ""), HOSTILE, 3, HOSTILE
    )
    source = page_of([stage, evaluation(tmp_path, "after", HOSTILE, 5, HOSTILE)], title=HOSTILE)
    page = Page(source)
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\x00\x1b\u202e\ud800-\udfff]", source)
    source.encode("utf-8")


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_safe_on_a_page(value):
    written = text(value)
    written.encode("utf-8")
    assert not re.search("[<>\"'\x00-\x08\x0b-\x1f\x7f-\x9f]", written)


def test_a_long_text_is_cut_and_says_so():
    assert text("x" * 5000).endswith("x … (1000 more characters)")
