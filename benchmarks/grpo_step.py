"""One whole GRPO step, ponder's against TRL's: sampling, rewards, and one optimizer update.

Both get the same weights (policy `deepseek`, preset `mini`, new), the same prompts, group size, length limit, threads, reward and
objective (GRPO without a KL term, one update on each batch), in float32. Steps alternate within one process, the first of each is
a warm-up, and medians are reported. TRL has its best settings for a CPU: transformers generation with a cache, 32
rows in a pass (no slower than all at once; --trl-micro-batch tries others), no dropout, no reference model, no gradient checkpointing, no
reports. The model is untrained: the end of a completion is then rare, nearly all run to the limit, and the mean lengths of both
are shown. TRL's "train" is all that is neither generation nor reward. The learning rate is so small that this stays so.

    python benchmarks/grpo_step.py --prompts 16 --group-size 16 --tokens 64 --threads 2
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from ponder import Completion, Example
from ponder.hf import adamw
from ponder.journal import Journal
from ponder.rubric import NamedReward, Rubric
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.policy import DeepseekPolicy
from ponder_grpo.batch import make_batch
from ponder_grpo.config import GrpoConfig, GrpoLossConfig
from ponder_grpo.engine import Counters, Engine
from ponder_grpo.losses import GrpoLoss
from ponder_grpo.rollouts import Drawer
from ponder_grpo.rows import Row
from ponder_sampling import FastConfig
from ponder_sampling.fast import FastSampler

LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Setting:
    """What both sides have in common."""

    prompts: int
    group_size: int
    tokens: int
    threads: int
    repeats: int
    trl_micro_batch: int

    @property
    def rows(self) -> int:
        return self.prompts * self.group_size


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step by phase, and the mean completion length in tokens."""

    sample: float
    reward: float
    train: float
    mean_length: float

    @property
    def total(self) -> float:
        return self.sample + self.reward + self.train


def main() -> None:
    """Measure and print."""
    # TRL itself uses names that transformers renames.
    warnings.filterwarnings("ignore", category=FutureWarning)
    setting, as_json = parse_arguments()
    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    policy = DeepseekPolicy(DeepseekConfig(preset="mini"))
    with tempfile.TemporaryDirectory() as directory:
        ours, theirs = alternate(setting, policy, Path(directory))
    if as_json:
        print(json.dumps(as_record(setting, policy, ours, theirs), indent=2))
    else:
        print(as_table(setting, policy, ours, theirs))


def parse_arguments() -> tuple[Setting, bool]:
    """The setting, and whether JSON is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group-size", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64, help="length limit of a completion")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=5, help="steps measured of each, after one to warm up")
    parser.add_argument(
        "--trl-micro-batch", type=int, default=32, help="rows in TRL's forward pass; 0 takes all at once"
    )
    parser.add_argument("--json", action="store_true")
    options = vars(parser.parse_args())
    as_json = options.pop("json")
    setting = Setting(**options)
    if setting.trl_micro_batch and setting.rows % setting.trl_micro_batch:
        parser.error(f"{setting.rows} completions are not a multiple of --trl-micro-batch {setting.trl_micro_batch}")
    return setting, as_json


def alternate(setting: Setting, policy: DeepseekPolicy, directory: Path) -> tuple[list[StepTime], list[StepTime]]:
    """Step times of ponder and of TRL, the warm-up left out: TRL trains, and each time it has made a step we make one."""
    prompts = [arithmetic_prompt(index) for index in range(setting.prompts)]
    trl = TrlSteps(setting, policy, prompts, directory / "trl")
    with Rubric([NamedReward("digits", 1.0, digit_reward)]) as rubric, Journal(directory / "journal") as journal:
        ours = PonderSteps(setting, policy, [Example(prompt) for prompt in prompts], rubric, journal)
        trl.run(after_each_step=ours.step)
    return ours.times[1:], trl.times[1:]


def arithmetic_prompt(index: int) -> str:
    """A sum of two to five numbers, of unequal length in tokens."""
    numbers = [(index * 37 + place * 11) % 97 + 1 for place in range(2 + index % 4)]
    return f"User: What is {' + '.join(map(str, numbers))}? Assistant:"


def digit_share(text: str) -> float:
    """Share of digits in a text: differs among the completions of a group, so that every group is learnt from."""
    return sum(character.isdigit() for character in text) / max(1, len(text))


def digit_reward(example: Example, completion: Completion) -> float:
    """`digit_share` as a reward of ponder's."""
    return digit_share(completion.text)


def _refuse(rows: Sequence[Row], max_tokens: int) -> None:
    """A benchmark has no use for updates that are not finite."""
    raise SystemExit("an update is not finite")


