"""The section about context extensions."""

import json
from xml.etree import ElementTree

from ponder_evaluation.long_context import needles_of, perplexity_charts
from ponder_evaluation.readings import read_stage
from ponder_evaluation.report import draw_figures, read

MOMENT = {"perplexity": [4.0, 9.5, None], "needles": [[1.0, 0.25], [0.0, 0.0]]}
MEASURED = {
    "original_length": 64,
    "width": 32,
    "lengths": [64, 128],
    "depths": [0.0, 1.0],
    "before": MOMENT,
    "after": {"perplexity": [4.0, 4.1, 4.2], "needles": [[1.0, 1.0], [0.5, 1.0]]},
}


def extended(run, measured):
    directory = run.directory / "longer"
    directory.mkdir(parents=True)
    (directory / "context.json").write_text(json.dumps(measured))
    return read_stage(run.add("longer", "extend_context", policy=True))


def test_perplexity_is_drawn_over_positions_before_and_after_with_a_mark_at_the_old_length(empty_run):
    (chart,) = perplexity_charts(extended(empty_run, MEASURED))
    assert [line.name for line in chart.lines] == ["before", "after"]
    assert chart.lines[0].points == [(16.0, 4.0), (48.0, 9.5)]
    assert chart.marks == [(64.0, "old length")]


def test_the_page_has_a_heat_map_of_needles_for_each_moment(empty_run):
    extended(empty_run, MEASURED)
    page = empty_run.page
    assert page.count("Needles found, ") == 2
    section = page[page.index('<section id="long-context"') :]
    maps = [part for part in section.split("<svg")[1:] if "<rect" in part.partition("</svg>")[0]]
    drawn = ElementTree.fromstring("<svg" + maps[0].partition("</svg>")[0] + "</svg>")
    assert len(drawn.findall("rect")) == 4
    written = [text.text for text in drawn.findall("text")]
    assert written[:3] == ["64", "100", "25"]
    paths = draw_figures(read(empty_run.stages), empty_run.directory / "figures")
    assert "context_longer.svg" in {path.name for path in paths}


def test_a_damaged_file_leaves_out_what_it_does_not_hold(empty_run):
    stage = extended(
        empty_run, {"width": "wide", "lengths": [64], "depths": [0.0], "before": 3, "after": {"needles": [[]]}}
    )
    assert list(perplexity_charts(stage)) == []
    assert list(needles_of(stage)) == []
    assert "long-context" in empty_run.page
