"""What depends on the step alone, so that a resumed run needs to remember nothing of it."""

from __future__ import annotations

from ponder.randomness import permutation
from ponder_grpo.config import GrpoConfig


def learning_rate(config: GrpoConfig, step: int) -> float:
    """The learning rate of a step, counted from 0: warm-up, then constant or falling to 0 behind the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (config.steps - step) / (config.steps - config.warmup_steps)


def refreshes_before(config: GrpoConfig, step: int) -> bool:
    """Whether the reference becomes the current policy before this step: another `reference_refresh` updates lie behind it."""
    if config.reference_refresh == 0 or step == 0:
        return False
    updates = config.updates_per_step
    return step * updates // config.reference_refresh > (step - 1) * updates // config.reference_refresh


def ever_refreshes(config: GrpoConfig) -> bool:
    """Whether the reference changes within the stage."""
    return any(refreshes_before(config, step) for step in range(config.steps))


def minibatch_groups(config: GrpoConfig, seed: int, step: int) -> list[list[int]]:
    """For every update of a step, the places of its groups: each epoch is a random partition of the step's groups."""
    size = config.prompts_per_step // config.minibatches
    parts = []
    for epoch in range(config.epochs):
        order = permutation(config.prompts_per_step, seed, "minibatches", step, epoch)
        parts += [order[start : start + size] for start in range(0, len(order), size)]
    return parts
