"""What a policy of this plugin holds and computes, without its weights."""

from __future__ import annotations

import dataclasses
from functools import cached_property

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ponder.footprints import Sizes
from ponder.hf_plan import ModelFootprint
from ponder_causal_lm.config import CausalLMConfig
from ponder_causal_lm.loading import load_config, origin_of
from ponder_causal_lm.presets import preset
from ponder_causal_lm.targets import with_targets
from ponder_causal_lm.tokenizer import LLAMA, QWEN, make_tokenizer

_MOMENTS_8BIT = 2


class CausalLMFootprint(ModelFootprint):
    """A model's footprint with its adapters, what is quantised below them, and the moments of its optimizer."""

    def __init__(self, sizes: PreTrainedConfig, config: CausalLMConfig) -> None:
        super().__init__(sizes, self._adapt if config.lora and not config.is_new else None)
        self._options = config

    @cached_property
    def sizes(self) -> Sizes:
        """See `Footprint`."""
        changes: dict[str, float] = {}
        if self._options.bits is not None:
            from ponder.hf_quantised import BYTES

            changes = {"quantised": _in_layers(self._model), "quantised_bytes": BYTES[self._options.bits]}
        if self._options.optimizer == "adamw_8bit":
            changes["moment_bytes"] = _MOMENTS_8BIT
        return dataclasses.replace(super().sizes, **changes)  # type: ignore[arg-type]

    def _adapt(self, model: PreTrainedModel) -> None:
        from ponder.hf_lora import Adapters

        Adapters(model, with_targets(self._options.lora))


def footprint(config: CausalLMConfig) -> ModelFootprint:
    """The footprint of the model that the options describe; of a pretrained one, only the configuration is read.

    Raises InputError when there is none.
    """
    if config.preset is not None:
        sizes = preset(config.preset, _vocabulary(config))
    else:
        sizes = load_config(origin_of(str(config.path)).weights)
        if config.corpus is not None:
            sizes.vocab_size = config.vocab_size
    if config.context_length is not None:
        sizes.max_position_embeddings = config.context_length
    return CausalLMFootprint(sizes, config)


def _in_layers(model: PreTrainedModel) -> int:
    """Weights of linear layers but the output: what is quantised."""
    head = model.get_output_embeddings()
    return sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and "lora_" not in name
    )


def _vocabulary(config: CausalLMConfig) -> int:
    """Tokens: of a corpus, which is not read for this, the most that it may teach."""
    if config.corpus is not None:
        return config.vocab_size
    family = QWEN if str(config.preset).startswith("qwen2") else LLAMA
    return len(make_tokenizer(family, (), config.vocab_size))
