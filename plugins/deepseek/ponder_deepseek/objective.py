"""What a DeepSeek-V3 is pre-trained to do: the next token and those after it, with experts that share the work."""

from __future__ import annotations

from torch import Tensor

from ponder.hf import active_parameters
from ponder.hf_pretraining import TokenBatch, label_loss
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.balancing import RouterBalancer
from ponder_deepseek.mtp import DeepseekV3ForCausalLM
from ponder_deepseek.mtp_loss import MultiTokenLoss


class DeepseekObjective:
    """The objective of `ponder.hf_pretraining.Objective` for a DeepSeek-V3 (section 4.2 of its report)."""

    def __init__(self, model: DeepseekV3ForCausalLM, config: DeepseekConfig) -> None:
        self._model = model
        self._multi_token = MultiTokenLoss(model, config)
        self._balancer = RouterBalancer(model, config.bias_update_rate)

    def loss(self, batch: TokenBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The next token's loss, and that of the tokens further ahead."""
        hidden = self._model.model(input_ids=batch.inputs, use_cache=False).last_hidden_state
        loss = label_loss(self._model.lm_head(hidden), batch)
        further, metrics = self._multi_token(hidden, batch, progress)
        return loss + further, {"loss": loss.item(), **metrics}

    def finish_step(self, progress: float, *, updated: bool) -> dict[str, float]:
        """Move the routers' biases after an update; the loads of a skipped step are forgotten."""
        return self._balancer.step() if updated else self._balancer.forget()

    def active_parameters(self) -> int:
        """Parameters that a token is multiplied with in `loss`."""
        return active_parameters(self._model) + self._multi_token.active_parameters()
