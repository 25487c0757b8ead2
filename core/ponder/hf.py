"""What plugins built on transformers share: prompts, log-probabilities, optimizer state, incremental decoding. Core never imports it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ponder.errors import InputError
from ponder.footprints import FORWARD as FORWARD
from ponder.interfaces import Policy
from ponder.prompts import encode_prompt as encode_prompt
from ponder.prompts import prefilled_text as prefilled_text
from ponder.prompts import render_prompt as render_prompt

LOGPROB_CHUNK = 1 << 22
"""Logits held in float32 at once by `token_logprobs`: 16 MiB."""
CACHED_CHUNK = 1 << 19
"""The same on a CPU, where what goes through memory again takes longer than to begin another operation: 2 MiB."""
FORWARD_AND_BACKWARD = 6
"""Floating-point operations for each parameter that a token which is trained on passes through; see `active_parameters`."""


def token_logprobs(logits: Tensor, tokens: Tensor, temperature: float = 1.0, kept: Tensor | None = None) -> Tensor:
    """Log-probabilities in nats of `tokens` [...] under `logits` [..., vocab] / temperature, in float32.

    With `kept` [..., most] they are among these tokens alone, -1 standing where there are fewer. Works through the rows in chunks,
    forward and backward, so that a large vocabulary is never held a second time in float32.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    among = None if kept is None else kept.reshape(len(rows), -1).to(rows.device)
    found: Tensor = _ChosenLogprobs.apply(rows, tokens.reshape(-1), temperature, among)
    return found.view(tokens.shape)


class _ChosenLogprobs(torch.autograd.Function):
    """Autograd's own backward pass would fill a gradient of all rows with zeros for each chunk, and keep the scaled logits besides."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, chosen: Tensor, temperature: float, kept: Tensor | None) -> Tensor:
        normalisers = torch.empty(len(rows), device=rows.device)
        found = torch.empty_like(normalisers)
        for chunk in _chunks(rows):
            scaled = _scaled(rows[chunk], temperature)
            normalisers[chunk] = _normalisers(scaled, None if kept is None else kept[chunk])
            found[chunk] = scaled.gather(1, chosen[chunk, None]).squeeze(1) - normalisers[chunk]
        ctx.save_for_backward(rows, chosen, normalisers, kept)
        ctx.temperature = temperature
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        rows, chosen, normalisers, kept = ctx.saved_tensors
        scales = gradients[0] / ctx.temperature
        gradient = torch.empty_like(rows)
        for chunk in _chunks(rows):
            scaled, scale = _scaled(rows[chunk], ctx.temperature), scales[chunk, None]
            # Where the gradient is in float32, it is computed in its place.
            shares = gradient[chunk] if gradient.dtype == torch.float32 else torch.empty_like(scaled)
            torch.sub(scaled, normalisers[chunk, None], out=shares).exp_()
            if kept is not None:
                _keep_only(shares, kept[chunk])
            shares.mul_(-scale).scatter_add_(1, chosen[chunk, None], scale)
            if shares.dtype != gradient.dtype:
                gradient[chunk] = shares
        return gradient, None, None, None


def _chunks(rows: Tensor) -> Iterator[slice]:
    size = max(1, (CACHED_CHUNK if rows.device.type == "cpu" else LOGPROB_CHUNK) // rows.shape[-1])
    return (slice(start, start + size) for start in range(0, len(rows), size))


def _scaled(rows: Tensor, temperature: float) -> Tensor:
    return rows.float() if temperature == 1 else rows.float() / temperature


def _normalisers(scaled: Tensor, kept: Tensor | None) -> Tensor:
    if kept is None:
        return scaled.logsumexp(1)
    return scaled.gather(1, kept.clamp(min=0)).masked_fill(kept < 0, float("-inf")).logsumexp(1)


def _keep_only(shares: Tensor, kept: Tensor) -> None:
    """Set the shares [rows, vocab] of all tokens but those in `kept` [rows, most] to 0."""
    rows, vocabulary = shares.shape
    mask = torch.zeros(rows, vocabulary + 1, dtype=torch.bool, device=shares.device)
    mask.scatter_(1, kept.where(kept >= 0, vocabulary), True)
    shares.masked_fill_(~mask[:, :vocabulary], 0.0)


def active_parameters(model: nn.Module) -> int:
    """Parameters that a token is multiplied with: all but the input embedding and the experts it is not routed to.

    A forward pass costs about 2 x this in FLOPs for each token, a forward and backward pass 6 x (Kaplan et al. 2020, section
    2.1); attention's own products, which grow with the context, are left out. So are layers for multi-token prediction, which
    stand behind those that the model's own forward pass goes through.
    """
    return round(sum(share * parameter.numel() for parameter, share in active_shares(model)))


def active_shares(model: nn.Module) -> Iterator[tuple[nn.Parameter, float]]:
    """Each parameter that a token is multiplied with, and the share of it that it is: less than 1 for routed experts."""
    embedding = model.get_input_embeddings() if isinstance(model, transformers.PreTrainedModel) else None
    left_out = {id(parameter) for parameter in embedding.parameters()} if embedding is not None else set[int]()
    head = model.get_output_embeddings() if isinstance(model, transformers.PreTrainedModel) else None
    if head is not None:
        left_out -= {id(parameter) for parameter in head.parameters()}
    routed = _routed_share(model)
    for name, parameter in model.named_parameters():
        if id(parameter) not in left_out and not is_beyond_forward(name, model):
            yield parameter, routed if ".experts." in name else 1.0


def is_beyond_forward(name: str, model: nn.Module) -> bool:
    """Whether a parameter of this name is of a layer behind the `num_hidden_layers` of the forward pass: multi-token prediction."""
    layers = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    place = _LAYER.search(name)
    return layers is not None and place is not None and int(place[1]) >= layers


_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def _routed_share(model: nn.Module) -> float:
    """The share of the routed experts that work on a token."""
    config = getattr(model, "config", None)
    experts = next((count for name in _EXPERT_COUNTS if (count := getattr(config, name, None))), None)
    chosen = getattr(config, "num_experts_per_tok", None)
    return chosen / experts if experts and chosen else 1.0


_EXPERT_COUNTS = ("n_routed_experts", "num_local_experts", "num_experts")


def whole_weight(module: Any) -> Tensor:
    """The weight [out, in] of a linear module, with what active adapters of peft add to it; peft is not imported for that."""
    weight: Tensor = module.weight
    adapters = () if getattr(module, "disable_adapters", True) else module.active_adapters
    for name in adapters:
        weight = weight + module.get_delta_weight(name)
    return weight


def adapters_only_add(module: nn.Module) -> bool:
    """Whether `whole_weight` is all that a module's adapters come to: not with DoRA, nor with biases of their own."""
    return not getattr(module, "lora_variant", None) and not any(getattr(module, "lora_bias", {}).values())


