"""Axes, lines, and pictures that stand alone."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder_evaluation.axes import linear_axis, log_axis
from ponder_evaluation.charts import HEIGHT, WIDTH, Chart, Line, figure, smoothed, svg, thinned
from ponder_evaluation.pictures import standalone

numbers = st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 4)), min_size=1, max_size=20)


def chart(*lines, **options):
    return Chart("A title", "step", "a unit", lines, **options)


def parsed(markup):
    return ElementTree.fromstring(markup)


@settings(max_examples=200)
@given(numbers)
def test_an_axis_up_the_page_holds_all_values_between_round_numbers(values):
    axis = linear_axis(values, 200.0, 10.0)
    assert axis.low <= min(values) + 1e-6 and max(values) - 1e-6 <= axis.high
    assert 2 <= len(axis.ticks) <= 8
    assert all(10 - 1e-6 <= axis.at(value) <= 200 + 1e-6 for value in values)
    assert axis.at(axis.low) == 200 and axis.at(axis.high) == pytest.approx(10)


@settings(max_examples=200)
@given(numbers)
def test_written_values_of_an_axis_are_all_different(values):
    written = [text for _, text in linear_axis(values, 0.0, 100.0).ticks]
    assert len(set(written)) == len(written)


def test_whole_numbers_along_the_page_are_written_whole():
    assert [text for _, text in linear_axis([2.0, 3.0, 4.0], 0.0, 100.0).ticks] == ["2", "3", "4"]


def test_a_doubling_is_a_step_of_a_logarithmic_axis():
    axis = log_axis([1.0, 16.0], 0.0, 100.0)
    assert [text for _, text in axis.ticks] == ["1", "2", "4", "8", "16"]
    assert axis.at(4.0) == pytest.approx(50)


def test_a_single_value_has_an_axis_too():
    assert linear_axis([3.0], 0.0, 100.0).at(3.0) == 50
    assert log_axis([8.0], 0.0, 100.0).at(8.0) == pytest.approx(50)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), min_size=1, max_size=30))
def test_nothing_is_drawn_outside_the_picture(points):
    drawn = svg(chart(Line("line", sorted(points), style="dots")))
    places = [float(value) for value in re.findall(r'[ML ]([0-9.]+)(?=[ "LMZ])', drawn)]
    assert places and all(0 <= place <= max(WIDTH, HEIGHT) for place in places)
    assert "nan" not in drawn and "inf" not in drawn


def test_shares_are_drawn_from_0_to_1():
    assert ">1.0</text>" in svg(chart(Line("line", [(0, 0.2), (1, 0.4)]), is_share=True))


def test_a_chart_without_points_is_empty_and_whole():
    assert parsed(svg(chart(Line("line", [])))).tag == "svg"


def test_a_line_is_thinned_to_means():
    points = [(float(step), float(step % 2)) for step in range(1000)]
    thin = thinned(points, 100)
    assert len(thin) == 100 and all(y == 0.5 for _, y in thin)
    assert thinned(points[:50], 100) == points[:50]


def test_smoothing_keeps_short_series():
    assert smoothed([1.0, 5.0, 2.0]) == [1.0, 5.0, 2.0]
    assert smoothed([0.0, 1.0] * 50)[50] == pytest.approx(0.5, abs=0.05)


def test_a_long_curve_shows_steps_and_their_mean():
    drawn = svg(chart(Line("line", [(step, step % 3) for step in range(300)])))
    assert drawn.count('class="thin"') == drawn.count('class="thick"') == 1


def test_planned_changes_are_marked():
    drawn = svg(chart(Line("line", [(0, 1), (100, 2)]), marks=[(40, "limit 96"), (90, "+ helpful")]))
    assert drawn.count('class="mark"') == 2 and "limit 96" in drawn and "+ helpful" in drawn


def test_names_along_the_page_are_staggered_when_there_are_many():
    names = [f"a_long_name_{number}" for number in range(6)]
    drawn = svg(chart(Line("line", [(0, 0.5)], style="scattered"), names=names))
    heights = re.findall(r'y="([0-9]+)">a_long_name', drawn)
    assert len(set(heights)) == 2


def test_a_model_has_its_colour_and_mark_in_every_chart():
    two = figure(chart(Line("one", [(0, 1), (1, 2)], colour=4), Line("two", [(0, 1), (1, 3)], colour=7)))
    assert two.count('class="m4"') == two.count('class="m7"') == 2  # the line and its legend


def test_one_line_needs_no_legend():
    assert "legend" not in figure(chart(Line("line", [(0, 1), (1, 2)])))


def test_a_chart_is_described_for_those_who_cannot_see_it():
    described = parsed(svg(chart(Line("zero & <b>", [(0, 0.1), (1, 0.9)])))).get("aria-label")
    assert described == "A title: zero & <b> from 0.1 to 0.9"


def test_a_picture_stands_alone_with_titles_and_legends():
    lines = [Line(f"a model with a long name {number}", [(0, 1), (1, number)], colour=number) for number in range(5)]
    picture = standalone([chart(*lines), chart(lines[0]), chart(*lines[:2])])
    assert parsed(picture).tag.endswith("svg")
    assert "--m4" in picture and picture.count("A title") == 3
    assert picture.count("a model with a long name 4") == 1


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=())))
def test_any_name_makes_a_whole_picture(name):
    lines = [Line(name, [(0, 1), (1, 2)], labels=[name, name]), Line("other", [(0, 1)])]
    made = Chart(name, name, name, lines, marks=[(0.5, name)], names=[name, name])
    parsed(standalone([made]))
    parsed(figure(made)).iter()
