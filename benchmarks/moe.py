"""DeepSeek-V3 layers, ponder's against transformers' own: forward, forward and backward, and decoding.

Both have the same configuration, weights, tokens and threads, in float32 and in one process, and take turns; the first turn
warms up, medians are reported. Transformers runs as a user gets it: its default expert implementation (grouped_mm, shown),
its own loss, and greedy `generate` with its own cache. Ours goes back from the loss that `pretrain` uses, with layers as they are and
compiled, which is the stage's option `compile`. Ours decodes over the latent cache, picks the same tokens, and is checked to.
The share of the peak counts the model's operations (section G.2 of the reference, attention causal) against the fastest of
several large matrix multiplications with the same threads.

    python benchmarks/moe.py --threads 2
    python benchmarks/moe.py --hidden-size 1024 --rows 4
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DeepseekV3ForCausalLM

from ponder.hf_compile import compile_layers
from ponder.hf_pretraining import IGNORED
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.counts import forward_operations_per_token, parameters, training_operations_per_token
from ponder_deepseek.decoding import LatentDecoder
from ponder_deepseek.fast import accelerate, head_loss
from ponder_deepseek.presets import configuration
from ponder_deepseek.sizes import Sizes

VOCABULARY = 768
PEAK_WIDTH = 1024


@dataclass(frozen=True)
class Setting:
    """What both sides have in common."""

    hidden_size: int
    rows: int
    length: int
    new_tokens: int
    threads: int
    repeats: int


def main() -> None:
    """Measure and print."""
    setting, as_json = parse_arguments()
    torch.set_num_threads(setting.threads)
    record = measure(setting)
    print(json.dumps(record, indent=2) if as_json else as_table(setting, record))


def parse_arguments() -> tuple[Setting, bool]:
    """The setting, and whether JSON is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--hidden-size", type=int, default=128, help="128 is preset mini; its other widths grow with it"
    )
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=128, help="tokens of a row, and of a prompt")
    parser.add_argument("--new-tokens", type=int, default=32, help="tokens decoded in a row")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = vars(parser.parse_args())
    as_json = options.pop("json")
    return Setting(**options), as_json


def sizes_at(hidden_size: int) -> Sizes:
    """Preset mini, its widths in proportion."""
    wide = hidden_size // 128
    return DeepseekConfig(
        hidden_size=hidden_size,
        intermediate_size=256 * wide,
        moe_intermediate_size=64 * wide,
        kv_lora_rank=64 * wide,
        num_attention_heads=4 * wide,
        context_length=4096,
    ).sizes()


def measure(setting: Setting) -> dict[str, Any]:
    """Median seconds of each, ratios, and the shares of the peak."""
    sizes = sizes_at(setting.hidden_size)
    torch.manual_seed(0)
    theirs = DeepseekV3ForCausalLM(configuration(sizes, VOCABULARY))
    implementation = theirs.config._experts_implementation
    ours = accelerate(copy.deepcopy(theirs))
    tokens = torch.randint(3, VOCABULARY, (setting.rows, setting.length))
    assert torch.equal(generate(theirs, tokens, setting.new_tokens), decode(ours, tokens, setting.new_tokens))
    new = setting.new_tokens
    compiled = copy.deepcopy(ours)
    compile_layers(compiled)
    read = alternate(setting, lambda: forward(ours, tokens), lambda: forward(theirs, tokens))
    decoded = alternate(setting, lambda: decode(ours, tokens, new), lambda: generate(theirs, tokens, new))
    as_it_is, as_compiled, as_theirs = alternate(
        setting, lambda: train(ours, tokens), lambda: train(compiled, tokens), lambda: their_train(theirs, tokens)
    )
    seconds = {
        "forward": read,
        "forward+backward": (as_it_is, as_theirs),
        "forward+backward, compiled": (as_compiled, as_theirs),
        "decode": decoded,
    }
    operations = {
        "forward": forward_operations_per_token(sizes, setting.length, VOCABULARY) * tokens.numel(),
        "forward+backward": training_operations_per_token(sizes, setting.length, VOCABULARY) * tokens.numel(),
    }
    operations["forward+backward, compiled"] = operations["forward+backward"]
    peak = matrix_peak()
    return {
        "setting": asdict(setting),
        "parameters": parameters(sizes, VOCABULARY),
        "transformers_experts": implementation,
        "matrix_multiply_peak": peak,
        "seconds": {name: {"ponder": mine, "transformers": other} for name, (mine, other) in seconds.items()},
        "ratio": {name: other / mine for name, (mine, other) in seconds.items()},
        "share_of_peak": {name: count / seconds[name][0] / peak for name, count in operations.items()},
    }


