"""The policy itself."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from untitled_policy import UntitledConfig

CHAT_TEMPLATE = (
    "{%- for message in messages -%}<|{{ message.role }}|>{{ message.content }}<eos>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


class UntitledPolicy:
    """New from the options and a seed, or as `save` left it in a checkpoint."""

    def __init__(self, config: UntitledConfig, checkpoint: Path | None = None, seed: int = 0) -> None:
        self.version = 0
        if checkpoint is None:
            self.tokenizer = _new_tokenizer()
            self.model = _new_model(config, len(self.tokenizer), seed)
        else:
            self.tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
            self.model = AutoModelForCausalLM.from_pretrained(checkpoint, local_files_only=True)
        self.model.eval()

    def save(self, directory: Path) -> None:
        """Write safetensors, tokenizer and chat template, loadable by plain transformers."""
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


def _new_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, besides the tags of the answer's format and the ends of texts and rows."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<eos>", "<pad>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(f"<{tag}>", normalized=False) for tag in ("think", "/think", "answer", "/answer")])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    made.chat_template = CHAT_TEMPLATE
    return made


def _new_model(config: UntitledConfig, vocabulary: int, seed: int) -> LlamaForCausalLM:
    sizes = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=config.hidden_size,
        intermediate_size=3 * config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=config.context_length,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )
    # Other parts of a run draw from the same generator: it is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(sizes)
