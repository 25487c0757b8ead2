"""What a DeepSeek-V3 is pre-trained to do: the next token and those after it, with experts that share the work."""

from __future__ import annotations

from torch import Tensor

from ponder.hf import active_parameters
from ponder.hf_pretraining import NO_DOCUMENT, TokenBatch
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.balancing import RouterBalancer, balance_loss
from ponder_deepseek.fast import head_loss
from ponder_deepseek.mtp import DeepseekV3ForCausalLM
from ponder_deepseek.mtp_loss import MultiTokenLoss


class DeepseekObjective:
    """The objective of `ponder.hf_pretraining.Objective` for a DeepSeek-V3 (section 4.2 of its report)."""

    def __init__(self, model: DeepseekV3ForCausalLM, config: DeepseekConfig) -> None:
        self._model = model
        self._config = config
        self._multi_token = MultiTokenLoss(model, config)
        self._balancer = RouterBalancer(model)

    def loss(self, batch: TokenBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The next token's loss, that of the tokens further ahead, and the balance loss."""
        counted = batch.documents.ne(NO_DOCUMENT)
        with self._balancer.counting(counted) as logits:
            hidden = self._model.model(input_ids=batch.inputs, use_cache=False).last_hidden_state
            loss = head_loss(self._model.lm_head, hidden, batch.labels)
            further, ahead = self._multi_token(hidden, batch, progress)
        metrics = {"loss": loss.item(), **ahead}
        loss = loss + further
        if self._config.balance_loss_weight and logits:
            balance = self._balance(logits, counted)
            metrics["balance_loss"] = balance.item()
            loss = loss + balance
        return loss, metrics

    def finish_step(self, progress: float, *, updated: bool) -> dict[str, float]:
        """Move the routers' biases after an update; the loads of a skipped step are forgotten."""
        return self._balancer.step(self._config.bias_rate(progress)) if updated else self._balancer.forget()

    def active_parameters(self) -> int:
        """Parameters that a token is multiplied with in `loss`."""
        return active_parameters(self._model) + self._multi_token.active_parameters()

    def expert_loads(self) -> list[list[int]]:
        """See `ponder.hf_pretraining.Objective`."""
        return self._balancer.loads()

    def _balance(self, logits: list[Tensor], counted: Tensor) -> Tensor:
        config = self._config
        chosen = self._model.config.num_experts_per_tok
        loss = balance_loss(logits, counted, chosen, is_over_batch=config.balance_loss == "batch")
        return config.balance_loss_weight * loss
