"""A policy that is small, made in code and ready at once: what samplers and stages are tested with. Needs transformers."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ponder.hf import encode_prompt, prefilled_text, quiet_files
from ponder.interfaces import Policy
from ponder.randomness import derive_seed
from ponder.types import Completion, Example

CHAT_TEMPLATE = (
    "{%- for message in messages -%}<|{{ message.role }}|>{{ message.content }}<eos>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)
CONTEXT = 512


class StandInPolicy:
    """A Llama of some ten thousand parameters whose tokens are bytes; its distributions are far from uniform."""

    def __init__(self, config: object = None, checkpoint: Path | None = None, seed: int = 0) -> None:
        self.version = 0
        if checkpoint is None:
            self.tokenizer = _tokenizer()
            self.model = _model(len(self.tokenizer), seed)
        else:
            self.tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
            with quiet_files():
                self.model = AutoModelForCausalLM.from_pretrained(checkpoint, local_files_only=True)
        self.model.eval()

    def save(self, directory: Path) -> None:
        """Write safetensors, tokenizer and chat template."""
        with quiet_files():
            self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


@torch.no_grad()
def draw(policy: Policy, example: Example, place: tuple[int, ...], temperature: float, most: int) -> Completion:
    """One completion, drawn with numbers that depend on its place alone."""
    generator = torch.Generator().manual_seed(derive_seed(*place))
    ids, end = encode_prompt(policy.tokenizer, example.prompt), policy.tokenizer.eos_token_id
    tokens: list[int] = []
    logprobs: list[float] = []
    while len(tokens) < most and (not tokens or tokens[-1] != end):
        logits = policy.model(input_ids=torch.tensor([ids + tokens]), use_cache=False).logits[0, -1].float()
        known = (logits / temperature).log_softmax(-1)
        tokens.append(int(torch.multinomial(known.exp(), 1, generator=generator)))
        logprobs.append(float(known[tokens[-1]]))
    said = policy.tokenizer.decode([token for token in tokens if token not in (end, policy.tokenizer.pad_token_id)])
    text = prefilled_text(policy.tokenizer, example.prompt) + str(said)
    return Completion(text, tokens, logprobs, "stop" if tokens[-1] == end else "length", policy.version)


def _tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<eos>", "<pad>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in ("<think>", "</think>")])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    made.chat_template = CHAT_TEMPLATE
    return made


def _model(vocabulary: int, seed: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        # Some texts end: the output of the end-of-sequence token is larger than others, of either sign.
        model.lm_head.weight[0] *= 5
        return model