def check_finite(weight: Tensor, name: str) -> None:
    """Raise InputError for a weight with NaN or infinite values; `name` says which it is, and of what model.

    Quantised weights are integers, and pass; those in 8-bit floating point do, too.
    """
    if not weight.is_floating_point() or weight.dtype.itemsize == 1 or not weight.numel():
        return
    # Both extremes are NaN where any value is; isfinite() would take thirty times as long, and memory.
    if not torch.stack(weight.aminmax()).isfinite().all():
        raise InputError(
            f"{name} holds values that are not finite (NaN or infinite): get the whole model again, or take it from before its "
            "training went wrong"
        )


@contextmanager
def quiet_files() -> Iterator[None]:
    """Keep transformers' own progress bars for reading and writing weights out of ours."""
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.enable_progress_bar()


class Decoder(Protocol):
    """Incremental decoding of a batch of prompts; the key/value state lives inside.

    A policy that can decode faster than a transformers cache does has a method `decoder() -> Decoder | None`; None where it
    cannot after all.
    """

    def prefill(self, input_ids: Tensor, lengths: Tensor, capacity: int) -> Tensor:
        """Read prompts [rows, longest], right-padded, of `lengths` [rows]; at most `capacity` tokens follow.

        Returns the logits [rows, vocab] after each row's last prompt token.
        """
        ...

    def select(self, rows: Tensor) -> None:
        """Keep these rows [kept], in this order, repeats allowed: prompts expand to groups, finished rows leave."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to each row: [rows] -> logits [rows, vocab]."""
        ...


