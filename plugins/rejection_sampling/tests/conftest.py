from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from torch import nn

from ponder import Completion, Example
from ponder.errors import InputError
from ponder.journal import Journal
from ponder.rubric import Score
from ponder_rejection_sampling import RejectionSamplingConfig
from ponder_rejection_sampling.stage import RejectionSampling


class Listed:
    """A task that is this list."""

    def __init__(self, examples):
        self._examples = examples

    def examples(self):
        return iter(self._examples)


class Scripted:
    """A sampler that says to each prompt what `replies` says, with as many tokens as words; remembers what it was asked."""

    def __init__(self, replies, dies_at=None):
        self.replies = replies
        self.dies_at = dies_at
        self.asked = []

    def sample(self, policy, examples, n, seed):
        if len(self.asked) == self.dies_at:
            raise ConnectionError("the server is gone")
        self.asked.append(([example.prompt for example in examples], n, seed))
        return [[self._completion(self.replies(example, number)) for number in range(n)] for example in examples]

    def _completion(self, reply):
        text, finish_reason = reply if isinstance(reply, tuple) else (reply, "stop")
        return Completion(text, token_ids=range(len(text.split())), finish_reason=finish_reason)


class EndsRight:
    """1 where the text holds the reference answer in tags or a box, else 0; None where it says "unclear"."""

    names = ("accuracy",)

    def __init__(self):
        self.scored = 0

    def check(self, examples, task):
        assert examples and task

    def score(self, rollouts):
        self.scored += len(rollouts)
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout):
        text, answer = rollout.completion.text, rollout.example.answer
        if "unclear" in text:
            return Score(None, {"accuracy": None}, {"accuracy": "abstained"})
        value = float(f"<answer>{answer}</answer>" in text or f"\\boxed{{{answer}}}" in text)
        return Score(value, {"accuracy": value}, {"accuracy": "ok"})


class FakeContext:
    """A stage's context without a run around it; `killed_after` chunks it ends as a killed process would."""

    seed = 11
    name = "curated"

    def __init__(self, directory, tasks, sampler, killed_after=None, stages=()):
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.tasks = tasks
        self.made_sampler = sampler
        self.made_rubric = EndsRight()
        self.killed_after = killed_after
        self.stages = dict(stages)
        self.logged, self.artifacts, self.timings, self.said = [], [], [], []

    def policy(self, name):
        return SimpleNamespace(model=nn.Linear(3, 2, bias=False), tokenizer=_Words())

    def task(self, name):
        return self.tasks[name]

    def sampler(self, name):
        return self.made_sampler

    def rubric(self, names):
        return self.made_rubric

    def stage(self, name):
        if name not in self.stages:
            raise InputError(f"no stage {name}")
        return self.stages[name]

    def journal(self, name="journal"):
        return Journal(self.directory.parent / f"{self.directory.name}-{name}.journal")

    def steps(self, total, state=None, *, checkpoint_every=None, description=""):
        for step in range(total):
            if step == self.killed_after:
                raise KeyboardInterrupt
            yield step

    def log(self, metrics, step=None):
        self.logged.append((dict(metrics), step))

    def timing(self, measurements, step=None):
        self.timings.append((dict(measurements), step))

    def artifact(self, path):
        assert path.is_file()
        self.artifacts.append(path.name)

    def say(self, message):
        self.said.append(message)


class _Words:
    """A tokenizer with a token for each word."""

    chat_template = None

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": list(range(len(text.split())))}


class Bench:
    """Runs the stage on prompts `1 + 0 =`, `1 + 1 =` and so on."""

    def __init__(self, folder):
        self._folder = folder

    def context(self, replies, *, prompts=4, name="stage", tasks=None, **options):
        sampler = options.pop("sampler", None) or Scripted(replies)
        examples = [Example(f"1 + {number} =", str(1 + number), {"difficulty": number}) for number in range(prompts)]
        return FakeContext(self._folder / name, {"sums": Listed(examples), **(tasks or {})}, sampler, **options)

    def run(self, context, **options):
        fields = {"policy": "base", "task": "sums", "rewards": ["accuracy"], "sampler": "hot", "prompts_per_chunk": 3}
        return RejectionSampling(RejectionSamplingConfig(**{**fields, **options})).run(context)

    def rows(self, context):
        return [json.loads(line) for line in (context.directory / "data.jsonl").read_text().splitlines()]

    def funnel(self, context):
        steps = json.loads((context.directory / "funnel.json").read_text())
        return {step["step"]: (step["kept"], step["removed"]) for step in steps}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def listed():
    """A task made of examples."""
    return Listed


@pytest.fixture
def scripted():
    """The sampler above, for tests that vary it."""
    return Scripted