class PonderSteps:
    """Steps of the stage `grpo`: draw, score in worker processes, journal, update."""

    def __init__(
        self, setting: Setting, policy: DeepseekPolicy, examples: Sequence[Example], rubric: Rubric, journal: Journal
    ) -> None:
        self.times: list[StepTime] = []
        self._policy, self._examples, self._tokens = policy, examples, setting.tokens
        sampler = FastSampler(FastConfig(max_new_tokens=setting.tokens))
        self._drawer = Drawer(policy, sampler, rubric, journal)
        self._config = GrpoConfig(
            policy="policy",
            task="task",
            rewards=["digits"],
            group_size=setting.group_size,
            prompts_per_step=setting.prompts,
            learning_rate=LEARNING_RATE,
        )
        self._engine = Engine(
            policy=policy,
            optimizer=adamw(policy.model, LEARNING_RATE, weight_decay=0.0),
            loss=GrpoLoss(GrpoLossConfig(kl_coef=0.0)),
            reference=None,
            config=self._config,
            counters=Counters(),
            seed=0,
            temperature=1.0,
            keep_batch=_refuse,
        )

    def step(self) -> None:
        """One step, timed."""
        number = len(self.times)
        drawn = self._drawer.draw(f"step-{number}", self._examples, self._config.group_size, seed=number)
        started = time.perf_counter()
        batch = make_batch(drawn.rollouts, drawn.scores, self._policy.tokenizer, self._config, self._tokens)
        self._engine.learn(number, batch.rows, self._tokens)
        seconds = time.perf_counter() - started
        length = statistics.fmean(len(rollout.completion.token_ids) for rollout in drawn.rollouts)
        self.times.append(StepTime(drawn.seconds["sample"], drawn.seconds["score"], seconds, length))


class TrlSteps:
    """Steps of TRL's GRPOTrainer on a copy of the weights."""

    def __init__(self, setting: Setting, policy: DeepseekPolicy, prompts: Sequence[str], directory: Path) -> None:
        self.times: list[StepTime] = []
        self._steps = setting.repeats + 1
        self._sampled = self._scored = self._length = 0.0
        model = copy.deepcopy(policy.model)
        model.generate = self._timed_generation(model.generate)
        self._trainer = GRPOTrainer(
            model=model,
            processing_class=copy.deepcopy(policy.tokenizer),
            reward_funcs=[self._reward],
            args=trl_settings(setting, self._steps, directory),
            train_dataset=Dataset.from_dict({"prompt": list(prompts)}),
        )

    def run(self, after_each_step: Callable[[], None]) -> None:
        """Train; `after_each_step` runs between steps and counts towards none."""
        self._trainer.remove_callback(PrinterCallback)
        self._trainer.add_callback(_StepClock(self._finish_step, after_each_step))
        self._trainer.train()

    def _finish_step(self, seconds: float) -> None:
        train = seconds - self._sampled - self._scored
        self.times.append(StepTime(self._sampled, self._scored, train, self._length))

    def _timed_generation(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = generate(*args, **kwargs)
            self._sampled = time.perf_counter() - started
            return result

        return timed

    def _reward(self, completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        started = time.perf_counter()
        self._length = statistics.fmean(map(len, completion_ids))
        scores = [digit_share(text) for text in completions]
        self._scored = time.perf_counter() - started
        return scores


def trl_settings(setting: Setting, steps: int, directory: Path) -> GRPOConfig:
    """TRL's best settings for this on a CPU."""
    micro_batch = setting.trl_micro_batch or setting.rows
    return GRPOConfig(
        output_dir=str(directory),
        max_steps=steps,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=setting.rows // micro_batch,
        num_generations=setting.group_size,
        max_completion_length=setting.tokens,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        loss_type="grpo",
        beta=0.0,
        router_aux_loss_coef=0.0,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        adam_beta2=0.95,
        max_grad_norm=1.0,
        gradient_checkpointing=False,
        shuffle_dataset=False,
        use_cpu=True,
        bf16=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


class _StepClock(TrainerCallback):
    """Times a trainer's steps, from fetching prompts to the updated weights."""

    def __init__(self, finished: Callable[[float], None], between: Callable[[], None]) -> None:
        self._finished, self._between = finished, between
        self._started = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self._finished(time.perf_counter() - self._started)
        self._between()


def medians(times: Sequence[StepTime]) -> dict[str, float]:
    """Medians over steps of each phase and of the whole."""
    rows = [{**asdict(one), "total": one.total} for one in times]
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def as_record(
    setting: Setting, policy: DeepseekPolicy, ours: Sequence[StepTime], theirs: Sequence[StepTime]
) -> dict[str, Any]:
    """Everything measured."""
    ponder, trl = medians(ours), medians(theirs)
    return {
        "setting": {**asdict(setting), "parameters": sum(weight.numel() for weight in policy.model.parameters())},
        "ponder": ponder,
        "trl": trl,
        "ratio": {name: trl[name] / ponder[name] for name in ("sample", "reward", "train", "total")},
        "steps": {"ponder": [one.total for one in ours], "trl": [one.total for one in theirs]},
    }


def as_table(setting: Setting, policy: DeepseekPolicy, ours: Sequence[StepTime], theirs: Sequence[StepTime]) -> str:
    """The medians as text."""
    record = as_record(setting, policy, ours, theirs)
    ponder, trl = record["ponder"], record["trl"]
    lines = [
        f"{record['setting']['parameters']:,} parameters, {setting.prompts} prompts x {setting.group_size}, up to "
        f"{setting.tokens} tokens, float32, {setting.threads} threads, medians of {setting.repeats} alternating steps",
        f"{'seconds':10}{'ponder':>10}{'TRL':>10}{'ratio':>9}",
    ]
    for name, ratio in record["ratio"].items():
        lines.append(f"{name:10}{ponder[name]:10.3f}{trl[name]:10.3f}{ratio:8.2f}x")
    lines.append(f"{'tokens':10}{ponder['mean_length']:10.1f}{trl['mean_length']:10.1f}   mean completion")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
