"""A policy as a GGUF file, which llama.cpp and what is built on it read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ponder import hf_gguf_rope
from ponder.errors import InputError
from ponder.hf import merged_model
from ponder.hf_export import TEMPERATURE, TOP_P, Facts, prefills
from ponder.interfaces import Policy

if TYPE_CHECKING:
    from gguf import GGUFWriter

ARCHITECTURES: Final = ("llama", "qwen2", "qwen3")
"""By their names in transformers, which are also llama.cpp's."""
_DTYPES: Final = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_GPT2: Final = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_WORDS: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|NUMBER| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NUMBERS: Final = {"qwen2": r"\p{N}", "llama-bpe": r"\p{N}{1,3}"}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A byte-level tokenizer in llama.cpp's terms."""

    splitting: str
    """llama.cpp's name for how text is cut before merges apply (`tokenizer.ggml.pre`)."""
    tokens: Sequence[str]
    """One for each row of the embedding."""
    types: Sequence[int]
    """What each is: an ordinary token, one added, a control token, or a row that is not used."""
    merges: Sequence[str]


def write_gguf(policy: Policy, path: Path, dtype: str | None) -> Facts:
    """One file with weights, adapters merged, tokenizer, chat template and sampling defaults; `dtype` None keeps training's precision.

    Raises:
        InputError: gguf is not installed; llama.cpp has no such architecture, rotary scaling or tokenizer, or none that this writes.
    """
    if find_spec("gguf") is None:
        raise InputError("a GGUF file is written with gguf: pip install 'ponder-causal-lm[gguf]'")
    import gguf

    model, tokenizer = merged_model(policy), policy.tokenizer
    _check_architecture(model)
    vocabulary = vocabulary_of(tokenizer, model.get_input_embeddings().weight.shape[0])
    kept = dtype or str(model.dtype).removeprefix("torch.")
    writer = gguf.GGUFWriter(path, str(model.config.model_type))
    try:
        _add_sizes(writer, model.config, len(vocabulary.tokens), kept)
        _add_tokenizer(writer, tokenizer, vocabulary)
        for name, tensor in _named_tensors(model):
            # Vectors are small, and llama.cpp reads them in float32 alone.
            stored = getattr(gguf.GGMLQuantizationType, _DTYPES[kept] if tensor.ndim > 1 else "F32")
            values = tensor.detach().float().cpu().contiguous().numpy()
            writer.add_tensor(name, gguf.quants.quantize(values, stored), raw_dtype=stored)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    count = sum(parameter.numel() for parameter in model.parameters())
    return Facts(type(model).__name__, count, kept, prefills(tokenizer), path.name)


def vocabulary_of(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """The tokenizer's vocabulary, filled up to the embedding's rows.

    Raises:
        InputError: it is not byte-level, or cuts text in a way that llama.cpp has no name for: the same text would become other tokens.
    """
    from gguf import TokenType

    backend = getattr(tokenizer, "backend_tokenizer", None)
    described: Mapping[str, Any] = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    merging = described["model"]
    splitting = _splitting(described) if merging.get("type") == "BPE" else None
    if splitting is None or bool(merging.get("ignore_merges")) != (splitting == "llama-bpe"):
        raise InputError(
            "the policy's tokenizer cuts text in a way that llama.cpp has no name for, so that it would read other tokens; GGUF is "
            "for the byte-level tokenizers of GPT-2, SmolLM2, Qwen 2 and 3 and Llama 3. Export for transformers and vLLM instead"
        )
    tokens, types = [f"[PAD{row}]" for row in range(rows)], [int(TokenType.UNUSED)] * rows
    for token, place in merging["vocab"].items():
        tokens[place], types[place] = token, int(TokenType.NORMAL)
    for added in described["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], int(kind)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in merging["merges"]]
    return Vocabulary(splitting, tokens, types, merges)


def _splitting(described: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for the tokenizer's way to cut text, where it has one."""
    found = described.get("pre_tokenizer") or {}
    steps = found.get("pretokenizers", [found])
    last = {name: steps[-1].get(name) for name in _GPT2}
    digits = {"type": "Digits", "individual_digits": True}
    if (described.get("normalizer") or {"type": "NFC"}) != {"type": "NFC"}:
        return None
    if last == _GPT2:
        return {0: "gpt-2", 1: "smollm"}.get(len(steps) - 1) if steps[:-1] in ([], [digits]) else None
    if last != {**_GPT2, "use_regex": False} or len(steps) != 2 or steps[0].get("behavior") != "Isolated":
        return None
    pattern = steps[0].get("pattern", {}).get("Regex")
    return next((name for name, number in _NUMBERS.items() if pattern == _WORDS.replace("NUMBER", number)), None)


def _check_architecture(model: PreTrainedModel) -> None:
    config = model.config
    if config.model_type not in ARCHITECTURES:
        raise InputError(
            f"GGUF is written of {', '.join(ARCHITECTURES)}, not of {type(model).__name__} ({config.model_type}): "
            "export it for transformers and vLLM instead"
        )
    kind = config.rope_parameters.get("rope_type", "default")
    is_known = kind == "default" or (kind == hf_gguf_rope.KIND and config.model_type == "llama")
    if not is_known or getattr(config, "use_sliding_window", False):
        wanted = "a sliding window" if is_known else f"rotary scaling {kind!r} of {config.model_type}"
        raise InputError(f"{wanted} is not written to GGUF: export the policy for transformers and vLLM instead")


def _add_sizes(writer: GGUFWriter, config: Any, rows: int, dtype: str) -> None:
    import gguf

    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    files = {"float32": gguf.LlamaFileType.ALL_F32, "float16": gguf.LlamaFileType.MOSTLY_F16}
    writer.add_file_type(files.get(dtype, gguf.LlamaFileType.MOSTLY_BF16))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(rows)
    writer.add_sampling_temp(TEMPERATURE)
    writer.add_sampling_top_p(TOP_P)


def _add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary) -> None:
    if tokenizer.eos_token_id is None:
        raise InputError("the policy's tokenizer has no eos_token: nobody who loads it could tell where an answer ends")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.splitting)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    writer.add_add_bos_token(begins)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _named_tensors(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Each tensor under llama.cpp's name and in its order of rows; a head that is the embedding is not written twice."""
    import gguf

    config = model.config
    if config.rope_parameters.get("rope_type") == hf_gguf_rope.KIND:
        yield hf_gguf_rope.NAME, hf_gguf_rope.divisors(config)
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == config.model_type)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise InputError(
                f"llama.cpp has no place for the tensor {name}: export the policy for transformers and vLLM instead"
            )
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        # llama.cpp turns neighbouring components of Llama's queries and keys, transformers the two halves.
        yield known, _interleaved(tensor, heads) if heads and config.model_type == "llama" else tensor


def _interleaved(tensor: Tensor, heads: int) -> Tensor:
    """[heads x width, ...] with the halves of each head's components taken in turn."""
    return tensor.view(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
