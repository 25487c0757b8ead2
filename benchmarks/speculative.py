"""Tokens per second of the sampler `fast` with and without guesses by the modules for multi-token prediction.

Both draw the same completions of a trained policy (a stage's directory), alternating within one process; the first of each is
a warm-up, and the median ratio is reported with the share of guesses that were right. For comparison, over all places of the texts of the last
round: how often module and model draw the same token by the same random number, and how often the acceptance rule of Leviathan et
al. (2023) would accept at best, the mean of sum(min(p, q)). The end of a text is passed over, so that all have --tokens tokens.

    python benchmarks/speculative.py runs/mtp/pretrain/policy --rows 1 4 16 64 --temperature 1.0 --tokens 64
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from ponder import Completion, Example
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.mtp import mtp_modules, read_ahead
from ponder_deepseek.policy import DeepseekPolicy
from ponder_sampling import FastConfig, SamplingConfig
from ponder_sampling.drawing import draw, row_keys, truncate, uniforms
from ponder_sampling.fast import FastSampler


def timed(
    sampler: FastSampler, policy: DeepseekPolicy, rows: int, seed: int, prompt: str
) -> tuple[float, list[Completion]]:
    """Tokens per second of `rows` completions, and these."""
    started = time.perf_counter()
    [drawn] = sampler.sample(policy, [Example(prompt)], rows, seed)
    return sum(len(one.token_ids) for one in drawn) / (time.perf_counter() - started), drawn


@torch.inference_mode()
def acceptance(
    policy: DeepseekPolicy, prompt: str, drawn: Sequence[Completion], seed: int, options: SamplingConfig
) -> tuple[float, float]:
    """Over all places: the share of the first module's guesses that are the token drawn, and the mean of sum(min(p, q))."""
    model, right, best = policy.model, [], []
    module = mtp_modules(model)[0]
    start = policy.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    keys = row_keys(seed, [(0, sample) for sample in range(len(drawn))])
    for one, key in zip(drawn, keys, strict=True):
        ids = torch.tensor([[*start, *one.token_ids]])
        hidden = model.model(ids).last_hidden_state
        ahead = read_ahead(model, module, module.joined(hidden[:, :-1], model.model.embed_tokens(ids[:, 1:])))
        # Place i of the module and place i + 1 of the model predict the same token; the first guess is for the second token.
        q, p = model.lm_head(ahead[0, len(start) - 1 : -1]), model.lm_head(hidden[0, len(start) : -1])
        numbers = uniforms(key, torch.arange(1, len(one.token_ids)))
        right.append(draw(q, numbers, options)[0] == torch.tensor(one.token_ids[1:]))
        best.append(torch.minimum(_kept(p, options), _kept(q, options)).sum(-1))
    return float(torch.cat(right).float().mean()), float(torch.cat(best).mean())


def _kept(logits: torch.Tensor, options: SamplingConfig) -> torch.Tensor:
    kept = truncate((logits / (options.temperature or 1e-6)).softmax(-1), options)
    return kept / kept.sum(-1, keepdim=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt", default="What is 7 + 5 - 3?")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    policy = DeepseekPolicy(DeepseekConfig(preset="mini"), checkpoint=arguments.policy)
    policy.tokenizer.eos_token = "<｜User｜>"
    shared = {"temperature": arguments.temperature, "top_p": arguments.top_p, "max_new_tokens": arguments.tokens}
    plain, ahead = (FastSampler(FastConfig(speculative=choice, **shared)) for choice in (False, True))
    for rows in arguments.rows:
        speeds: list[tuple[float, float]] = []
        same = total = 0
        for seed in range(arguments.repeats + 1):
            slow, without = timed(plain, policy, rows, seed, arguments.prompt)
            fast, drawn = timed(ahead, policy, rows, seed, arguments.prompt)
            same += sum(one.token_ids == other.token_ids for one, other in zip(drawn, without, strict=True))
            total += rows
            if seed:
                speeds.append((slow, fast))
        before, after = (statistics.median(column) for column in zip(*speeds, strict=True))
        ratio = statistics.median(fast / slow for slow, fast in speeds)
        shared_number, best = acceptance(policy, arguments.prompt, drawn, arguments.repeats, plain.config)
        print(
            f"{rows:4d} rows: {before:8.0f} -> {after:8.0f} tokens/s, {ratio:.2f} x; "
            f"acceptance {ahead.statistics()['draft_acceptance']:.3f} "
            f"(all places {shared_number:.3f}, at best {best:.3f}); {same} of {total} texts equal",
            flush=True,
        )


if __name__ == "__main__":
    main()
