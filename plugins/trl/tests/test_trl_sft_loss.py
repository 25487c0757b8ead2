"""The loss that TRL's trainer minimises on our batches: the one written down by hand, for every architecture."""

import pytest
import torch
from torch.nn import functional as F

from ponder import Example
from ponder.errors import InputError
from ponder.hf import adamw
from ponder_trl.batches import Batches
from ponder_trl.checks import check_packing
from ponder_trl.conversations import read_conversations
from ponder_trl.loop import Pieces
from ponder_trl.sft import _make

TEXTS = [
    ("1+1?", "2"),
    ("17?", "prime"),
    ("7*6?", "42"),
    ("Tell me more about 17.", "It is prime, as 2, 3 and 5, and no square."),
]


def make_batches(policy, **changes):
    examples = [Example([{"role": "user", "content": ask}], answer) for ask, answer in TEXTS]
    options = {"epochs": 1, "batch_size": 4, "micro_batch_tokens": 4096, "packing": False, "pad": 1, "seed": 0}
    conversations = read_conversations(examples, policy.tokenizer, "rows")
    return Batches(conversations=conversations, **{**options, **changes})


def by_hand(model, conversations):
    """Mean cross-entropy in nats over the responses' tokens, each conversation on its own."""
    losses = []
    for conversation in conversations:
        tokens = conversation.tokens.long()
        logits = model(input_ids=tokens[None], use_cache=False).logits[0]
        start = conversation.prompt_length
        losses.append(F.cross_entropy(logits[start - 1 : -1], tokens[start:], reduction="none"))
    return torch.cat(losses).mean()


def gradients(model):
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found


def of_the_trainer(policy, batches, folder, **options):
    optimizer = adamw(policy.model, 1e-3)
    arguments = {
        "output_dir": str(folder),
        "bf16": False,
        "activation_checkpointing": False,
        "report_to": [],
        **options,
    }
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    trainer = _make(policy, batches, Pieces({**arguments, "max_steps": 1}, (optimizer, scheduler), [], 0))
    trainer.training_step(policy.model, batches(0))
    return trainer.step_loss, gradients(policy.model)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize(
    "cut",
    [
        {},
        {"micro_batch_tokens": 80},
        {"micro_batch_tokens": 16},
        {"packing": True},
        {"packing": True, "micro_batch_tokens": 90},
    ],
    ids=["whole", "in two", "one by one", "packed", "packed in two"],
)
def test_the_loss_and_its_gradient_are_those_of_the_responses_one_by_one(tiny_policy, tmp_path, cut):
    batches = make_batches(tiny_policy, **cut)
    expected = by_hand(tiny_policy.model.train(), batches.conversations)
    expected.backward()
    wanted = gradients(tiny_policy.model)
    loss, found = of_the_trainer(tiny_policy, batches, tmp_path)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert_same(found, wanted)


def test_packing_puts_conversations_into_one_row(tiny_policy):
    shapes = [part["input_ids"].shape for part in make_batches(tiny_policy, packing=True)(0).parts]
    assert len(make_batches(tiny_policy)(0).parts[0]["input_ids"]) == 4
    assert sum(rows for rows, _ in shapes) < 4


def test_conversations_of_one_row_do_not_see_each_other(tiny_policy):
    check_packing(tiny_policy.model, "base")


def test_a_model_that_lets_them_see_each_other_is_refused(tiny_policy, monkeypatch):
    forward = type(tiny_policy.model).forward

    def blind(self, *arguments, position_ids=None, **options):
        return forward(self, *arguments, **options)

    monkeypatch.setattr(type(tiny_policy.model), "forward", blind)
    with pytest.raises(InputError, match=r"cannot keep conversations that share a row apart.*packing: false"):
        check_packing(tiny_policy.model, "base")


def test_the_prompts_are_not_learnt(tiny_policy, tmp_path):
    tiny_policy.model.requires_grad_(False)
    head = tiny_policy.model.get_output_embeddings().weight.requires_grad_(True)
    batches = make_batches(tiny_policy)
    _, found = of_the_trainer(tiny_policy, batches, tmp_path)
    [gradient] = found.values()
    assert gradient.shape == head.shape
    learnt = {int(t) for c in batches.conversations for t in c.tokens[c.prompt_length :]}
    # A row of the head is pulled up only where its token is a label.
    pulled = {token for token in range(len(head)) if (gradient[token] != 0).any()}
    assert learnt <= pulled
