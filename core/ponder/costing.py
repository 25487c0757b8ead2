"""From footprints and workloads to bytes, operations, hours and dollars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder.devices import Device, Precision

if TYPE_CHECKING:
    from ponder.footprints import Footprint, Sizes
    from ponder.workloads import Workload

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Fleet:
    """The machines that a plan is for."""

    device: Device
    count: int
    utilisation: float
    """The share of the peak that training reaches."""
    sampling: float
    """The share of the peak that sampling reaches."""
    price: float | None
    """Dollars for a device and an hour."""
    precision: Precision

    @property
    def shards(self) -> int:
        """Memories that weights, gradients and optimizer state are cut over; cores share one."""
        return 1 if self.device.memory is None else self.count

    @property
    def memory(self) -> int | None:
        """Bytes of one memory; None when it is the machine's own."""
        return self.device.memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one training step in all devices together, but for `peak`."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """The most that all of one device's rows hold, gradients of weights not counted."""
    peak: int
    """The most that one device holds at any time: less than the sum, since activations go as gradients come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a stage takes; None where only its data can tell."""

    tokens: int | None
    operations: float | None
    gpu_hours: float | None
    hours: float | None
    """By the clock, on all devices."""
    dollars: float | None


def training_memory(footprint: Footprint, fleet: Fleet, rows: int, length: int) -> Memory:
    """What a training step on `rows` sequences holds.

    Devices share the rows, and each holds an equal part of weights, gradients and optimizer state (FSDP, ZeRO 3); the weights of
    the layer at hand, gathered from all, are not counted.
    """
    sizes, precision, shards = footprint.sizes, fleet.precision, fleet.shards
    step = footprint.step(
        math.ceil(rows / shards), length, value_bytes=precision.activations, kernels=fleet.device.kernels
    )
    weights = precision.weights * (sizes.parameters - sizes.quantised) + round(sizes.quantised_bytes * sizes.quantised)
    saved = 0 if sizes.moment_bytes is None else precision.moments - sizes.moment_bytes
    optimizer = (precision.optimizer - saved) * sizes.trainable
    gradients = precision.gradients * sizes.trainable
    moving = step.activations + math.ceil(gradients / shards)
    if precision.gradients == precision.activations:
        moving = min(step.peak, moving)
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=step.activations,
        peak=math.ceil((weights + optimizer) / shards) + moving,
    )


def cost(sizes: Sizes, workload: Workload, fleet: Fleet) -> Cost:
    """Tokens, operations, time and money of a stage."""
    if workload.trained is None or workload.read is None:
        return Cost(tokens=None, operations=None, gpu_hours=None, hours=None, dollars=None)
    length = workload.length or sizes.context
    training = workload.trained * sizes.training(length)
    reading = workload.read * sizes.forward(length)
    seconds = training / (fleet.device.peak * fleet.utilisation) + reading / (fleet.device.peak * fleet.sampling)
    hours = seconds / SECONDS_PER_HOUR
    return Cost(
        tokens=workload.trained + workload.read,
        operations=training + reading,
        gpu_hours=hours,
        hours=hours / fleet.count,
        dollars=None if fleet.price is None else hours * fleet.price,
    )
