from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ponder import Completion, Example
from ponder.errors import InputError
from ponder.journal import Journal
from ponder.rubric import Score


class CountingTask:
    """Sums whose difficulty is the first term."""

    def __init__(self, size=4):
        self.size = size

    def examples(self):
        for index in range(self.size):
            prompt = [{"role": "user", "content": f"{index % 2} + {index} ="}]
            yield Example(prompt, str(index % 2 + index), {"difficulty": index % 2})


class ScriptedSampler:
    """Answers "right" to the first `right` samples of each problem; remembers what it was asked."""

    def __init__(self, right=2):
        self.right = right
        self.asked = []

    def sample(self, policy, examples, n, seed):
        self.asked.append((tuple(example.answer for example in examples), n, seed))
        return [[self._completion(example, number) for number in range(n)] for example in examples]

    def _completion(self, example, number):
        answer = example.answer if number < self.right else f"no {number}"
        text = f"<think>we add</think><answer>{answer}</answer>"
        return Completion(text, token_ids=range(number + 1), logprobs=[-0.5] * (number + 1))


class LetterTokenizer:
    """A token for each character of the messages' contents."""

    chat_template = "letters"

    def apply_chat_template(self, messages, **_):
        return "".join(message["content"] for message in messages)

    def __call__(self, text, **_):
        return {"input_ids": list(text)}


class ScriptedRubric:
    """1 for the reference answer in the text, else 0; no score at all for what `fails` names."""

    names = ("accuracy",)

    def __init__(self, fails=(), *, needs_answer=True, tasks=()):
        self.fails = fails
        self.scored = 0
        config = SimpleNamespace(tasks=list(tasks), needs_answer=needs_answer)
        self.rewards = (SimpleNamespace(name="accuracy", config=config),)

    def check(self, examples, task):
        assert examples and task

    def score(self, rollouts):
        self.scored += len(rollouts)
        return [self._score(rollout) for rollout in rollouts]

    def metrics(self, scores):
        return {"reward": 0.5, "rewards/accuracy": 0.5, "rewards/accuracy/error": 0.0, "unscored": 0.0}

    def _score(self, rollout):
        if any(word in rollout.completion.text for word in self.fails):
            return Score(None, {"accuracy": None}, {"accuracy": "error"})
        value = float(f"<answer>{rollout.example.answer}</answer>" in rollout.completion.text)
        return Score(value, {"accuracy": value}, {"accuracy": "ok"})


class FakeContext:
    """A stage's context without a run around it; `killed_after` chunks it raises, as a killed process would end."""

    seed = 11
    name = "after"
    recipe_name = "sums"
    fingerprint = "f" * 64

    def __init__(self, directory: Path, **made):
        self.directory = directory
        self.made = {"task": CountingTask(), "sampler": ScriptedSampler(), "rubric": ScriptedRubric(), **made}
        self.killed_after = made.get("killed_after")
        self.logged, self.artifacts, self.timings, self.said = [], [], [], []
        self.stages = {}

    def policy(self, name):
        return SimpleNamespace(name=name, model=torch.nn.Linear(3, 2, bias=False), tokenizer=LetterTokenizer())

    def task(self, name):
        return self.made.get("tasks", {}).get(name, self.made["task"])

    def sampler(self, name, **changes):
        return self.made["sampler"]

    def rubric(self, names):
        return self.made["rubric"]

    def journal(self, name="journal"):
        return Journal(self.directory / f"{name}.journal")

    def stage(self, name):
        if name not in self.stages:
            raise InputError(f"no stage {name!r}")
        return self.stages[name]

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


@pytest.fixture
def make_context(tmp_path):
    """Contexts of the same stage, one after the other, in one directory."""
    return lambda **made: FakeContext(tmp_path, **made)


@pytest.fixture
def fakes():
    """The classes above, for tests that vary them."""
    return {"task": CountingTask, "sampler": ScriptedSampler, "rubric": ScriptedRubric}
