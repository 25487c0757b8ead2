"""The experts of a mixture in training: counted, compared with those that the sampler recorded, and replayed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from ponder.errors import InputError
from ponder.hf_routing import OWN_CHOICE, Routers, routers_of
from ponder.interfaces import Policy
from ponder_grpo.config import GrpoConfig


class Experts:
    """What goes on in the routers while a policy is updated.

    Under `replays` the experts that were recorded work on each token again, with the weights that the current router gives them
    (Keep Routing in DeepSeek-V3.2, section 3.1; rollout routing replay, arXiv 2510.11370).
    """

    def __init__(self, routers: Routers, *, replays: bool) -> None:
        self.balancer = routers.balancer()
        self._routers = routers
        self._replays = replays
        self._equal, self._compared = 0, 0

    @contextmanager
    def forward(self, mask: Tensor, recorded: Tensor | None) -> Iterator[None]:
        """Around one forward pass on [rows, length] tokens, of which those in `mask` are real.

        `recorded` [rows, length, layers, chosen] holds the experts of the sampler, `OWN_CHOICE` where it read no such token.
        """
        with ExitStack() as hooks:
            # Before the replay takes effect, a router's own choice is seen; behind it, what is counted is what worked.
            own = hooks.enter_context(self._routers.watching())
            if self._replays and recorded is not None:
                hooks.enter_context(self._routers.replaying(recorded))
            if torch.is_grad_enabled():
                hooks.enter_context(self.balancer.counting(mask))
            yield
        if recorded is not None:
            self._compare(own.take(), recorded.flatten(0, 1))

    def take_agreement(self) -> dict[str, float]:
        """`routing_agreement`: of the recorded choices since the last call, the share that the routers make too."""
        equal, compared = self._equal, self._compared
        self._equal, self._compared = 0, 0
        return {"routing_agreement": equal / compared} if compared else {}

    def _compare(self, own: Tensor, recorded: Tensor) -> None:
        recorded = recorded.to(own.device)
        is_known = recorded != OWN_CHOICE
        is_equal = (recorded[..., :, None] == own[..., None, :]).any(-1) & is_known
        equal, compared = torch.stack((is_equal.sum(), is_known.sum())).tolist()
        self._equal += equal
        self._compared += compared


def experts_of(policy: Policy, config: GrpoConfig) -> Experts | None:
    """The experts of a policy that is a mixture and is read in the usual way; None of any other.

    Raises:
        InputError: an option asks for what the policy cannot do.
    """
    routers = routers_of(policy)
    has_own_reader = hasattr(policy, "read_prompts")
    wanted = [name for name in ("balance", "router_replay") if getattr(config, name)]
    if routers is None and wanted:
        raise InputError(
            f"{wanted[0]} is for mixtures of experts, and policy {config.policy!r} is none whose routers can be reached (it has no "
            f"method `routers`): leave {wanted[0]} out"
        )
    if has_own_reader and (wanted or config.keep_sampling_mask):
        option = (*wanted, "keep_sampling_mask")[0]
        raise InputError(
            f"{option} needs the usual forward pass, and policy {config.policy!r} scores completions in its own way "
            f"(`read_prompts`): leave {option} out"
        )
    if config.router_replay and getattr(policy.model, "is_activation_checkpointing", False):
        raise InputError(
            "router_replay and gradient checkpointing exclude each other: the backward pass would run the routers again, and not "
            "replay them. Switch one of them off"
        )
    return None if routers is None or has_own_reader else Experts(routers, replays=config.router_replay)


def announcement(config: GrpoConfig) -> str:
    """What the user is told of a mixture before it is trained."""
    name = f"policy {config.policy} is a mixture of experts"
    replay = ", and the experts chosen while sampling are replayed (router_replay)" if config.router_replay else ""
    if config.balance:
        return f"{name}: its routers' biases move by {config.balance:g} after each update (balance){replay}"
    return f"{name}: its balancing is off, the routers' biases stay as they are (balance: 0){replay}"
