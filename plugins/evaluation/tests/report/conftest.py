"""A made-up run of the whole recipe, small, whose evaluations are written by the code that real ones are written by."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict

import pytest

from ponder import StageResult
from ponder.context import FinishedStage
from ponder_evaluation.breakdown import by_problem, curves, groups, tally
from ponder_evaluation.report import read, render
from ponder_evaluation.samples import Sample, write_samples
from ponder_evaluation.summary import summarise

PROBLEMS, SAMPLES = 24, 4
WISHES = ("json", "polite", "refuse")


def fingerprint_of(name):
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


class MadeUpRun:
    """Stages in a directory, as a run leaves them."""

    def __init__(self, directory):
        self.directory = directory
        self.stages = []

    def __getitem__(self, name):
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def page(self):
        return render("The run", read(self.stages))

    def add(self, name, type_, *, parents=(), policy=False, task=False, metrics=None, options=None):
        place = self.directory / name
        place.mkdir(parents=True, exist_ok=True)
        made = StageResult(place / "policy" if policy else None, place / "rows.jsonl" if task else None, metrics or {})
        known = {parent: fingerprint_of(parent) for parent in parents}
        stage = FinishedStage(name, type_, place, made, fingerprint_of(name), options or {}, known)
        self.stages.append(stage)
        return stage

    def steps(self, name, count, **curves):
        """metrics.jsonl: each curve a function of the share of the steps done; `__` in its name is a slash."""
        rows = [
            {"step": step, **{key.replace("__", "/"): curve(step / count) for key, curve in curves.items()}}
            for step in range(count)
        ]
        write_lines(self.directory / name / "metrics.jsonl", rows)

    def pretrain(self, name):
        self.steps(name, 30, loss=lambda t: 4 - 3 * t)
        options = {"policy": f"{name}_network", "task": "web"}
        self.add(name, "pretrain", policy=True, metrics={"loss": 1.0, "flops": 1e9}, options=options)

    def sft(self, name, start, data, mixture="mixture"):
        self.steps(name, 20, loss=lambda t: 1 - t / 2, token_accuracy=lambda t: t)
        options = {"policy": start, "task": mixture, "epochs": 2}
        metrics = {"loss": 0.5, "rows": 40.0, "flops": 1e9}
        self.add(name, "sft", parents=(start, data), policy=True, metrics=metrics, options=options)

    def grpo(self, name, start, *, parents=(), steps=40, **options):
        self.steps(
            name,
            steps,
            rewards__accuracy=lambda t: t,
            rewards__format=lambda t: t**0.5,
            response_length=lambda t: 10 + 20 * t,
            reflection_rate=lambda t: t / 2,
            language_consistency=lambda t: 0.9,
            mixed_languages=lambda t: 0.1,
            truncated=lambda t: 0.0,
            **{"pass@1": lambda t: t, "cons@4": lambda t: t},
        )
        written = {"policy": start, "task": "problems", "rewards": ["accuracy", "format"], "steps": steps, **options}
        metrics = {"reward": 1.5, "pass@1": 0.9, "flops": 2e9 * options.get("compute_factor", 1)}
        self.add(name, "grpo", parents=(start, *parents), policy=True, metrics=metrics, options=written)

    def sampling(self, name, policy, funnel):
        write = self.directory / name / "funnel.json"
        options = {"policy": policy, "task": "problems", "rewards": ["accuracy"]}
        self.add(name, "rejection_sampling", parents=(policy,), task=True, metrics={"flops": 1e9}, options=options)
        write.write_text(json.dumps([{"step": step, "kept": kept, "removed": gone} for step, kept, gone in funnel]))

    def reward_model(self, name, policy):
        self.steps(name, 10, loss=lambda t: 1 - t, accuracy=lambda t: t, margin=lambda t: t)
        metrics = {"accuracy": 0.93, "loss": 0.2, "flops": 1e8}
        options = {"policy": policy, "task": "pairs"}
        self.add(name, "reward_model", parents=(policy,), policy=True, metrics=metrics, options=options)

    def exam(self, model, share, *, task="held_out", general=False, consistency=1.0, name=None, text=None, **options):
        """An evaluation in which this share of all answers is right, the easier problems before the harder ones."""
        name = name or f"{model}_{task}{'_shots' if options.get('shots') else ''}"
        rng = random.Random(name)
        samples = [
            self._sample(task, number, place, rng.random() < share, general, consistency, text)
            for number in range(PROBLEMS)
            for place in range(SAMPLES)
        ]
        metrics = summarise(samples, [SAMPLES])
        by_group = groups(samples, ["difficulty", "kind", "wish"])
        written = {"policy": model, "task": task, "samples": SAMPLES, "sampler": "exam", **options}
        record = {
            "options": written,
            "metrics": metrics,
            "problems": [asdict(tally(answers)) for answers in by_problem(samples).values()],
            "curves": curves(samples),
            "groups": by_group,
            "contamination": {"contaminated": 0, "checked": [], "unchecked": [], "problems": []},
        }
        stage = self.add(name, "evaluate", parents=(model,), metrics=metrics, options=written)
        write_samples(stage.directory / "samples.jsonl", samples)
        (stage.directory / "evaluation.json").write_text(json.dumps(record))

    def _sample(self, task, number, place, is_right, general, consistency, text):
        told = {"kind": "helpful", "wish": WISHES[number % 3]} if general else {"difficulty": str(2 + number % 3)}
        prompt, answer = f"{task}: what is 1 + {number}?", str(1 + number)
        written = text or f"<think>\nwe add\n</think>\n\nIt is \\boxed{{{answer if is_right else 'unknown'}}}."
        return Sample(
            problem=number,
            key=fingerprint_of(prompt)[:16],
            sample=place,
            difficulty=told.get("difficulty"),
            groups=told,
            asked_in="zh" if number % 2 else "en",
            prompt=prompt,
            answer=answer,
            completion=written,
            correct=is_right,
            scored=True,
            scores={"accuracy": float(is_right)},
            reward=float(is_right),
            length=10 + number % 7 + 10 * (number % 3),
            truncated=False,
            formatted=True,
            language=consistency,
            mixed=consistency < 1,
            readable=consistency > 0.95,
            reflections=1,
            vote=answer if is_right else "unknown",
        )


@pytest.fixture
def empty_run(tmp_path):
    """A run to be filled."""
    return MadeUpRun(tmp_path / "run")


@pytest.fixture
def whole_run(empty_run):
    """The whole recipe: four stages, students, and everyone's exams."""
    run = empty_run
    run.pretrain("base")
    run.grpo("zero", "base")
    run.sampling("cold_start_data", "zero", [("sampled", 100, 0), ("correct", 60, 40), ("mixed_language", 40, 20)])
    run.sft("cold_start", "base", "cold_start_data")
    limits = [{"step": 20, "max_new_tokens": 96}]
    run.grpo("reasoning", "cold_start", length_limits=limits, reward_from={"language": 10})
    run.sampling("curated", "reasoning", [("sampled", 200, 0), ("correct", 150, 50)])
    run.sft("sft", "base", "curated")
    run.reward_model("helpfulness", "sft")
    run.grpo("r1", "sft", parents=("helpfulness",), task="all_prompts")
    for student in ("qwen", "llama"):
        run.pretrain(student)
        run.sft(f"distilled_{student}", student, "curated")
    budget = ["curated", "distilled_qwen"]
    run.grpo("rl_qwen", "qwen", parents=("distilled_qwen", "curated"), compute_of=budget, compute_factor=1.0)
    run.grpo("rl_qwen_10x", "qwen", parents=("distilled_qwen", "curated"), compute_of=budget, compute_factor=10.0)
    shares = {
        "base": (0.1, 0.1),
        "zero": (0.6, 0.1),
        "cold_start": (0.5, 0.2),
        "reasoning": (0.8, 0.2),
        "sft": (0.7, 0.6),
    }
    shares |= {"r1": (0.9, 0.9), "distilled_qwen": (0.8, 0.6), "distilled_llama": (0.8, 0.6), "rl_qwen": (0.2, 0.1)}
    for model, (reasoning, general) in (shares | {"rl_qwen_10x": (0.4, 0.1)}).items():
        run.exam(model, reasoning, consistency=0.8 if model in ("base", "zero", "rl_qwen") else 1.0)
        run.exam(model, general, task="wishes", general=True)
    run.exam("r1", 0.3, shots=3)
    return run
