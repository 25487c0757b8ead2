"""The graph of a run: what came from what, who plays which part, and where boxes are drawn."""

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder_evaluation.graph import pipeline_graph
from ponder_evaluation.layout import Sizes, lanes, layered, layers_of
from ponder_evaluation.pipeline import Link, kind_of
from ponder_evaluation.report import read

SIZES = Sizes(width=100, height=40, column=150, gap=10, bend=4)


def links_of(run):
    return {(link.source, link.target): link.kind for link in read(run.stages).pipeline.links}


def test_weights_come_from_the_policy_a_stage_starts_with(whole_run):
    weights = {pair for pair, kind in links_of(whole_run).items() if kind == "weights"}
    assert {
        ("base", "zero"),
        ("base", "cold_start"),
        ("cold_start", "reasoning"),
        ("base", "sft"),
        ("sft", "r1"),
    } <= weights
    assert ("reasoning", "sft") not in weights


def test_data_come_through_a_task_that_does_not_name_the_stage(whole_run):
    assert links_of(whole_run)["cold_start_data", "cold_start"] == "data"
    assert links_of(whole_run)["curated", "distilled_qwen"] == "data"


def test_rewards_come_from_a_reward_model(whole_run):
    assert links_of(whole_run)["helpfulness", "r1"] == "reward"


def test_a_stage_that_only_lends_its_compute_is_no_source(whole_run):
    assert not {("curated", "rl_qwen"), ("distilled_qwen", "rl_qwen")} & links_of(whole_run).keys()
    assert ("distilled_qwen", "rl_qwen") in read(whole_run.stages).pipeline.budgets


def test_a_stage_made_from_an_earlier_version_has_no_link_and_says_so(whole_run):
    whole_run["zero"].parents["base"] = "another fingerprint"
    assert ("base", "zero") not in links_of(whole_run)
    assert "made from an earlier base" in whole_run.page


def test_kinds_are_told_by_what_a_stage_makes(empty_run):
    empty_run.add("theirs", "reinforce_plus", policy=True, options={"policy": "base", "rewards": ["accuracy"]})
    empty_run.add("collected", "crawl", task=True)
    empty_run.add("odd", "counts_words", metrics={"words": 3.0})
    stages = read(empty_run.stages).pipeline.stages
    assert [kind_of(stage) for stage in stages] == ["reinforcement", "data", "other"]


def test_training_that_reports_pass_at_1_is_no_evaluation(whole_run):
    pipeline = read(whole_run.stages).pipeline
    assert "zero" in [stage.name for stage in pipeline.makers]
    assert all(stage.type == "evaluate" for stage in pipeline.evaluations)


def test_a_run_whose_order_is_lost_is_put_in_order(whole_run):
    told = whole_run.page
    whole_run.stages.sort(key=lambda stage: stage.name)
    names = [stage.name for stage in read(whole_run.stages).pipeline.makers]
    assert names.index("base") < names.index("zero") < names.index("cold_start_data") < names.index("cold_start")
    assert len(whole_run.page) == pytest.approx(len(told), rel=0.05)


def test_parts_are_told_from_the_lineage(whole_run):
    roles = read(whole_run.stages).roles
    assert (roles.base, roles.zero, roles.cold_start, roles.reasoning) == ("base", "zero", "cold_start", "reasoning")
    assert (roles.curated, roles.sft, roles.r1) == ("curated", "sft", "r1")
    assert roles.distilled == ("distilled_qwen", "distilled_llama")
    assert roles.reinforced == ("rl_qwen", "rl_qwen_10x")


def test_parts_do_not_depend_on_names(empty_run):
    run = empty_run
    run.pretrain("a")
    run.grpo("b", "a")
    run.sampling("c", "b", [("sampled", 10, 0)])
    run.sft("d", "a", "c")
    run.grpo("e", "d")
    roles = read(run.stages).roles
    assert (roles.base, roles.zero, roles.cold_start, roles.reasoning, roles.r1) == ("a", "b", "d", "e", None)


def test_a_run_without_reinforcement_has_no_parts(empty_run):
    empty_run.pretrain("base")
    assert read(empty_run.stages).roles.line == []


def test_every_stage_stands_behind_what_it_came_from(whole_run):
    pipeline = read(whole_run.stages).pipeline
    layers = layers_of([stage.name for stage in pipeline.makers], pipeline.links, pipeline.budgets)
    assert all(layers[link.source] < layers[link.target] for link in pipeline.links)
    assert layers["rl_qwen"] > layers["distilled_qwen"] > layers["qwen"] > layers["cold_start"]


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 9))
    names = [f"stage{number}" for number in range(size)]
    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=14)) if pairs else []
    kinds = draw(st.lists(st.sampled_from(["weights", "data"]), min_size=len(chosen), max_size=len(chosen)))
    return names, [Link(one, other, kind) for (one, other), kind in zip(chosen, kinds, strict=True)]


@settings(max_examples=200)
@given(graphs())
def test_boxes_never_overlap_and_links_go_forward(graph):
    names, links = graph
    drawing = layered(names, links, SIZES)
    boxes = sorted(drawing.boxes.values())
    for (layer, y), (next_layer, next_y) in pairwise(boxes):
        assert layer >= 0 and (layer != next_layer or next_y - y >= SIZES.height + SIZES.gap - 1e-6)
    for route in drawing.routes:
        layers = [layer for layer, _ in route.places]
        assert layers == list(range(layers[0], layers[-1] + 1)) and len(layers) > 1
    assert all(SIZES.height / 2 - 1e-6 <= y <= drawing.height - SIZES.height / 2 + 1e-6 for _, y in boxes)


@settings(max_examples=200)
@given(graphs())
def test_lanes_that_overlap_lie_side_by_side(graph):
    names, links = graph
    rows = {name: row for row, name in enumerate(names)}
    chosen = lanes(links, rows)
    spans = {
        key: (rows[key[0]], max(rows[link.target] for link in links if (link.source, link.kind) == key))
        for key in chosen
    }
    for one, lane in chosen.items():
        for other, other_lane in chosen.items():
            if one != other and lane == other_lane:
                assert spans[one][1] < spans[other][0] or spans[other][1] < spans[one][0]


def test_the_graph_leads_to_every_stage_on_wide_and_on_narrow_screens(whole_run):
    pipeline = read(whole_run.stages).pipeline
    graph = pipeline_graph(pipeline)
    for stage in pipeline.makers:
        assert graph.count(f'href="#stage-{stage.name.replace("_", "_5f_")}"') == 2
        assert f'id="stage-{stage.name.replace("_", "_5f_")}"' in whole_run.page


def test_solid_lines_are_weights_and_broken_ones_data(whole_run):
    graph = pipeline_graph(read(whole_run.stages).pipeline)
    assert graph.count('class="link data"') == 2 * 4 + 1  # twice four links, once in the key
    assert re.search(r'class="link reward".*?<title>r1: rewards from helpfulness</title>', graph)


def test_a_box_tells_the_key_result(whole_run):
    graph = pipeline_graph(read(whole_run.stages).pipeline)
    exam = json.loads((whole_run["r1_held_out"].directory / "evaluation.json").read_text())
    assert f"{100 * exam['metrics']['pass@1']:.1f}\N{NO-BREAK SPACE}% pass@1" in graph
    assert "40 kept" in graph and "93.0\N{NO-BREAK SPACE}% accuracy" in graph
