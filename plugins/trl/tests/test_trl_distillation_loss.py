"""The loss against a direct computation of the generalised Jensen-Shannon divergence (Agarwal et al. 2024, arXiv 2306.13649)."""

import pytest
import torch
from datasets import Dataset
from trl import DistillationConfig

from ponder_trl.answers import collate, own_answers
from ponder_trl.conversations import Conversation
from ponder_trl.distillation import StudentTrainer

from .conftest import TinyPolicy, make_model

ROWS = [
    Conversation(torch.tensor([5, 6, 7, 8, 9, 10], dtype=torch.int32), 2),
    Conversation(torch.tensor([11, 12, 13, 14, 0], dtype=torch.int32), 4),
]


def divergence(student, teacher, beta):
    """Equation 1: beta KL(P || M) + (1 - beta) KL(Q || M) with M = beta P + (1 - beta) Q, P the teacher; KL(P || Q) and KL(Q || P) at
    the ends, which is what the equation tends to when it is divided by beta and by 1 - beta."""
    p, q = teacher.double().softmax(-1), student.double().softmax(-1)

    def kl(a, b):
        return (a * (a / b).log()).sum(-1)

    if beta in (0, 1):
        return kl(p, q) if beta == 0 else kl(q, p)
    mixture = beta * p + (1 - beta) * q
    return beta * kl(p, mixture) + (1 - beta) * kl(q, mixture)


def expected_loss(student, teacher, beta, temperature):
    """The mean over the learnt tokens, each row read alone and without padding."""
    parts = []
    for row in ROWS:
        ids = row.tokens.long()[None]
        logits = [
            model(input_ids=ids).logits[0, row.prompt_length - 1 : -1] / temperature for model in (student, teacher)
        ]
        parts.append(divergence(*logits, beta))
    return torch.cat(parts).mean()


@pytest.mark.parametrize("architecture", ["qwen2", "deepseek"])
@pytest.mark.parametrize(("beta", "temperature"), [(0.0, 1.0), (0.1, 1.0), (0.5, 2.0), (0.9, 1.0), (1.0, 0.7)])
def test_loss_and_gradient_are_those_of_the_paper(tmp_path, architecture, beta, temperature):
    policy, teacher = TinyPolicy(make_model(architecture)), make_model("llama")
    teacher.lm_head.weight.data.mul_(2)
    trainer = StudentTrainer(
        model=policy.model,
        teacher_model=teacher,
        args=DistillationConfig(
            output_dir=str(tmp_path),
            beta=beta,
            temperature=temperature,
            bf16=False,
            gradient_checkpointing=False,
            report_to=[],
            use_cpu=True,
        ),
        train_dataset=Dataset.from_dict({"prompt": [""]}),
        processing_class=policy.tokenizer,
    )
    learnt = sum(row.learnt for row in ROWS)
    loss = trainer.training_step(policy.model, collate(ROWS, pad=1), learnt)
    gradients = {
        name: weight.grad.clone() for name, weight in policy.model.named_parameters() if weight.grad is not None
    }
    policy.model.zero_grad()
    expected = expected_loss(policy.model, teacher, beta, temperature)
    expected.backward()
    assert float(loss) == pytest.approx(expected.item(), rel=1e-4)
    for name, weight in policy.model.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-3, atol=1e-5)


def test_prompts_end_where_answers_begin():
    batch = collate(ROWS, pad=1)
    assert batch["prompt_ids"].tolist() == [[1, 1, 5, 6], [11, 12, 13, 14]]
    assert batch["prompt_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert batch["completion_ids"].tolist() == [[7, 8, 9, 10], [0, 1, 1, 1]]
    assert batch["completion_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.3, 1.0])
def test_over_all_steps_the_student_answers_its_share(share):
    counts = [own_answers(step, 8, share) for step in range(50)]
    assert abs(sum(counts) - 400 * share) <= 1
    assert max(counts) - min(counts) <= 1