class DraftingDecoder(Decoder, Protocol):
    """A decoder that guesses tokens ahead, of which one pass of the model then tells how many are right: speculative decoding.

    A policy that can has a method `drafting_decoder() -> DraftingDecoder | None`. What a guess is worth decides how fast text is
    drawn, never which: each token is drawn from the model's own logits.
    """

    depth: int
    """How many tokens it guesses at a time, at least 1; `prefill` needs capacity for as many beyond the last token."""
    cost: float
    """What guessing costs, as a share of a pass of the model."""

    def draft(self, tokens: Tensor, choose: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Guess what follows `tokens` [rows], which are drawn but not read yet: [rows, depth].

        `choose` makes guess number 0..depth-1 of each row, [rows], from its logits [rows, vocab].
        """
        ...

    def verify(self, tokens: Tensor) -> Tensor:
        """Read several tokens of each row, [rows, new] -> logits [rows, new, vocab] after each; `keep` must follow."""
        ...

    def keep(self, counts: Tensor) -> None:
        """Keep the first `counts` [rows] of the tokens that `verify` has read, 0 included, and forget the others."""
        ...


def adamw(
    model: nn.Module, learning_rate: float, betas: tuple[float, float] = (0.9, 0.95), weight_decay: float = 0.1
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; vectors (norms, biases) are not decayed."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay), lr=learning_rate, betas=betas, fused=True)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters for an optimizer: matrices are decayed, vectors (norms, biases) are not."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def optimizer_of(
    policy: Policy, learning_rate: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """What a policy is trained with: an optimizer of its own (`optimizer(learning_rate, betas, weight_decay)`), or AdamW."""
    own = getattr(policy, "optimizer", None)
    if own is None:
        return adamw(policy.model, learning_rate, betas, weight_decay)
    made: torch.optim.Optimizer = own(learning_rate, betas, weight_decay)
    return made


def merged_model(policy: Policy) -> transformers.PreTrainedModel:
    """A policy's model in plain weights: a copy with adapters merged (its method `merged()`), or the model itself."""
    own = getattr(policy, "merged", None)
    model: transformers.PreTrainedModel = policy.model if own is None else own()
    return model


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale the gradients to a global norm of at most `max_norm` and return the norm they had; non-finite ones stay as they are."""
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in trained if parameter.grad is not None])
    if torch.isfinite(norm):
        nn.utils.clip_grads_with_norm_(trained, max_norm, norm)
    return float(norm)


@dataclass
class TrainingState:
    """Model, optimizer and policy version as a checkpoint: safetensors and JSON, exact to the bit.

    Of the model, what training changes: the frozen weights below adapters are those that the policy was built with. `extra` names further modules whose weights the run depends on, such as a refreshed reference policy.
    """

    policy: Policy
    optimizer: torch.optim.Optimizer
    extra: Mapping[str, nn.Module] | None = None

    def save(self, directory: Path) -> None:
        """Write everything a later step depends on."""
        save_file(_owned(self.policy.model, _changing(self.policy.model)), directory / "model.safetensors")
        for name, module in (self.extra or {}).items():
            save_file(_owned(module), directory / f"{name}.safetensors")
        tensors, numbers = _split_optimizer(self.optimizer.state_dict())
        save_file(tensors, directory / "optimizer.safetensors")
        state = {"version": self.policy.version, "optimizer": numbers}
        (directory / "state.json").write_text(json.dumps(state), encoding="utf-8")

    def load(self, directory: Path) -> None:
        """Restore what `save` wrote into the same objects."""
        _restore(self.policy.model, load_file(directory / "model.safetensors"))
        for name, module in (self.extra or {}).items():
            module.load_state_dict(load_file(directory / f"{name}.safetensors"))
        state = json.loads((directory / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(directory / "optimizer.safetensors")
        self.optimizer.load_state_dict(_join_optimizer(tensors, state["optimizer"]))
        self.policy.version = state["version"]


def _changing(module: nn.Module) -> set[str]:
    """The names of what training changes: trainable parameters under each of their names, and buffers."""
    names = {name for name, parameter in module.named_parameters(remove_duplicate=False) if parameter.requires_grad}
    return names | {name for name, _ in module.named_buffers(remove_duplicate=False)}


def _owned(module: nn.Module, names: set[str] | None = None) -> dict[str, Tensor]:
    """The state dict, or these of its tensors, with tied weights copied: safetensors stores no shared memory."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in module.state_dict().items():
        if names is None or name in names:
            tensors[name] = tensor.clone() if tensor.data_ptr() in seen else tensor.contiguous()
            seen.add(tensor.data_ptr())
    return tensors


def _restore(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load what `_owned` gave of what changes; anything missing or left over raises RuntimeError, as in torch."""
    found = module.load_state_dict(tensors, strict=False)
    missing = _changing(module) & set(found.missing_keys)
    if missing or found.unexpected_keys:
        raise RuntimeError(f"not the weights of this model: missing {missing}, unexpected {found.unexpected_keys}")


def _split_optimizer(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, and plain numbers; optimizers in 8 bits share tables among their tensors, which are copied."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    seen: set[int] = set()
    for index, slots in state["state"].items():
        for key, value in _flat(slots):
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value.clone() if value.data_ptr() in seen else value.contiguous()
                seen.add(value.data_ptr())
            else:
                numbers.setdefault(str(index), {})[key] = value
    return tensors, {"param_groups": state["param_groups"], "numbers": numbers}


def _flat(slots: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What an optimizer keeps of a parameter; bitsandbytes' wrap theirs once more."""
    for key, value in slots.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield key, value


def _join_optimizer(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> dict[str, Any]:
    slots: dict[int, dict[str, Any]] = {
        int(index): dict(values) for index, values in numbers.get("numbers", {}).items()
    }
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        slots.setdefault(int(index), {})[key] = tensor
    groups = [{**group, "betas": tuple(group["betas"])} for group in numbers["param_groups"]]
    return {"state": slots, "param_groups": groups}
