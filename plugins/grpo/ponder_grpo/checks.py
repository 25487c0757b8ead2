"""What `ponder doctor` looks at in a stage `grpo`: the sampler against the trainer, and whether there is anything to learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Final

import torch

from ponder.doctor import Finding, NotYetError, Patient
from ponder.doctor.rewards import tried_rubric
from ponder.hf import encode_prompt, prefilled_text
from ponder.interfaces import Policy
from ponder.types import Completion, Example, Rollout
from ponder_grpo.config import GrpoConfig
from ponder_grpo.curriculum import length_limit, temperature_of
from ponder_grpo.forward import policy_logprobs
from ponder_grpo.problems import MOST_ENCODED, check_lengths, check_parts
from ponder_grpo.reports import NOTABLE_GAP

if TYPE_CHECKING:
    from ponder.interfaces import Sampler

PROMPTS: Final = 4
SAMPLES: Final = 2
TOKENS: Final = 24
"""Tokens of a completion that is compared."""
LEARNT_TOKENS: Final = 64
"""Tokens of a completion that is scored."""


def examine_sampler(patient: Patient) -> Iterator[Finding]:
    """Draw a few short completions twice, and compare them with each other and with the trainer."""
    policy, examples = _policy(patient), list(patient.examples())[:PROMPTS]
    sampler = _short(patient, TOKENS)
    temperature = temperature_of(sampler, patient.names("sampler", "sampler")[0])
    drawn = _draw(sampler, policy, examples)
    if [c.token_ids for c in drawn] != [c.token_ids for c in _draw(sampler, policy, examples)]:
        yield Finding(
            "problem",
            "the sampler draws other completions for the same seed: an interrupted run could not be continued as it was",
            "make every draw a function of the seed, the example and the sample (`ponder.randomness`)",
        )
    yield from _prefill(policy, examples, drawn)
    yield from _gap(policy, examples, drawn, temperature)


def examine_spread(patient: Patient) -> Iterator[Finding]:
    """Draw groups and look whether scores differ within any."""
    config: GrpoConfig = patient.entry.config
    policy, examples = _policy(patient), list(patient.examples())[:PROMPTS]
    groups = _short(patient, LEARNT_TOKENS).sample(policy, examples, config.group_size, 0)
    rollouts = [
        Rollout(example, completion, place)
        for place, (example, group) in enumerate(zip(examples, groups, strict=True))
        for completion in group
    ]
    totals = [score.total for score in tried_rubric(patient).score(rollouts)]
    size = config.group_size
    tied = [place for place in range(len(examples)) if len(set(totals[place * size : (place + 1) * size])) == 1]
    if len(tied) == len(examples):
        known = [total for total in totals if total is not None]
        mean = f"at a mean reward of {fmean(known):.3g}" if known else "and none has a score"
        yield Finding(
            "warning",
            f"in none of {len(examples)} groups of {size} do the scores differ, {mean}: the first steps would teach nothing",
            "give it easier or harder problems, a higher temperature, or rewards that tell more apart",
        )


def examine_parts(patient: Patient) -> Iterator[Finding]:
    """Look for the parts among all examples; where there are too many to read, that is left to the run."""
    examples = patient.examples(MOST_ENCODED)
    if len(examples) < MOST_ENCODED:
        check_parts(examples, patient.entry.config)
    yield from ()


def examine_prompts(patient: Patient) -> Iterator[Finding]:
    """Encode the prompts as the run does before its first step."""
    check_lengths(
        patient.examples(MOST_ENCODED), patient.policy(), patient.tokenizer(), patient.names("task", "task")[0]
    )
    yield from ()


def _policy(patient: Patient) -> Policy:
    policy = patient.policy()
    if policy.model.device.type == "meta":
        raise NotYetError("the policy has no weights (it is on the meta device)")
    return policy


def _short(patient: Patient, tokens: int) -> Sampler:
    """The stage's sampler, with short completions where it has a limit."""
    sampler = patient.sampler()
    limit = length_limit(sampler)
    return patient.sampler(max_new_tokens=min(limit, tokens)) if limit else sampler


def _draw(sampler: Sampler, policy: Policy, examples: Sequence[Example]) -> list[Completion]:
    groups = sampler.sample(policy, examples, SAMPLES, 0)
    return [completion for group in groups for completion in group]


def _prefill(policy: Policy, examples: Sequence[Example], drawn: Sequence[Completion]) -> Iterator[Finding]:
    for place, completion in enumerate(drawn):
        prefilled = prefilled_text(policy.tokenizer, examples[place // SAMPLES].prompt)
        if not completion.text.startswith(prefilled):
            yield Finding(
                "problem",
                f"the chat template begins every answer with {prefilled!r}, and the sampler's text does not hold it: a format "
                "reward would call every completion malformed",
                "the sampler must put what the template prefilled in front of a completion's text (`Completion.text`)",
            )
            return


def _gap(
    policy: Policy, examples: Sequence[Example], drawn: Sequence[Completion], temperature: float
) -> Iterator[Finding]:
    told = [(place, completion) for place, completion in enumerate(drawn) if completion.logprobs]
    if not told:
        return
    prompts = [encode_prompt(policy.tokenizer, examples[place // SAMPLES].prompt) for place, _ in told]
    with torch.no_grad():
        ours = policy_logprobs(policy.model, prompts, [completion.token_ids for _, completion in told], temperature)
    gaps = [
        abs(theirs - float(own))
        for row, (_, completion) in enumerate(told)
        for theirs, own in zip(completion.logprobs, ours[row], strict=False)
    ]
    if not fmean(gaps) <= NOTABLE_GAP:
        yield Finding(
            "problem",
            f"the sampler's log-probabilities are {fmean(gaps):.3g} nats a token away from the trainer's on average (at most "
            f"{max(gaps):.3g}): the policy gradient would be that of another policy",
            "look at the sampler's temperature, precision, weights and at whether it tells the log-probabilities before top-p",
        )
