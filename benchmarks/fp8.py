"""How far the loss in FP8 departs from that in BF16: DeepSeek-V3's Figure 10 on the mini model.

A new `mini` model is pretrained in each precision, from the same weights on the same batches, at V3's highest learning rate: at the
recipes' ten times higher one, runs of any two precisions drift apart by chance, BF16 and FP32 as far as FP8 and BF16. Losses are smoothed by
an exponential moving average with coefficient 0.9, as in the figure, and the relative error is |FP8 - BF16| / BF16 of the smoothed losses;
the paper reports that it stays below 0.25 % (section 3.3, appendix B.1), on natural language. The first steps, in which both fall
steeply, are left out of the largest and mean error (--settled). BF16 against FP32 is there for scale: how far apart two precisions come that nobody tells apart. The last
line is what rounding costs without any training in FP8: the weights of the BF16 run, with FP8 in the forward pass alone, on batches that
nothing was trained on.

There are two corpora. `language` is what people wrote: the reference and the docstrings that come with Python (some 1.8 million characters of
English, which depend on Python's version). `web` is the recipes' mini web, which is soon predicted so well that an error which
shrinks, in nats, is more and more of its loss. On a CPU both precisions are emulated (`ponder.hf_fp8`, `ponder.hf_precision`): the
numbers mean something, the time does not.

    python benchmarks/fp8.py --corpus language --tokens 280000 --threads 1
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import sysconfig
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from ponder import Example, Task
from ponder.hf_precision import Precision, working_precision
from ponder.hf_pretraining import TokenBatch, objective_of
from ponder_deepseek import DeepseekConfig
from ponder_deepseek.policy import DeepseekPolicy
from ponder_pretraining import PretrainConfig
from ponder_pretraining.packing import packed_rows
from ponder_pretraining.stage import learning_rate_share
from ponder_pretraining.training import Training, batches, documents_of
from ponder_tasks import MiniWebConfig
from ponder_tasks.mini_web import MiniWeb

PUBLISHED = 0.0025
COEFFICIENT = 0.9
"""Of the moving average: what of the last value stays."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp8")
ROWS_SHOWN = 12
SHORTEST_PAGE = 200
"""Characters."""
OTHER_BATCHES = 32
"""That the cost of rounding alone is measured on."""


@dataclass(frozen=True)
class Errors:
    """Relative errors of one smoothed curve against another, over the settled steps."""

    largest: float
    mean: float
    last: float


class Language:
    """A task of what is written about Python in Python: the topics of its `help`, and docstrings of its standard library."""

    def __init__(self) -> None:
        topic_pages = [page for _, topic in sorted(topics.items()) for page in topic.split("\n\n\n")]
        self._pages = [page for page in (*topic_pages, *docstrings()) if len(page) >= SHORTEST_PAGE]

    def examples(self) -> Iterator[Example]:
        """The pages."""
        return map(Example, self._pages)


def docstrings() -> Iterator[str]:
    """Of the modules, classes and functions of the standard library, its tests apart, file by file."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if not {"site-packages", "test", "tests"}.intersection(path.parts):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                nodes = ast.walk(ast.parse(path.read_bytes()))
            documented = (node for node in nodes if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)))
            yield from filter(None, map(ast.get_docstring, documented))


def smoothed(losses: Sequence[float]) -> list[float]:
    """The exponential moving average of the curve, from its first value on."""
    return list(itertools.accumulate(losses, lambda mean, loss: COEFFICIENT * mean + (1 - COEFFICIENT) * loss))


def errors(losses: Sequence[float], against: Sequence[float], settled: float) -> Errors:
    """How far the smoothed losses are from the others, leaving out the first share `settled` of the steps."""
    pairs = zip(smoothed(losses), smoothed(against), strict=True)
    relative = [abs(one - other) / other for one, other in pairs][round(settled * len(losses)) :]
    return Errors(max(relative), sum(relative) / len(relative), relative[-1])


def new_policy(corpus: Task, hidden_size: int | None, seed: int) -> DeepseekPolicy:
    """A `mini` model, of another width where one is given, with a tokenizer of the corpus."""
    config = DeepseekConfig(preset="mini", hidden_size=hidden_size, corpus="web", vocab_size=512)
    return DeepseekPolicy(config, seed=seed, task=lambda name: corpus)


def stream_of(corpus: Task, policy: DeepseekPolicy, config: PretrainConfig, seed: int) -> Iterator[TokenBatch]:
    """Batches of the corpus's pages, without end."""
    documents = partial(documents_of, corpus, policy.tokenizer)
    return batches(policy.tokenizer, documents, packed_rows, config.sequence_length, config.rows, seed)


