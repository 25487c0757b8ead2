"""The training objective of the modules for multi-token prediction (DeepSeek-V3, section 2.2, equations 21 to 25)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ponder.hf import active_parameters
from ponder.hf_pretraining import IGNORED, TokenBatch
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.mtp import DeepseekV3ForCausalLM, MtpModule, mtp_modules, read_ahead


class MultiTokenLoss:
    """(lambda / D) times the sum of the modules' losses, and nothing for a model without modules.

    Opens the modules for training. They share embedding and output head with the main model, and read its causal chain whole.
    """

    def __init__(self, model: DeepseekV3ForCausalLM, config: DeepseekConfig) -> None:
        self._model = model
        self._config = config
        self._modules = mtp_modules(model)
        for module in self._modules:
            module.requires_grad_(True)

    def __call__(self, hidden: Tensor, batch: TokenBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """From the main model's hidden states [rows, length, width] behind its final norm; also each module's loss and accuracy."""
        total = hidden.new_zeros((), dtype=torch.float32)
        metrics: dict[str, float] = {}
        for depth, module in enumerate(self._modules, start=1):
            if hidden.shape[1] < 2:  # a row too short to look so far ahead
                break
            hidden = self._read_ahead(module, hidden[:, :-1], batch, depth)
            loss, accuracy = further_loss(self._model.lm_head(hidden), batch, depth)
            total = total + loss
            suffix = "" if depth == 1 else f"_{depth}"
            metrics |= {f"mtp_loss{suffix}": loss.item(), f"mtp_accuracy{suffix}": accuracy.item()}
        return total * (mtp_weight(self._config, progress) / max(1, len(self._modules))), metrics

    def active_parameters(self) -> int:
        """Parameters that a token is multiplied with: the modules', and the shared head once for each."""
        head = sum(parameter.numel() for parameter in self._model.lm_head.parameters())
        return sum(active_parameters(module) + head for module in self._modules)

    def _read_ahead(self, module: MtpModule, hidden: Tensor, batch: TokenBatch, depth: int) -> Tensor:
        """The module's hidden states from those of the depth before; it sees no embedding of another document."""
        is_inside = batch.documents[:, :-depth] == batch.documents[:, depth:]
        embedded = self._model.model.embed_tokens(batch.inputs[:, depth:]) * is_inside[..., None]
        return read_ahead(self._model, module, module.joined(hidden, embedded))


def further_loss(logits: Tensor, batch: TokenBatch, depth: int) -> tuple[Tensor, Tensor]:
    """Equation 24 for logits [rows, length - depth, vocab]: position i predicts token i + depth + 1 if it is in i's document.

    The sum is divided by the number of next-token labels, T, as printed. Also returns the share of these tokens that were
    likeliest.
    """
    # What follows a row, if it is predicted at all, goes on with the row's last document.
    of_target = torch.cat((batch.documents[:, depth + 1 :], batch.documents[:, -1:]), dim=1)
    is_inside = batch.documents[:, :-depth] == of_target
    targets = batch.labels[:, depth:].masked_fill(~is_inside, IGNORED)
    total = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    counts = targets != IGNORED
    right = (logits.argmax(-1) == targets) & counts
    return total / max(1, batch.predicted), right.sum() / counts.sum().clamp(min=1)


def mtp_weight(config: DeepseekConfig, progress: float) -> float:
    """Lambda when a share `progress` of the run's tokens has been read."""
    return config.mtp_weight if progress < config.mtp_switch else config.mtp_final_weight
