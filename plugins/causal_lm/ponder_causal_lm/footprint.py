"""What a policy of this plugin holds and computes, without its weights."""

from __future__ import annotations

from transformers import AutoConfig, PreTrainedConfig

from ponder.hf_plan import ModelFootprint
from ponder_causal_lm import CausalLMConfig
from ponder_causal_lm.policy import from_pretrained
from ponder_causal_lm.presets import preset
from ponder_causal_lm.tokenizer import LLAMA, QWEN, make_tokenizer


def footprint(config: CausalLMConfig) -> ModelFootprint:
    """The footprint of the model that the options describe; of a pretrained one, only the configuration is read.

    Raises InputError when there is none.
    """
    sizes: PreTrainedConfig = (
        preset(str(config.preset), _vocabulary(config))
        if config.path is None
        else from_pretrained(AutoConfig, config.path)
    )
    if config.context_length is not None:
        sizes.max_position_embeddings = config.context_length
    return ModelFootprint(sizes)


def _vocabulary(config: CausalLMConfig) -> int:
    """Tokens: of a corpus, which is not read for this, the most that it may teach."""
    if config.corpus is not None:
        return config.vocab_size
    family = QWEN if str(config.preset).startswith("qwen2") else LLAMA
    return len(make_tokenizer(family, (), config.vocab_size))
