"""The load of the experts over steps and layers, as the report draws it."""

import re

from ponder_evaluation.heatmaps import MOST_COLUMNS, MOST_LAYERS, MOST_LINES, heat_content, heat_figures, heat_maps
from ponder_evaluation.readings import Reading


def stage(rows):
    return Reading(name="base", type="pretrain", fingerprint="f", options={}, metrics={}, expert_loads=rows)


def rows(layers=2, experts=4, steps=3, load=lambda layer, expert, step: 10):
    return [
        {"step": step, "layer": layer, "loads": [load(layer, expert, step) for expert in range(experts)]}
        for step in range(steps)
        for layer in range(layers)
    ]


def test_a_stage_without_loads_has_no_maps():
    assert heat_figures(stage([])) == ""


def test_loads_are_multiples_of_the_layers_mean():
    [heat] = heat_maps(stage([{"step": 0, "layer": 0, "loads": [6, 2, 0, 0]}]))
    assert heat.columns == [[3.0, 1.0, 0.0, 0.0]]


def test_each_load_has_the_colour_of_its_band():
    [heat] = heat_maps(stage([{"step": 0, "layer": 0, "loads": [0, 2, 6, 10, 15, 25, 45] + [10] * 3 + [0] * 0}]))
    classes = re.findall(r'path class="(l\d)"', heat_content(heat))
    assert classes == ["l0", "l1", "l2", "l3", "l4", "l5"]


def test_every_layer_of_a_small_model_has_a_map_and_a_description():
    page = heat_figures(stage(rows()))
    assert page.count("<figure>") == 2
    assert "layer 1: at the end the fullest expert has 1.00 times the mean" in page


def test_of_many_layers_the_first_and_the_last_are_among_those_shown():
    titles = [heat.title for heat in heat_maps(stage(rows(layers=58)))]
    assert len(titles) == MOST_LAYERS
    assert titles[0] == "layer 0"
    assert titles[-1] == "layer 57"


def test_a_full_expert_among_many_is_not_lost():
    crowded = rows(layers=1, experts=256, steps=120, load=lambda layer, expert, step: 500 if expert == 77 else 1)
    [heat] = heat_maps(stage(crowded))
    assert (len(heat.columns), len(heat.columns[0])) == (MOST_COLUMNS, MOST_LINES)
    assert max(heat.columns[0]) > 100
    assert "l6" in heat_content(heat)


def test_the_page_stays_small_however_large_the_model():
    noisy = rows(layers=58, experts=256, steps=100, load=lambda layer, expert, step: (expert * 7 + step * 13) % 40)
    assert len(heat_figures(stage(noisy))) < 1_000_000


def test_rows_that_say_nothing_are_left_out():
    damaged = [
        {"step": 0, "layer": 0, "loads": [0, 0]},
        {"step": 1, "layer": 0},
        {"step": 2, "layer": "x", "loads": [1]},
        {"step": None, "layer": 0, "loads": [1, 2]},
        {"step": 3, "layer": 0, "loads": [1, float("nan")]},
        {"step": 4, "layer": 0, "loads": [-1, 2]},
    ]
    assert heat_maps(stage(damaged)) == []
