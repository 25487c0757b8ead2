"""The page as a whole: complete, alone, safe, the same every time, and good for any run."""

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder_evaluation import ReportConfig
from ponder_evaluation.markup import number, points, script_data, text
from ponder_evaluation.report import ReportStage, read, render

VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """A page taken apart: its tags, its addresses, its words; unbalanced tags are an error."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.addresses, self.words, self.ids = [], [], [], [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        self.ids += [value for name, value in attributes if name == "id"]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def run_report(make_context, stages, **options):
    context = make_context()
    context.stages = {stage.name: stage for stage in stages}
    ReportStage(ReportConfig(stages=[stage.name for stage in stages], **options)).run(context)
    return context


def test_the_page_and_its_figures_are_written_and_tracked(make_context, whole_run):
    context = run_report(make_context, whole_run.stages)
    assert context.artifacts[0] == "report.html"
    assert {"curves_zero.svg", "emergence_base.svg", "exam_held_out.svg", "exam_held_out_others.svg"} <= set(
        context.artifacts
    )
    assert (context.directory / "figures" / "curves_zero.svg").read_text().startswith("<svg")


def test_the_page_has_every_part(whole_run):
    page = Page(whole_run.page)
    for id_ in [
        "pipeline",
        "claims",
        "models",
        "paper",
        "distillation",
        "emergence",
        "exams",
        "few-shot",
        "answers",
        "funnels",
        "stages",
    ]:
        assert id_ in page.ids and f"#{id_}" in page.addresses
    assert len(page.ids) == len(set(page.ids))


def test_every_link_leads_somewhere(whole_run):
    page = Page(whole_run.page)
    assert {address.removeprefix("#") for address in page.addresses} <= set(page.ids)


def test_the_same_run_gives_the_same_bytes(make_context, whole_run, tmp_path):
    first = run_report(make_context, whole_run.stages)
    before = {path.name: path.read_bytes() for path in sorted(first.directory.glob("**/*.svg"))}
    assert whole_run.page == whole_run.page
    second = run_report(make_context, whole_run.stages)
    assert before == {path.name: path.read_bytes() for path in sorted(second.directory.glob("**/*.svg"))}


def test_the_page_stands_alone(whole_run):
    source = whole_run.page
    page = Page(source)
    assert not {"link", "img", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.search(r"url\((?!#)|@import|https?:|fetch\(|XMLHttpRequest|import\(", source)
    assert page.tags.count("script") == 2


def test_the_page_suits_both_themes_narrow_screens_and_paper(whole_run):
    source = whole_run.page
    for wanted in ("prefers-color-scheme: dark", 'content="width=device-width', "max-width: 720px", "@media print"):
        assert wanted in source


def test_the_headline_goes_from_base_through_zero_to_r1(whole_run):
    head = Page(whole_run.page.partition("<nav")[0] + "</main></body></html>").text
    assert re.search(r"base [0-9.]+ % pass@1 on held_out .* zero [0-9.]+ % .* r1 [0-9.]+ %", head)


def test_the_headline_of_another_run_goes_from_first_to_last(empty_run):
    empty_run.exam("first", 0.2)
    empty_run.exam("second", 0.9)
    empty_run.exam("third", 0.5)
    heroes = re.findall(r'class="who">.*?</svg>(\w+)', empty_run.page.partition("<nav")[0])
    assert heroes == ["first", "third"]


def test_curves_of_every_kind_of_training_are_drawn(whole_run):
    words = Page(whole_run.page).text
    for title in ("Loss", "Rewards", "Right answers", "Response length", "Margin", "limit 96", "+ language"):
        assert title in words


def test_emergence_is_drawn_for_each_family(whole_run):
    section = re.search(r'<section id="emergence">.*?</section>', whole_run.page).group()
    assert "From base" in section and "From qwen" in section
    for title in (
        "pass@1",
        "Majority vote (cons@k)",
        "Thinking time",
        "Reflective words",
        "Language consistency",
        "Mixed languages",
    ):
        assert section.count(f"<b>{title}</b>") == 2


def test_the_reward_for_the_format_is_found_by_its_name(empty_run):
    empty_run.grpo("zero", "base")
    empty_run.steps("zero", 10, rewards__r1_format=lambda t: t)
    section = re.search(r'<section id="emergence">.*?</section>', empty_run.page).group()
    assert "<b>Format</b>" in section


def test_how_models_were_asked_is_told_with_what_differed(empty_run):
    empty_run.exam("base", 0.5, format="r1_zero")
    empty_run.exam("r1", 0.5, format="r1")
    words = Page(empty_run.page).text
    assert "24 problems × 4 samples · sampler exam · format r1_zero or r1 · no problem found among" in words


def test_problems_that_a_model_had_learnt_from_are_counted(empty_run):
    empty_run.exam("base", 0.5)
    path = empty_run["base_held_out"].directory / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "contamination": {"contaminated": 3}}))
    assert "problems found among what the models had learnt from: 3" in empty_run.page


def test_exams_are_drawn_over_votes_compute_difficulty_and_language(whole_run):
    section = re.search(r'<section id="exams">.*?</section>', whole_run.page).group()
    for title in (
        "Majority vote",
        "Test-time compute",
        "Accuracy by difficulty",
        "By language of the question",
        "By wish",
    ):
        assert f"<b>{title}</b>" in section


def test_the_funnel_tells_what_each_filter_took(whole_run):
    section = Page(re.search(r'<section id="funnels">.*?</section>', whole_run.page).group()).text
    assert "mixed language 40 20 40.0 %" in section


def test_a_funnel_of_several_units_is_told_unit_by_unit(empty_run):
    empty_run.sampling("data", "base", [])
    rows = [{"step": "prompts", "kept": 8, "unit": "prompts"}, {"step": "sampled", "kept": 80, "unit": "completions"}]
    rows.append({"step": "correct", "kept": 20, "removed": 60, "unit": "completions"})
    (empty_run["data"].directory / "funnel.json").write_text(json.dumps(rows))
    words = Page(empty_run.page).text
    assert "prompts 8 – 100.0 % prompts" in words and "correct 20 60 25.0 % completions" in words


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_what_a_run_changes_from_its_preset_is_told(empty_run, is_wrapped):
    empty_run.grpo("zero", "base", preset="r1_zero")
    rows = [{"option": "steps", "preset": 10400, "run": 40}, {"option": "kl", "preset": 0.001, "run": None}]
    written = {"preset": "r1_zero", "deviations": rows} if is_wrapped else rows
    (empty_run["zero"].directory / "deviations.json").write_text(json.dumps(written))
    words = Page(empty_run.page).text
    assert "Changed from the preset r1_zero option preset this run steps 10400 40 kl 0.001 –" in words


def test_a_stage_of_unknown_type_is_told_with_its_numbers_and_curves(empty_run):
    empty_run.steps("theirs", 20, wonder=lambda t: t, delight=lambda t: 1 - t)
    empty_run.add("theirs", "somebody_elses", metrics={"wonder": 1.0}, options={"depth": {"a": [1, None]}})
    words = Page(empty_run.page).text
    assert "theirs somebody_elses" in words and "delight" in words and "depth a: 1, –" in words


def test_an_evaluation_of_another_plugin_has_its_metrics_compared(empty_run):
    empty_run.pretrain("base")
    metrics = {"pass@1": 0.25, "format_rate": 0.5}
    empty_run.add("their_exam", "their_evaluate", metrics=metrics, options={"policy": "base", "task": "theirs"})
    assert "base pretrain 25.0 %" in Page(empty_run.page).text


def test_a_run_with_only_its_first_stages_has_a_page(whole_run):
    for count in range(len(whole_run.stages)):
        Page(render("part", read(whole_run.stages[:count])))


def test_a_run_without_stages_says_so(make_context):
    context = run_report(make_context, [])
    assert "no stages yet" in (context.directory / "report.html").read_text()


def test_an_earlier_report_is_not_told_about(whole_run):
    before = whole_run.page
    whole_run.add("report", "report")
    assert whole_run.page == before


def test_files_that_are_missing_count_as_empty(whole_run):
    for path in whole_run.directory.glob("*/*.json*"):
        path.unlink()
    words = Page(whole_run.page).text
    assert "All models" in words and "The pipeline" in words and "What reinforcement brought out" not in words


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe{", b'{"step": 1, "loss": NaN}\n{"step": "x"}\n[1]', b"[" * 100_000, b"3", b"null"]
)
def test_files_that_are_damaged_count_as_empty(whole_run, damage):
    for path in whole_run.directory.glob("*/*.json*"):
        path.write_bytes(damage)
    assert "All models" in Page(whole_run.page).text


HOSTILE = "</pre></script><script>alert(1)</script><!--\x1b[31m\x00\ud800\u202e&lt;$x_1$"


def test_hostile_text_stays_text(empty_run):
    run = empty_run
    name = HOSTILE.replace("/", "").replace("\x00", "").replace("\ud800", "")
    run.add(name, HOSTILE, policy=True, options={HOSTILE: HOSTILE, "policy": HOSTILE})
    run.exam(name, 0.5, text=HOSTILE, task=HOSTILE, name="exam")
    run.exam(HOSTILE, 0.5, text=HOSTILE, task=HOSTILE, name="other_exam")
    run.grpo("zero", name, length_limits=[{"step": 3, "max_new_tokens": HOSTILE}])
    probe = json.dumps({"step": 0, "prompt": HOSTILE, "completion": HOSTILE, "answer": HOSTILE, "score": 1.0})
    (run["zero"].directory / "probes.jsonl").write_text(probe)
    source = render(HOSTILE, read(run.stages))
    page = Page(source)
    assert page.tags.count("script") == 2
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\x00\x1b\u202e\ud800-\udfff]", source)
    source.encode("utf-8")


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_safe_on_a_page(value):
    written = text(value)
    written.encode("utf-8")
    assert not re.search("[<>\"'\x00-\x08\x0b-\x1f\x7f-\x9f]", written)


@settings(max_examples=300)
@given(
    st.recursive(
        st.text(st.characters(exclude_categories=("Cs",))),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_data_is_safe_in_a_script_and_comes_back(value):
    written = script_data(value)
    assert not re.search("[<>&\u2028\u2029]", written)
    assert json.loads(written) == value


@pytest.mark.parametrize(("value", "written"), [(0.1234, "+12.3"), (-0.05, "\N{MINUS SIGN}5.0"), (-0.0004, "0.0")])
def test_points_have_a_sign_where_they_are_not_nothing(value, written):
    assert points(value) == written


@pytest.mark.parametrize(("value", "written"), [(0.12345, "0.123"), (12345.6, "12,346"), (6.2e12, "6.20 × 10¹²")])
def test_numbers_are_written_for_people(value, written):
    assert number(value) == written


def test_a_long_text_is_cut_and_says_so():
    assert text("x" * 5000).endswith("x … (1000 more characters)")


def test_a_title_can_be_given(make_context, empty_run):
    empty_run.pretrain("base")
    context = run_report(make_context, empty_run.stages, title="My <b>run</b>")
    assert "<title>My &lt;b&gt;run&lt;/b&gt;</title>" in (context.directory / "report.html").read_text()
