"""Stages `pretrain` and `extend_context`: next-token prediction on packed documents, the second on ever longer ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ponder import Component, Stage, hookimpl, lazy, ref
from ponder.workloads import Workload


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What stages that train on documents have in common."""

    policy: str = ref("policy")
    """Policy to train."""
    task: str = ref("task")
    """Documents: the prompts of its examples, and their answers where they have some, one page each."""
    precision: Literal["fp32", "bf16", "fp8"] = "fp32"
    """What forward and backward passes work in; parameters and their gradients are always FP32, and the policy is saved so.
    bf16: everything but the routers' own arithmetic and the loss. fp8: DeepSeek-V3's recipe (section 3.3), E4M3 with a scale for
    1 x 128 activations and gradients and 128 x 128 weights in all three products of every linear layer and expert; embedding, head, routers,
    norms and attention in BF16. Emulated where the hardware has no such products, as on a CPU: the same numbers, slower.
    AdamW's moments are FP32, where V3 stores BF16, which saves memory alone."""
    compile: bool = False
    """Compile the model's layers with torch.compile, in fp32: the first step takes half a minute longer, all others less. It needs a C++
    compiler (on a GPU, Triton) and Python's headers. Routers run as they are, and so do experts, but for `deepseek`'s on a CPU. What is
    learnt is the same up to rounding."""
    weight_decay: float = 0.1
    """AdamW's weight decay on matrices."""
    beta1: float = 0.9
    """AdamW's first-moment decay."""
    beta2: float = 0.95
    """AdamW's second-moment decay."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    max_skipped: int = 5
    """Stop after this many steps in a row whose loss or gradient is not finite; such steps change no weight."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; by time, at least every 30 seconds, when absent."""

    def __post_init__(self) -> None:
        require_at_least(self, 1, "max_skipped")
        if self.compile and self.precision != "fp32":
            raise ValueError(f"compile works in precision fp32, not in {self.precision}, whose products are emulated")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        require_positive(self, "max_grad_norm")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Next-token prediction with AdamW, warm-up and cosine decay; defaults after DeepSeek-V3 (section 4.2) where a size allows."""

    example: ClassVar[Mapping[str, object]] = {"tokens": 20_000, "batch_tokens": 1024}

    tokens: int
    """Tokens to train on, padding not counted; documents are read again, reshuffled, when they run out."""
    batch_tokens: int = 4096
    """Tokens of one optimizer step."""
    sequence_length: int = 128
    """Tokens of a packed row. Documents are not masked from each other, as in DeepSeek-V3; longer ones are cut into rows."""
    learning_rate: float = 2e-3
    """Highest learning rate."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises linearly."""
    decay: float = 0.5
    """Share of the steps, the last ones, over which it falls along a cosine."""
    final_learning_rate: float = 0.1
    """Where the decay ends, as a share of the highest learning rate."""
    validation: str | None = ref("task", default=None)
    """Task of documents that are not trained on, whose loss is measured as `validation_loss`; what its pages share with those of
    `task`, word for word, is reported as `validation_overlap`."""
    validation_tokens: int = 16384
    """Tokens of them, in packed rows; fewer when there are no more."""
    validations: int = 5
    """How often the loss is measured, evenly over the steps, the last time behind the last one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "tokens", "batch_tokens", "sequence_length", "validation_tokens", "validations")
        if self.validation == self.task:
            raise ValueError(f"validation must be another task than the one that is trained on, {self.task!r}")
        for name in ("warmup", "decay", "final_learning_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        require_positive(self, "learning_rate")
        if self.warmup + self.decay > 1:
            raise ValueError(f"warmup ({self.warmup}) and decay ({self.decay}) together exceed the run")
        self._check_rows()

    def _check_rows(self) -> None:
        if self.batch_tokens < self.sequence_length:
            raise ValueError(
                f"batch_tokens ({self.batch_tokens}) must hold a row of sequence_length ({self.sequence_length})"
            )
        if self.sequence_length < 2:
            raise ValueError("sequence_length must be at least 2: the first token of a row predicts the second")

    @property
    def rows(self) -> int:
        """Packed rows of one optimizer step."""
        return self.batch_tokens // self.sequence_length

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return max(1, round(self.tokens / (self.rows * self.sequence_length)))

    @property
    def read(self) -> int:
        """Tokens that all steps read, padding included."""
        return self.steps * self.rows * self.sequence_length

    def plan(self) -> str:
        """The batch arithmetic in one sentence."""
        return (
            f"{self.rows} rows x {self.sequence_length} tokens = {self.rows * self.sequence_length:,} tokens a step; "
            f"{self.steps:,} steps read {self.read:,} tokens"
        )

    def workload(self, _: object) -> Workload:
        """The same for planning."""
        length = self.sequence_length
        return Workload(trained=self.read, length=length, pass_tokens=self.rows * length)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Steps of a context extension at one length."""

    length: int
    """Tokens of a packed row."""
    batch: int
    """Rows of one optimizer step."""
    steps: int
    """Optimizer steps."""
    factor: float | None = None
    """YaRN's s, by which low frequencies are divided; this length over the original one when absent. V3 used 40 for 32K and for 128K."""

    def __post_init__(self) -> None:
        require_at_least(self, 2, "length")
        require_at_least(self, 1, "batch", "steps")
        if self.factor is not None and not 1 <= self.factor < float("inf"):
            raise ValueError(f"factor must be at least 1, which changes nothing, not {self.factor}")

    @property
    def tokens(self) -> int:
        """Tokens that the phase reads, padding included."""
        return self.length * self.batch * self.steps


