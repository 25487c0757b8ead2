"""What a policy of this plugin holds and computes, without its weights."""

from __future__ import annotations

import dataclasses

from ponder.hf_plan import ModelFootprint
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.presets import configuration
from ponder_deepseek.targets import with_targets
from ponder_deepseek.tokenizer import make_tokenizer


def footprint(config: DeepseekConfig) -> ModelFootprint:
    """The footprint of the model that the options describe."""
    # The published counts are of the main model.
    sizes = configuration(dataclasses.replace(config.sizes(), mtp_depth=0), _vocabulary(config))
    if not config.lora:
        return ModelFootprint(sizes)
    from ponder.hf_lora import Adapters

    return ModelFootprint(sizes, lambda model: Adapters(model, with_targets(config.lora)))


def _vocabulary(config: DeepseekConfig) -> int:
    """Tokens: of a corpus, which is not read for this, the most that it may teach."""
    if config.corpus is not None:
        return config.vocab_size
    return len(make_tokenizer((), config.vocab_size, config.chat_template))
