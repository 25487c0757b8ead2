"""The stage `on_policy_distillation`: TRL's DistillationTrainer on answers that ponder's sampler draws from the student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import DistillationConfig, DistillationTrainer

from ponder import Example, Policy, StageResult
from ponder.hf import FORWARD, FORWARD_AND_BACKWARD, active_parameters
from ponder_trl import loop
from ponder_trl.answers import Answers, Spent
from ponder_trl.checks import check_tokenizer
from ponder_trl.distillation_checks import check_responses, check_same_tokenizer
from ponder_trl.distillation_config import OnPolicyDistillationConfig
from ponder_trl.drawing import Problems, load_examples
from ponder_trl.schedule import constant
from ponder_trl.step_trainer import RemainingBatches, StepTrainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import Trainer as _Base

    from ponder.context import StageContext
else:
    _Base = object


class _OnGivenAnswers(_Base):
    """TRL's trainer draws in the middle of a training step; here the answers come with the batch, and its loss is all that is left."""

    def training_step(self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """The forward and backward pass of a micro-batch."""
        model.train()
        placed = {name: tensor.to(self.args.device) for name, tensor in inputs.items()}
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, placed, num_items_in_batch=num_items_in_batch)
        self.accelerator.backward(loss)
        return loss.detach()


class StudentTrainer(StepTrainer, _OnGivenAnswers, DistillationTrainer):
    """TRL's trainer in ponder's loop."""


class OnPolicyDistillation:
    """Trains a student to say what a teacher would; see `OnPolicyDistillationConfig`."""

    def __init__(self, config: OnPolicyDistillationConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """See `Stage`.

        Raises:
            InputError: teacher and student have not one vocabulary, the task cannot fill a step, or has responses that cannot be learnt.
            StageError: the loss or the gradient was not finite for `max_skipped` steps in a row, or the sampler draws from no policy.
        """
        config = self._config
        examples = load_examples(context, config.task, config.prompts_per_step)
        student, teacher = context.policy(config.policy), context.policy(config.teacher)
        self._check(context, student, teacher, examples)
        teacher.model.eval().requires_grad_(requires_grad=False)
        answers = Answers(
            config=config,
            context=context,
            student=student,
            sampler=context.sampler(config.sampler),
            problems=Problems(examples, context.seed),
            journal=context.journal(),
            spent=Spent(),
        )
        progress = loop.train(
            context,
            student,
            self._pace(),
            lambda pieces: self._make_trainer(student, teacher, answers, pieces),
            options=config.trl,
            keep=lambda logs: {**answers.account(), **_kept(logs)},
            extra=answers.spent,
        )
        student.save(context.directory / "policy")
        metrics = {
            **progress.means(),
            "skipped": float(progress.skipped),
            "tokens": answers.spent.read,
            "flops": _flops(student, teacher, answers.spent),
        }
        return StageResult(policy=context.directory / "policy", metrics=metrics)

    def _check(self, context: StageContext, student: Policy, teacher: Policy, examples: list[Example]) -> None:
        config = self._config
        check_tokenizer(student.tokenizer, config.policy)
        check_same_tokenizer(student, teacher, config, context.say)
        if config.on_policy < 1:
            check_responses(examples, student, teacher, config)

    def _pace(self) -> loop.Pace:
        config = self._config
        return loop.Pace.of(config, config.steps, constant(config.learning_rate, config.warmup_steps))

    def _make_trainer(self, student: Policy, teacher: Policy, answers: Answers, pieces: loop.Pieces) -> StudentTrainer:
        config = self._config
        trainer = StudentTrainer(
            model=student.model,
            teacher_model=teacher.model,
            args=DistillationConfig(**pieces.arguments, beta=config.beta, temperature=config.temperature),
            # What is asked is up to `answers`; the trainer only wants to see that there is something.
            train_dataset=Dataset.from_dict({"prompt": [""]}),
            processing_class=student.tokenizer,
            callbacks=pieces.callbacks,
            optimizers=pieces.optimizers,
        )
        trainer.batches = RemainingBatches(answers, pieces.start, config.steps)
        return trainer


def _kept(logs: Mapping[str, float]) -> dict[str, float]:
    """What TRL logs of a step that is a function of the recipe."""
    return {"entropy": logs["entropy"]} if "entropy" in logs else {}


def _flops(student: Policy, teacher: Policy, spent: Spent) -> float:
    """2 for each parameter of the student and token that it draws, 6 where it learns, 2 for the teacher that reads along."""
    own = FORWARD * spent.drawn + FORWARD_AND_BACKWARD * spent.read
    return float(active_parameters(student.model) * own + active_parameters(teacher.model) * FORWARD * spent.read)
