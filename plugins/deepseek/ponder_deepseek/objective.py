"""What a DeepSeek-V3 is pre-trained to do: the next token, with experts that share the work."""

from __future__ import annotations

from torch import Tensor
from transformers import DeepseekV3ForCausalLM

from ponder.hf_pretraining import TokenBatch, next_token_loss
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.balancing import RouterBalancer


class DeepseekObjective:
    """The objective of `ponder.hf_pretraining.Objective` for a DeepSeek-V3 (section 4.2 of its report)."""

    def __init__(self, model: DeepseekV3ForCausalLM, config: DeepseekConfig) -> None:
        self._model = model
        self._balancer = RouterBalancer(model, config.bias_update_rate)

    def loss(self, batch: TokenBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The next token's loss."""
        loss = next_token_loss(self._model, batch)
        return loss, {"loss": loss.item()}

    def finish_step(self, progress: float, *, updated: bool) -> dict[str, float]:
        """Move the routers' biases after an update; the loads of a skipped step are forgotten."""
        return self._balancer.step() if updated else self._balancer.forget()
