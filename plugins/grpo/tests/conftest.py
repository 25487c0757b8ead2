"""Tiny models, a tokenizer made in code, and a stage context that keeps its checkpoints in a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from ponder.journal import Journal
from ponder.randomness import derive_seed
from ponder.rubric import Score
from ponder.types import Completion, Example, Rollout, StageResult
from ponder_grpo import GrpoConfig
from ponder_grpo.stage import GrpoStage

LETTERS = "abcdefghijklmnop"
EOS, PAD = 0, 1


def make_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {"<eos>": EOS, "<pad>": PAD, **{letter: index + 2 for index, letter in enumerate(LETTERS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")


def make_qwen2(seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(LETTERS) + 2,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return Qwen2ForCausalLM(config)


def make_deepseek(seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = DeepseekV3Config(
        vocab_size=len(LETTERS) + 2,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        first_k_dense_replace=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        n_routed_experts=8,
        n_shared_experts=1,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
        max_position_embeddings=128,
        initializer_range=0.3,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return DeepseekV3ForCausalLM(config)


MODELS: dict[str, Callable[..., PreTrainedModel]] = {"qwen2": make_qwen2, "deepseek_v3": make_deepseek}


@pytest.fixture(params=list(MODELS))
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(architecture: str) -> PreTrainedModel:
    return MODELS[architecture]().train()


@dataclass
class TinyPolicy:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast = field(default_factory=make_tokenizer)
    version: int = 0

    def save(self, directory: Path) -> None:
        self.model.save_pretrained(directory)


@dataclass
class LetterTask:
    """Prompts of one to three letters."""

    size: int = 12

    def examples(self) -> Iterator[Example]:
        for index in range(self.size):
            yield Example(LETTERS[index % 16] * (1 + index % 3) + LETTERS[(3 * index) % 16], "a")


@dataclass
class TinySampler:
    """Draws token by token with a cache, prompts of one length at a time; a draw depends on (seed, example, sample, place)."""

    temperature: float = 1.0
    max_new_tokens: int = 6
    gives_logprobs: bool = True
    calls: list[int] = field(default_factory=list)

    def sample(self, policy: TinyPolicy, examples: Sequence[Example], n: int, seed: int) -> list[list[Completion]]:
        self.calls.append(seed)
        policy.model.eval()
        prompts = [policy.tokenizer(example.prompt, add_special_tokens=False)["input_ids"] for example in examples]
        groups: list[list[Completion]] = [[] for _ in examples]
        for length in sorted({len(prompt) for prompt in prompts}):
            places = [index for index, prompt in enumerate(prompts) if len(prompt) == length for _ in range(n)]
            seeds = [derive_seed(seed, index, row % n) for row, index in enumerate(places)]
            for index, completion in zip(places, self._draw(policy, [prompts[i] for i in places], seeds), strict=True):
                groups[index].append(completion)
        return groups

    @torch.no_grad()
    def _draw(self, policy: TinyPolicy, prompts: list[list[int]], seeds: list[int]) -> Iterator[Completion]:
        draws = torch.stack(
            [torch.rand(self.max_new_tokens, generator=torch.Generator().manual_seed(s)) for s in seeds]
        )
        tokens, logprobs, cache, inputs = [], [], None, torch.tensor(prompts)
        for place in range(self.max_new_tokens):
            output = policy.model(input_ids=inputs, past_key_values=cache, use_cache=True)
            cache, logits = output.past_key_values, output.logits[:, -1] / self.temperature
            inputs = torch.searchsorted(logits.softmax(1).cumsum(1), draws[:, place : place + 1].contiguous()).clamp(
                max=logits.shape[1] - 1
            )
            tokens.append(inputs)
            logprobs.append(logits.log_softmax(1).gather(1, inputs))
        for row, values in zip(torch.cat(tokens, 1).tolist(), torch.cat(logprobs, 1).tolist(), strict=True):
            length = row.index(EOS) + 1 if EOS in row else len(row)
            text = policy.tokenizer.decode([token for token in row[:length] if token != EOS])
            reason: Any = "stop" if EOS in row else "length"
            known = values[:length] if self.gives_logprobs else ()
            yield Completion(text, row[:length], known, reason, policy.version)


def share_of_early_letters(completion: Completion) -> float | None:
    text = completion.text
    return sum(letter in "abcd" for letter in text) / len(text) if text else 0.0


@dataclass
class TinyRubric:
    names: tuple[str, ...] = ("early",)
    reward: Callable[[Completion], float | None] = share_of_early_letters
    calls: int = 0

    def check(self, examples: Sequence[Example], task: str) -> None: ...

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        self.calls += 1
        values = [self.reward(rollout.completion) for rollout in rollouts]
        return [Score(value, {"early": value}, {"early": "abstained" if value is None else "ok"}) for value in values]

    def metrics(self, scores: Sequence[Score]) -> dict[str, float]:
        totals = [score.total for score in scores if score.total is not None]
        return {"reward": sum(totals) / len(totals)} if totals else {}


@dataclass
class FolderContext:
    """A stage context for one stage; `stop_at` raises in the middle of that step, as a kill would end it."""

    directory: Path
    make_policy: Callable[[], TinyPolicy]
    loss_object: Any
    sampler_object: TinySampler = field(default_factory=TinySampler)
    rubric_object: TinyRubric = field(default_factory=TinyRubric)
    task_object: Any = field(default_factory=LetterTask)
    name: str = "reason"
    seed: int = 7
    stop_at: int | None = None
    said: list[str] = field(default_factory=list)
    timings: list[Mapping[str, float]] = field(default_factory=list)
    artifacts: list[Path] = field(default_factory=list)
    earlier: dict[str, Mapping[str, float]] = field(default_factory=dict)
    make_rubric: Callable[[Sequence[str]], Any] | None = None

    def policy(self, name: str) -> TinyPolicy:
        return self.make_policy()

    def task(self, name: str) -> Any:
        return self.task_object

    def sampler(self, name: str, **changes: Any) -> TinySampler:
        return replace(self.sampler_object, **changes) if changes else self.sampler_object

    def stage(self, name: str) -> Any:
        return SimpleNamespace(result=StageResult(metrics=self.earlier[name]))

    def loss(self, name: str) -> Any:
        return self.loss_object

    def rubric(self, names: Sequence[str]) -> Any:
        return self.make_rubric(names) if self.make_rubric else self.rubric_object

    def journal(self, name: str = "journal") -> Journal:
        return Journal(self.directory.parent / f"{name}.journal")

    def steps(
        self, total: int, state: Any = None, *, checkpoint_every: int | None = None, description: str = ""
    ) -> Iterator[int]:
        checkpoint = self.directory.parent / "checkpoint"
        done = 0
        if checkpoint.exists():
            state.load(checkpoint)
            done = int((checkpoint / "done").read_text())
        self._keep_lines_before(done)
        for step in range(done, total):
            yield step
            if checkpoint_every and (step + 1) % checkpoint_every == 0:
                shutil.rmtree(checkpoint, ignore_errors=True)
                checkpoint.mkdir()
                state.save(checkpoint)
                (checkpoint / "done").write_text(str(step + 1))

    def expect_steps(self, total: int) -> None:
        self.expected_steps = total

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with (self.directory / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
        if step == self.stop_at:
            raise KeyboardInterrupt

    def timing(self, measurements: Mapping[str, float], step: int | None = None) -> None:
        self.timings.append(measurements)

    def artifact(self, path: Path) -> None:
        self.artifacts.append(path)

    def say(self, message: str) -> None:
        self.said.append(message)

    def metrics(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in (self.directory / "metrics.jsonl").read_text().splitlines()]

    def _keep_lines_before(self, step: int) -> None:
        path = self.directory / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        path.write_text("".join(lines[:step]))


@pytest.fixture
def make_context(tmp_path: Path, architecture: str) -> Callable[..., FolderContext]:
    def make(loss: Any, *, run: str = "run", **changes: Any) -> FolderContext:
        directory = tmp_path / run / "output"
        directory.mkdir(parents=True, exist_ok=True)
        return FolderContext(directory, lambda: TinyPolicy(MODELS[architecture]()), loss, **changes)

    return make


SMALL = {
    "policy": "base",
    "task": "letters",
    "rewards": ["early"],
    "sampler": "fast",
    "loss": "grpo",
    "group_size": 4,
    "prompts_per_step": 4,
    "steps": 3,
    "learning_rate": 0.01,
    "probes": 0,
    # Scripted samplers tell whatever log-probabilities.
    "max_sampler_gap": 100.0,
}


@pytest.fixture
def train() -> Callable[..., StageResult]:
    """Runs the stage with small options."""

    def run(context: FolderContext, **options: Any) -> StageResult:
        return GrpoStage(GrpoConfig(**{**SMALL, **options})).run(context)

    return run


@pytest.fixture
def check_resumption(
    make_context: Callable[..., FolderContext], train: Callable[..., StageResult]
) -> Callable[..., FolderContext]:
    """Compares a whole run with runs that are killed in some steps and continue; returns the whole one's context."""

    def check(loss: Any, stops: Sequence[int], options: Mapping[str, Any], **parts: Any) -> FolderContext:
        options = {"probes": 2, "probe_every": 2, "table_every": 2, "checkpoint_every": 2, **options}
        whole = make_context(loss, run="whole", **parts)
        expected = train(whole, **options)
        for stop_at in stops:
            with pytest.raises(KeyboardInterrupt):
                train(make_context(loss, run=f"killed-{stop_at}", stop_at=stop_at, **parts), **options)
            resumed = make_context(loss, run=f"killed-{stop_at}", **parts)
            result = train(resumed, **options)
            assert result.metrics == expected.metrics
            for name in ("metrics.jsonl", "rollouts.jsonl", "probes.jsonl", "policy/model.safetensors"):
                assert (resumed.directory / name).read_bytes() == (whole.directory / name).read_bytes()
        return whole

    return check


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()
