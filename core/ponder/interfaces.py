"""What a plugin implements. All are Protocols: a third party inherits nothing, and a function can be a reward."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ponder.types import Completion, Example, LossInputs, LossOutput, Rollout, StageResult

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ponder.context import StageContext


class Policy(Protocol):
    """A causal language model that can be sampled, trained and saved.

    May have methods that spare work or offer more: `decoder()` (`ponder.hf.Decoder`), `objective()` (`ponder.hf_pretraining.Objective`),
    `optimizer(learning_rate, betas, weight_decay)` and, of a mixture of experts, `routers()` (`ponder.hf_routing.Routers`). With
    adapters: `without_adapters()`, a context in which it computes as it did when it was made, or None when it has none; and
    `merged()`, its model in plain weights.
    """

    @property
    def model(self) -> PreTrainedModel:
        """The model, already wrapped by PEFT or quantised if so configured."""
        ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, with a pad token, an end-of-sequence token and a chat template."""
        ...

    version: int
    """Raised by every optimizer step: a sampler that sees a new version refreshes its weights."""

    def save(self, directory: Path) -> None:
        """Write safetensors, tokenizer and chat template, loadable by transformers' Auto classes."""
        ...


class Task(Protocol):
    """A set of problems, in a fixed order."""

    def examples(self) -> Iterable[Example]:
        """The problems, the same ones in the same order each time."""
        ...


@runtime_checkable
class Reward(Protocol):
    """Scores one completion. Pure and picklable: it runs in another process, in any order.

    May have a method `warm_up()`, called once in that process before anything is timed.
    """

    def __call__(self, example: Example, completion: Completion) -> float | None:
        """The score, or None to abstain."""
        ...


@runtime_checkable
class BatchReward(Protocol):
    """Scores many completions at once: reward models, judges, group statistics.

    May have a method `statistics()`: numbers by name about its work since it was last called, such as the requests to a judge;
    stages log them as `rewards/<the reward's name>/<name>`, beside their speed.
    """

    def score(self, rollouts: Sequence[Rollout]) -> Sequence[float | None]:
        """A score, or None to abstain, for each rollout in order."""
        ...


class Sampler(Protocol):
    """Draws completions. May have a `temperature` attribute, which trainers read (1.0 when it has none).

    May have a method `stream(policy, example, seed)`: a generator of pieces of text that, joined, are the text of `sample`'s
    completion for the same seed, and that returns that completion; `ponder chat` shows them as they come. May have a method
    `statistics()`: numbers by name about what was drawn since it was last called, such as the share of guessed tokens that were
    right; stages log them beside their speed. May have a method `close()`, called when the stage ends, however it ends.

    A sampler that asks a model of its own, such as a teacher behind an endpoint, says so in its options, `own_model: ClassVar[bool] =
    True`. Only stages that can do without a policy take it; they give it None for the policy. It has an attribute `source`: a
    mapping, without secrets, that says whose completions these are, and goes into the provenance of each row.
    """

    def sample(self, policy: Policy, examples: Sequence[Example], n: int, seed: int) -> Sequence[Sequence[Completion]]:
        """`n` completions for each example, in order; the same seed gives the same completions."""
        ...


class Loss(Protocol):
    """A policy-gradient objective to minimise. May have a `needs_reference` attribute (False when it has none)."""

    def __call__(self, inputs: LossInputs) -> LossOutput:
        """This micro-batch's share of the loss: shares add up to the loss of the batch."""
        ...


class Stage(Protocol):
    """One step of a recipe: a function from directories to a directory."""

    def run(self, context: StageContext) -> StageResult:
        """Do the work, writing under `context.directory` only."""
        ...


class Tracker(Protocol):
    """Where parameters, metrics and artifacts go. Runs nest: a `start` before the last `finish` opens a child run.

    Called from one background thread, so it may block; whatever it raises is reported once and does not stop the run. May
    have a method `published(directory: Path)`: the stage of the innermost open run is done, and lies there with its
    `result.json` and `options.json`; and a method `at(seconds: float)`, called before each of the others: when that
    happened, in seconds since 1970, which may be a while ago.
    """

    def start(self, name: str, params: Mapping[str, object]) -> None:
        """Open a run, nested in the one that is open."""
        ...

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers to the innermost open run."""
        ...

    def artifact(self, path: Path) -> None:
        """Keep a file with the innermost open run."""
        ...

    def finish(self, status: str) -> None:
        """Close the innermost open run as "finished", "failed" or "killed"."""
        ...