def forward(model: DeepseekV3ForCausalLM, tokens: Tensor) -> None:
    """Logits of all tokens."""
    with torch.inference_mode():
        model(input_ids=tokens, use_cache=False)


def train(model: DeepseekV3ForCausalLM, tokens: Tensor) -> None:
    """The gradient of the next token's loss, as stage `pretrain` has it."""
    model.zero_grad()
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    head_loss(model.lm_head, hidden, F.pad(tokens[:, 1:], (0, 1), value=IGNORED)).backward()


def their_train(model: DeepseekV3ForCausalLM, tokens: Tensor) -> None:
    """The same, as transformers has it."""
    model.zero_grad()
    model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()


def generate(model: DeepseekV3ForCausalLM, tokens: Tensor, count: int) -> Tensor:
    """Greedy, by transformers."""
    with torch.inference_mode():
        grown = model.generate(tokens, do_sample=False, min_new_tokens=count, max_new_tokens=count, pad_token_id=2)
    return grown[:, tokens.shape[1] :]


def decode(model: DeepseekV3ForCausalLM, tokens: Tensor, count: int) -> Tensor:
    """Greedy, over the latent cache; the end-of-sequence token is never chosen, as in `generate` above."""
    picked = []
    with torch.inference_mode():
        decoder = LatentDecoder(model)
        logits = decoder.prefill(tokens, torch.full((len(tokens),), tokens.shape[1]), count)
        for place in range(count):
            logits[:, 1] = float("-inf")
            picked.append(logits.argmax(-1))
            if place + 1 < count:
                logits = decoder.step(picked[-1])
    return torch.stack(picked, 1)


def alternate(setting: Setting, *works: Callable[[], object]) -> list[float]:
    """Median seconds of each, taking turns; the first two turns are not counted, in which layers are compiled."""
    turns = [[timed(work) for work in works] for _ in range(setting.repeats + 2)][2:]
    return [statistics.median(each) for each in zip(*turns, strict=True)]


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def matrix_peak() -> float:
    """Operations a second of the fastest of ten large float32 products."""
    left, right = torch.randn(2, PEAK_WIDTH, PEAK_WIDTH)
    return 2 * PEAK_WIDTH**3 / min(timed(lambda: left @ right) for _ in range(10))


def as_table(setting: Setting, record: dict[str, Any]) -> str:
    """The medians as text."""
    lines = [
        f"{record['parameters']:,} parameters, {setting.rows} rows of {setting.length} tokens, {setting.new_tokens} decoded, "
        f"float32, {setting.threads} threads, medians of {setting.repeats} turns; transformers' experts: {record['transformers_experts']}",
        f"matrix multiplication: {record['matrix_multiply_peak'] / 1e9:.0f} GFLOP/s",
        f"{'seconds':28}{'ponder':>10}{'transformers':>14}{'ratio':>8}{'of peak':>9}",
    ]
    for name, both in record["seconds"].items():
        share = record["share_of_peak"].get(name)
        shown = f"{share:8.0%}" if share is not None else ""
        lines.append(
            f"{name:28}{both['ponder']:10.4f}{both['transformers']:14.4f}{record['ratio'][name]:7.2f}x {shown}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
