"""What a policy of this plugin holds and computes, without its weights."""

from __future__ import annotations

import dataclasses

from torch import Tensor
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

from ponder.footprints import Kernels, StepMemory
from ponder.hf_plan import ModelFootprint
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.fast import accelerate, head_loss
from ponder_deepseek.presets import configuration
from ponder_deepseek.targets import with_targets
from ponder_deepseek.tokenizer import make_tokenizer


class DeepseekFootprint(ModelFootprint):
    """A model's footprint with its adapters; on a CPU its layers are ours, which hold less than transformers'."""

    def __init__(self, sizes: DeepseekV3Config, config: DeepseekConfig) -> None:
        super().__init__(sizes, self._adapt)
        self._options = config
        self._on_cpu = ModelFootprint(sizes, lambda model: self._adapt(accelerate(model)), _loss)

    def step(self, rows: int, length: int, *, value_bytes: int, kernels: Kernels) -> StepMemory:
        """See `Footprint`."""
        if kernels == "cpu":
            return self._on_cpu.step(rows, length, value_bytes=value_bytes, kernels=kernels)
        return super().step(rows, length, value_bytes=value_bytes, kernels=kernels)

    def _adapt(self, model: DeepseekV3ForCausalLM) -> None:
        if self._options.lora:
            from ponder.hf_lora import Adapters

            Adapters(model, with_targets(self._options.lora))


def _loss(model: DeepseekV3ForCausalLM, tokens: Tensor) -> Tensor:
    return head_loss(model.lm_head, model.model(input_ids=tokens, use_cache=False).last_hidden_state, tokens)


def footprint(config: DeepseekConfig) -> DeepseekFootprint:
    """The footprint of the model that the options describe."""
    # The published counts are of the main model.
    return DeepseekFootprint(
        configuration(dataclasses.replace(config.sizes(), mtp_depth=0), _vocabulary(config)), config
    )


def _vocabulary(config: DeepseekConfig) -> int:
    """Tokens: of a corpus, which is not read for this, the most that it may teach."""
    if config.corpus is not None:
        return config.vocab_size
    return len(make_tokenizer((), config.vocab_size, config.chat_template))