def curve(corpus: Task, policy: DeepseekPolicy, config: PretrainConfig, seed: int) -> list[float]:
    """The loss of each step of training the policy."""
    training = Training(config, policy, config.learning_rate)
    policy.model.train()
    losses = []
    for step, batch in zip(range(config.steps), stream_of(corpus, policy, config, seed), strict=False):
        rate = config.learning_rate * learning_rate_share(step, config)
        losses.append(training.step(batch, step, rate, step / config.steps)["loss"])
    return losses


def rounding_alone(corpus: Task, policy: DeepseekPolicy, config: PretrainConfig, seed: int) -> tuple[float, float]:
    """The mean loss in nats a token on other batches when the forward pass of these weights works in BF16, and in FP8."""
    others = list(itertools.islice(stream_of(corpus, policy, config, seed + 1), OTHER_BATCHES))
    objective = objective_of(policy)
    losses: dict[Precision, float] = {}
    for precision in PRECISIONS[1:]:
        with torch.no_grad(), working_precision(policy.model, precision):
            losses[precision] = sum(objective.loss(batch, 1.0)[1]["loss"] for batch in others) / len(others)
    return losses["bf16"], losses["fp8"]


def as_table(curves: dict[str, list[float]], settled: float) -> str:
    """The smoothed curves, and what they differ by."""
    smooth = {name: smoothed(losses) for name, losses in curves.items()}
    count = len(smooth["bf16"])
    lines = [f"{'step':>6}{'fp32':>10}{'bf16':>10}{'fp8':>10}{'fp8 to bf16':>14}"]
    for place in sorted({round(part * (count - 1) / (ROWS_SHOWN - 1)) for part in range(ROWS_SHOWN)}):
        fp32, bf16, fp8 = (smooth[name][place] for name in PRECISIONS)
        lines.append(f"{place:6}{fp32:10.4f}{bf16:10.4f}{fp8:10.4f}{100 * (fp8 - bf16) / bf16:+13.3f}%")
    for name, other in (("fp8", "bf16"), ("bf16", "fp32")):
        found = errors(curves[name], curves[other], settled)
        lines.append(
            f"{name} against {other}: largest {100 * found.largest:.3f} %, mean {100 * found.mean:.3f} %, "
            f"at the end {100 * found.last:.3f} %" + (" (published: below 0.25 %)" if name == "fp8" else "")
        )
    return "\n".join(lines)


def main() -> None:
    """Train, compare, print."""
    options = _arguments()
    torch.set_num_threads(options.threads)
    config = PretrainConfig(
        policy="",
        task="",
        tokens=options.tokens,
        batch_tokens=options.batch_tokens,
        learning_rate=options.learning_rate,
    )
    corpus: Task = MiniWeb(MiniWebConfig()) if options.corpus == "web" else Language()
    curves: dict[str, list[float]] = {}
    before = after = 0.0
    for precision in PRECISIONS:
        started = time.perf_counter()
        policy = new_policy(corpus, options.hidden_size, options.seed)
        curves[precision] = curve(corpus, policy, _in(precision, config), options.seed)
        print(f"{precision}: {config.steps} steps in {time.perf_counter() - started:.0f} s", flush=True)
        if precision == "bf16":
            before, after = rounding_alone(corpus, policy, config, options.seed)
    print(as_table(curves, options.settled))
    print(
        f"the forward pass of the BF16 weights in FP8: the loss of other pages rises from {before:.4f} to {after:.4f} nats, "
        f"by {100 * (after / before - 1):.3f} %"
    )
    if options.json:
        found = {"published": PUBLISHED, "curves": curves}
        found["fp8"] = asdict(errors(curves["fp8"], curves["bf16"], options.settled))
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _in(precision: Precision, config: PretrainConfig) -> PretrainConfig:
    return PretrainConfig(**{**asdict(config), "precision": precision})


def _arguments() -> argparse.Namespace:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", choices=("language", "web"), default="language", help="what is read (%(default)s)")
    parser.add_argument("--tokens", type=int, default=280_000, help="tokens to train on (%(default)s)")
    parser.add_argument("--batch-tokens", type=int, default=1024, help="tokens of a step (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2.2e-4, help="highest learning rate (%(default)s)")
    parser.add_argument("--hidden-size", type=int, help="width of the model (that of mini)")
    parser.add_argument("--settled", type=float, default=0.25, help="share of the steps left out (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (%(default)s)")
    parser.add_argument("--json", type=Path, help="write all curves to this file, too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
