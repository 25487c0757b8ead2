from __future__ import annotations

from dataclasses import replace

import pytest

from ponder.costing import Fleet, cost, training_memory
from ponder.devices import DEVICES, PRECISIONS, find_device
from ponder.errors import InputError
from ponder.footprints import Attention, Kernels, Sizes, StepMemory
from ponder.published import PUBLICATIONS
from ponder.workloads import Workload

V3 = Sizes(
    parameters=671_026_404_352,
    trainable=671_026_404_352,
    active=36_625_603_584,
    multiplied=36_624_596_992,
    multiplied_trainable=36_624_596_992,
    attention=(Attention(61, 81_920, 576),),
    context=4096,
)
H800 = DEVICES["h800-80gb"]
FLEET = Fleet(H800, 2048, H800.utilisation, H800.sampling, H800.price, PRECISIONS["bfloat16"])


class Steps:
    """A footprint whose pass holds 100 bytes a row, and 150 with gradients."""

    sizes = replace(V3, parameters=10, trainable=10)

    def step(self, rows: int, length: int, *, value_bytes: int, kernels: Kernels) -> StepMemory:
        return StepMemory(100 * rows, 150 * rows)


def test_deepseek_v3_pre_training_takes_the_published_hours_and_dollars() -> None:
    took = cost(V3, Workload(trained=14_800_000_000_000, length=4096), FLEET)

    assert took.gpu_hours == pytest.approx(2_664_000, rel=1e-3)
    assert took.dollars == pytest.approx(5_328_000, rel=1e-3)
    assert took.hours == pytest.approx(54.2 * 24, rel=1e-3)


def test_the_published_phases_add_up_by_the_published_throughput() -> None:
    run = PUBLICATIONS[V3.parameters].runs[0]
    hours = [phase.hours_by_throughput for phase in run.phases]

    assert hours == pytest.approx([2_664_000, 119_000, 5_000])
    assert sum(hours) * run.price == pytest.approx(5_576_000)


def test_r1_adds_up_as_published() -> None:
    run = PUBLICATIONS[V3.parameters].runs[1]

    assert sum(phase.gpu_hours for phase in run.phases) == 147_000


def test_what_only_the_data_can_tell_has_no_cost() -> None:
    took = cost(V3, Workload(trained=None), FLEET)

    assert took.tokens is took.operations is took.dollars is None


def test_frozen_weights_save_their_own_gradients_only() -> None:
    frozen = replace(V3, multiplied_trainable=0)

    assert V3.training(1) - frozen.training(1) == 2 * V3.multiplied


def test_gpus_share_state_and_rows_and_cores_share_a_memory() -> None:
    one = replace(FLEET, count=1, precision=PRECISIONS["float32"])
    four = replace(one, count=4)
    cores = replace(four, device=DEVICES["cpu-core"])

    assert training_memory(Steps(), one, 8, 1).peak == 120 + 840
    assert training_memory(Steps(), four, 8, 1).peak == 30 + 210
    assert training_memory(Steps(), cores, 8, 1).peak == 120 + 840


def test_an_unknown_gpu_is_refused_with_a_guess() -> None:
    with pytest.raises(InputError, match="did you mean 'h100-80gb'"):
        find_device("h100-80")