@dataclass(frozen=True, kw_only=True)
class ExtendContextConfig(TrainingConfig):
    """Longer contexts with YaRN, phase by phase, on packed documents; after DeepSeek-V3, section 4.3."""

    example: ClassVar[Mapping[str, object]] = {"phases": [{"length": 1024, "batch": 8, "steps": 100}]}

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "v3": {
            "phases": [
                {"length": 32768, "batch": 1920, "steps": 1000, "factor": 40.0},
                {"length": 131072, "batch": 480, "steps": 1000, "factor": 40.0},
            ],
            "original_length": 4096,
            "learning_rate": 7.3e-6,
        }
    }

    preset: Literal["v3"] | None = None
    """v3: DeepSeek-V3's two phases, 1000 steps each of 1920 rows of 32K and 480 of 128K, from 4K with s = 40. Absent: give phases."""
    phases: list[Phase]
    """What is trained, in order; the saved policy has the last one's scaling."""
    original_length: int | None = None
    """Longest sequence that the policy was trained on; its configuration's maximum, before any earlier extension, when absent."""
    learning_rate: float = 7.3e-6
    """Learning rate of all steps."""
    alpha: float = 1.0
    """Dimensions that turn less often than this over the original length are wholly interpolated (`beta_slow`)."""
    beta: float = 32.0
    """Dimensions that turn more often than this are left alone (`beta_fast`). Between the two, frequencies change linearly in the
    dimension's index, from floor to ceiling, as in the released code and in transformers; YaRN's Eq. 18, linear in the number of turns,
    differs by up to 4.3 times and does not fit the released weights."""
    mscale: float = 1.0
    """The attention logits are multiplied by m^2, m = 0.1 x mscale x ln(factor) + 1: V3's and YaRN's rule. V2's 0.0707 ln(factor) + 1 is
    0.707. Of latent attention it scales the softmax, of others the rotated queries and keys."""
    probe_task: str | None = ref("task", default=None)
    """Documents of the measurements before and after; those of `task`, in another order, when absent."""
    probe_rows: int = 8
    """Rows of the last phase's length over which perplexity is measured."""
    needle_samples: int = 4
    """Needles hidden at each depth and length."""
    needle_depths: int = 5
    """Depths at which they are hidden, from the beginning of the text to its end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.phases:
            raise ValueError("phases must hold at least one phase: {length: 1024, batch: 8, steps: 100}")
        lengths = [phase.length for phase in self.phases]
        if lengths != sorted(lengths):
            raise ValueError(f"phases must not get shorter: their lengths are {', '.join(map(str, lengths))}")
        require_at_least(self, 1, "probe_rows", "needle_samples", "needle_depths")
        if self.original_length is not None:
            require_at_least(self, 2, "original_length")
        require_positive(self, "learning_rate", "alpha", "mscale")
        if not self.alpha < self.beta < float("inf"):
            raise ValueError(f"beta ({self.beta}) must be above alpha ({self.alpha})")

    @property
    def steps(self) -> int:
        """Optimizer steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def read(self) -> int:
        """Tokens that all steps read, padding included."""
        return sum(phase.tokens for phase in self.phases)

    def plan(self) -> str:
        """The batch arithmetic in one sentence."""
        told = (f"{phase.steps:,} steps of {phase.batch:,} rows x {phase.length:,} tokens" for phase in self.phases)
        return f"{', then '.join(told)}; {self.read:,} tokens read"


def require_at_least(options: object, least: int, *names: str) -> None:
    """Raise ValueError naming the first of these options that is below `least`."""
    for name in names:
        if getattr(options, name) < least:
            raise ValueError(f"{name} must be at least {least}, not {getattr(options, name)}")


def require_positive(options: object, *names: str) -> None:
    """Raise ValueError naming the first of these options that is not a finite number above 0."""
    for name in names:
        if not 0 < getattr(options, name) < float("inf"):
            raise ValueError(f"{name} must be above 0, not {getattr(options, name)}")


@hookimpl
def ponder_stages() -> Iterator[Component[Stage]]:
    """The stages of this plugin."""
    yield Component("pretrain", PretrainConfig, lazy("ponder_pretraining.stage:Pretrain"))
    yield Component("extend_context", ExtendContextConfig, lazy("ponder_pretraining.extension:ExtendContext"))
