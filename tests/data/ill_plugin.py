"""Rewards, samplers and a policy that `ponder doctor` must see through."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ponder import Component, RewardConfig, hookimpl
from ponder_deepseek import DeepseekConfig
from ponder_sampling import FastConfig


@dataclass(frozen=True, kw_only=True)
class PlainConfig(RewardConfig):
    """A reward without options."""


@dataclass(frozen=True, kw_only=True)
class ExactConfig(RewardConfig):
    """A reward that compares."""

    needs_answer: ClassVar[bool] = True


class Bare:
    """Wants other tags than the template's."""

    def __init__(self, config: PlainConfig) -> None: ...

    def __call__(self, example: Any, completion: Any) -> float:
        return float(completion.text.startswith("<reasoning>"))


class Counting:
    """Scores less with every call."""

    def __init__(self, config: PlainConfig) -> None:
        self.calls = 0

    def __call__(self, example: Any, completion: Any) -> float:
        self.calls += 1
        return 1.0 / self.calls


class Constant:
    """Likes everything."""

    def __init__(self, config: PlainConfig) -> None: ...

    def __call__(self, example: Any, completion: Any) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class HangingConfig(RewardConfig):
    """A reward that never ends."""

    at: str = ""
    """Only on texts that hold this."""


class Hanging:
    """Computes forever."""

    def __init__(self, config: HangingConfig) -> None:
        self.at = config.at

    def __call__(self, example: Any, completion: Any) -> float:
        while self.at in completion.text:
            pass
        return 1.0


class Exact:
    """Reads up to the first closing tag, whatever the answer holds."""

    def __init__(self, config: ExactConfig) -> None: ...

    def __call__(self, example: Any, completion: Any) -> float:
        said = completion.text.partition("<answer>")[2].partition("</answer>")[0]
        return float(said.strip() == example.answer)


class Adding:
    """Adds the numbers of an answer, and so takes a sum for its result."""

    def __init__(self, config: ExactConfig) -> None: ...

    def __call__(self, example: Any, completion: Any) -> float:
        return float(sum(map(int, re.findall(r"[0-9]+", completion.text))) == int(example.answer))


class Halved:
    """Gives half a mark to what is tagged, right or wrong."""

    def __init__(self, config: ExactConfig) -> None: ...

    def __call__(self, example: Any, completion: Any) -> float:
        return 0.5 * completion.text.rstrip().endswith("</answer>")


def _fast(config: FastConfig) -> Any:
    from ponder_sampling.fast import FastSampler

    return FastSampler(config)


class Hot:
    """Tells the log-probabilities of another policy."""

    def __init__(self, config: FastConfig) -> None:
        self.config = config

    def sample(self, policy: Any, examples: Any, n: int, seed: int) -> Any:
        return [
            [self.changed(drawn) for drawn in group] for group in _fast(self.config).sample(policy, examples, n, seed)
        ]

    def changed(self, drawn: Any) -> Any:
        return replace(drawn, logprobs=tuple(2 * value for value in drawn.logprobs))


class Silent(Hot):
    """Leaves out what the template prefilled."""

    def changed(self, drawn: Any) -> Any:
        return replace(drawn, text=drawn.text.removeprefix("<think>"))


class Unseeded(Hot):
    """Never draws the same twice."""

    calls: ClassVar[list[int]] = []

    def sample(self, policy: Any, examples: Any, n: int, seed: int) -> Any:
        self.calls.append(seed)
        return _fast(self.config).sample(policy, examples, n, len(self.calls))


def _endless(config: DeepseekConfig, checkpoint: Any = None, seed: int = 0) -> Any:
    from ponder_deepseek.policy import DeepseekPolicy

    policy = DeepseekPolicy(config, checkpoint, seed)
    policy.tokenizer.pad_token = policy.tokenizer.eos_token
    return policy


@hookimpl
def ponder_rewards() -> Iterator[Component[Any]]:
    yield Component("bare", PlainConfig, Bare)
    yield Component("counting", PlainConfig, Counting)
    yield Component("constant", PlainConfig, Constant)
    yield Component("hanging", HangingConfig, Hanging)
    yield Component("exact", ExactConfig, Exact)
    yield Component("adding", ExactConfig, Adding)
    yield Component("halved", ExactConfig, Halved)


@hookimpl
def ponder_samplers() -> Iterator[Component[Any]]:
    yield Component("hot", FastConfig, Hot)
    yield Component("silent", FastConfig, Silent)
    yield Component("unseeded", FastConfig, Unseeded)


@hookimpl
def ponder_policies() -> Iterator[Component[Any]]:
    yield Component("endless", DeepseekConfig, _endless)
