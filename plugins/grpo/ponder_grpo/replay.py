"""Updates whose loss or gradient is not finite: kept with the weights, and replayed row by row.

python -m ponder_grpo.replay DIRECTORY
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from ponder.errors import InputError
from ponder.hf import quiet_files
from ponder.interfaces import Policy
from ponder_grpo.forward import policy_logprobs
from ponder_grpo.rows import Row

BATCH_FILE = "batch.json"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One completion on its own."""

    row: int
    tokens: int
    advantage: float
    lowest: float
    """The lowest log-probability of its tokens, nats."""
    gradient: float
    """Norm of the gradient of advantage x the sum of its log-probabilities."""

    @property
    def is_finite(self) -> bool:
        """Whether nothing went wrong in it."""
        return math.isfinite(self.lowest) and math.isfinite(self.gradient)


def keep_update(directory: Path, policy: Policy, rows: Sequence[Row], max_tokens: int, temperature: float) -> None:
    """Write the policy and the rows of an update."""
    directory.mkdir(exist_ok=True)
    policy.save(directory / "policy")
    kept = [
        {"prompt": list(row.prompt), "completion": list(row.completion), "advantage": row.advantage} for row in rows
    ]
    content = {"temperature": temperature, "max_tokens": max_tokens, "rows": kept}
    (directory / BATCH_FILE).write_text(json.dumps(content), encoding="utf-8")


def replay(directory: Path) -> Iterator[Replayed]:
    """Every row of a kept update on its own; InputError when there is none."""
    file = directory / BATCH_FILE
    if not file.is_file():
        raise InputError(f"{directory} holds no kept update; give the directory that the run named")
    content = json.loads(file.read_text(encoding="utf-8"))
    with quiet_files():
        model = AutoModelForCausalLM.from_pretrained(directory / "policy", local_files_only=True, dtype="auto")
    for place, row in enumerate(content["rows"]):
        yield _replayed(model, place, row, content["temperature"])


def _replayed(model: PreTrainedModel, place: int, row: dict[str, list[int]], temperature: float) -> Replayed:
    completion, advantage = row["completion"], float(row["advantage"])  # type: ignore[arg-type]
    if not completion:
        return Replayed(place, 0, advantage, 0.0, 0.0)
    model.zero_grad(set_to_none=True)
    logprobs: Tensor = policy_logprobs(model, [row["prompt"]], [completion], temperature)
    (advantage * logprobs.sum()).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = float(nn.utils.get_total_norm(gradients)) if gradients else 0.0
    return Replayed(place, len(completion), advantage, float(logprobs.detach().min()), norm)


def main(arguments: Sequence[str]) -> int:
    """Print a line for each row; 1 when one of them is not finite, 2 when there is nothing to replay."""
    if len(arguments) != 1:
        sys.stderr.write(__doc__ or "")
        return 2
    torch.manual_seed(0)
    ill = 0
    try:
        for found in replay(Path(arguments[0])):
            ill += not found.is_finite
            mark = "" if found.is_finite else "   <- not finite"
            sys.stdout.write(
                f"row {found.row}: {found.tokens} tokens, advantage {found.advantage:.3g}, lowest log-probability "
                f"{found.lowest:.3g}, gradient norm {found.gradient:.3g}{mark}\n"
            )
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{ill} rows are not finite on their own\n")
    return 1 if ill else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
