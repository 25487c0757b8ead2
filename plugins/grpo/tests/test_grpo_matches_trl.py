"""The loss and the gradient of TRL's trainer on the same model, tokens and log-probabilities."""

import os
from functools import partial

import pytest
import torch

from ponder_grpo import DapoLossConfig, DrGrpoLossConfig, GrpoLossConfig
from ponder_grpo.forward import policy_logprobs, read_prompts
from ponder_grpo.losses import DapoLoss, DrGrpoLoss, GrpoLoss
from ponder_grpo.rows import Row
from ponder_grpo.update import PassOptions, accumulate_gradients

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

PROMPTS = [[2, 3, 4], [5, 6, 7, 8, 9]]
COMPLETIONS = [[3, 4, 5, 6], [7, 0], [9, 10, 11], [12, 13, 14, 15, 0]]
ADVANTAGES = [1.2, -0.7, 0.4, -0.9]
LIMIT = 7

CASES = {
    "grpo": (
        GrpoLoss(GrpoLossConfig(kl_coef=0.04)),
        {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False},
    ),
    "grpo_eps_10": (
        GrpoLoss(GrpoLossConfig(kl_coef=0.001, epsilon_low=10, epsilon_high=10)),
        {"loss_type": "grpo", "beta": 0.001, "epsilon": 10.0, "epsilon_high": 10.0, "use_bias_correction_kl": False},
    ),
    "grpo_unbiased_kl": (
        GrpoLoss(GrpoLossConfig(kl_coef=0.04, kl="unbiased")),
        {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": True},
    ),
    "dapo": (DapoLoss(DapoLossConfig()), {"loss_type": "dapo", "beta": 0.0, "epsilon_high": 0.28}),
    "dr_grpo": (DrGrpoLoss(DrGrpoLossConfig()), {"loss_type": "dr_grpo", "beta": 0.0}),
}


def near(model, seed):
    """Log-probabilities of a policy that is not far from the model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        logprobs = policy_logprobs(model, [prompt for prompt in PROMPTS for _ in range(2)], COMPLETIONS)
    moved = logprobs + 0.4 * torch.randn(logprobs.shape, generator=generator)
    return [row[: len(completion)] for row, completion in zip(moved, COMPLETIONS, strict=True)]


def left_padded(sequences):
    width = max(map(len, sequences))
    return torch.tensor([[1] * (width - len(s)) + list(s) for s in sequences])


def right_padded(sequences, value):
    return torch.nn.utils.rnn.pad_sequence([torch.as_tensor(s) for s in sequences], True, value)


def trl_loss_and_gradient(model, tokenizer, options, old, reference, directory, importance=None):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    arguments = GRPOConfig(
        output_dir=str(directory),
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=LIMIT,
        report_to="none",
        use_cpu=True,
        bf16=False,
        **options,
    )
    # The trainer loads its reference policy from where the model was loaded.
    model.save_pretrained(directory / "model")
    trainer = GRPOTrainer(
        model=type(model).from_pretrained(directory / "model"),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": ["a", "b"]}),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    prompts = [prompt for prompt in PROMPTS for _ in range(2)]
    mask = right_padded([[1] * len(completion) for completion in COMPLETIONS], 0)
    inputs = {
        "prompt_ids": left_padded(prompts),
        "prompt_mask": (left_padded(prompts) != 1).long(),
        "completion_ids": right_padded(COMPLETIONS, 1),
        "completion_mask": mask,
        "advantages": torch.tensor(ADVANTAGES),
        "old_per_token_logps": right_padded(old, 0.0),
        "ref_per_token_logps": right_padded(reference, 0.0),
        "num_items_in_batch": mask.sum(),
    }
    if importance is not None:
        # What makes it weight is that vLLM drew the completions; here nothing is drawn.
        trainer.use_vllm = True
        inputs["importance_sampling_ratio"] = right_padded(importance, 0.0)
    trainer.model.zero_grad(set_to_none=True)
    trainer.model.train()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.item(), flat_gradient(trainer.model)


def flat_gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def our_loss_and_gradient(model, loss, old, reference, sampled=None, cap=None):
    rows = [
        Row(
            index=index,
            group=index // 2,
            prompt=PROMPTS[index // 2],
            completion=COMPLETIONS[index],
            advantage=ADVANTAGES[index],
            old_logprobs=old[index],
            reference_logprobs=reference[index],
            sampled_logprobs=None if sampled is None else sampled[index].tolist(),
        )
        for index in range(4)
    ]
    model.zero_grad(set_to_none=True)
    metrics = accumulate_gradients(partial(read_prompts, model), rows, loss, LIMIT, PassOptions(1.0, 4096, cap))
    return metrics["loss"], flat_gradient(model)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["qwen2"])
@pytest.mark.parametrize("case", list(CASES))
def test_loss_and_gradient_agree_with_trl(case, model, tokenizer, tmp_path):
    loss, options = CASES[case]
    old, reference = near(model, 1), near(model, 2)
    ours, our_gradient = our_loss_and_gradient(model, loss, old, reference)
    theirs, their_gradient = trl_loss_and_gradient(model, tokenizer, options, old, reference, tmp_path)
    assert ours == pytest.approx(theirs, abs=1e-5)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["qwen2"])
def test_the_gradient_under_an_importance_cap_is_that_of_trls_token_truncation(model, tokenizer, tmp_path):
    loss, options = CASES["dapo"]
    old, sampled = near(model, 1), near(model, 3)
    importance = [(one - other).exp().clamp(max=1.2) for one, other in zip(old, sampled, strict=True)]
    assert any((weights == 1.2).any() for weights in importance)
    _, ours = our_loss_and_gradient(model, loss, old, old, sampled, cap=1.2)
    _, theirs = trl_loss_and_gradient(model, tokenizer, options, old, old, tmp_path, importance)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
