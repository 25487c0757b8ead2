"""The suite for samplers: as many completions as asked for, reproducible, with log-probabilities that are the policy's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ponder.own_models import has_own_model
from ponder.testing.component import ComponentSuite
from ponder.testing.outcome import brief, described, require, unchecked
from ponder.types import Completion, Example

if TYPE_CHECKING:
    from ponder.interfaces import Policy

Groups = Sequence[Sequence[Completion]]

_SEED: Final = 5
_LIMIT: Final = 12


class SamplerSuite(ComponentSuite):
    """Checks a sampler on a small policy that is made in code. Needs torch and transformers."""

    kind = "sampler"
    examples: ClassVar[Sequence[Example]] = (
        Example("What is 3 + 4?"),
        Example([{"role": "user", "content": "Say hello."}]),
        Example("1+1=2; 2+2="),
        Example("What is 3 + 4?"),
    )
    n: ClassVar[int] = 3
    """Completions for each example."""
    tolerance: ClassVar[float] = 1e-3
    """How far a log-probability may be from the policy's own, in nats."""
    is_random: ClassVar[bool] = True
    """False for a sampler that always takes the likeliest token."""

    def test_every_example_gets_as_many_completions_as_asked_for(self) -> None:
        groups = self.drawn()
        require(
            len(groups) == len(self.examples) and all(len(group) == self.n for group in groups),
            f"{len(self.examples)} examples with n={self.n} gave groups of {[len(group) for group in groups]}; return a sequence "
            "of n completions for each example, in order",
        )
        for completion in _all(groups):
            require(
                isinstance(completion, Completion),
                f"a completion is {type(completion).__name__}; make it ponder.Completion(...)",
            )

    def test_no_examples_and_a_single_completion_are_no_special_cases(self) -> None:
        require(list(self.sample([], self.n)) == [], "without examples it should return an empty list")
        groups = self.sample(self.examples[:1], 1)
        require([len(group) for group in groups] == [1], f"one example with n=1 gave {brief(groups)}")

    def test_the_same_seed_gives_the_same_completions(self) -> None:
        self._require_same(self.drawn(), self.sample(self.examples, self.n), "the same seed")

    def test_a_new_sampler_gives_the_same_completions(self) -> None:
        again = _sampled(self.build(), self._asked(), self.examples, self.n, _SEED)
        self._require_same(self.drawn(), again, "a sampler that was built again")

    def test_the_global_random_state_does_not_matter(self) -> None:
        from ponder.testing.hf_checks import disturbed_random_state

        with disturbed_random_state():
            again = self.sample(self.examples, self.n)
        self._require_same(
            self.drawn(), again, "another state of torch's global generator; make a generator from `seed`"
        )

    def test_another_seed_gives_other_completions(self) -> None:
        self._refuse_greedy()
        other = _sampled(self.build(), self._asked(), self.examples, self.n, _SEED + 1)
        require(_said(other) != _said(self.drawn()), "another seed gives the same completions; draw with `seed`")

    def test_the_completions_of_one_prompt_are_drawn_independently(self) -> None:
        self._refuse_greedy()
        require(
            all(len(set(_said([group]))) > 1 for group in self.drawn()),
            "all completions of a prompt are the same; draw each with a random number of its own",
        )

    def test_a_completion_has_a_log_probability_for_each_token(self) -> None:
        self._refuse_own_model()
        for completion in _all(self.drawn()):
            require(
                len(completion.token_ids) == len(completion.logprobs) > 0,
                f"{len(completion.token_ids)} token_ids and {len(completion.logprobs)} logprobs: give each generated token its own, "
                "the end-of-sequence token included",
            )
            require(max(completion.logprobs) <= 1e-6, f"a log-probability is {max(completion.logprobs)}, above 0")

    def test_log_probabilities_are_the_policys_own_at_the_temperature(self) -> None:
        self._refuse_own_model()
        from ponder.testing.hf_checks import largest_difference

        sampler, policy = self.sampler(), self.policy()
        temperature = float(getattr(sampler, "temperature", 1.0)) or 1.0
        for example, group in zip(self.examples, self.drawn(), strict=True):
            for completion in group:
                difference = largest_difference(policy, example, completion, temperature)
                require(
                    difference <= self.tolerance,
                    f"for {brief(example.prompt)} a log-probability is {difference:.3g} nats from that of a full forward pass at "
                    f"temperature {temperature:g}: give the untruncated policy's, divide logits by the temperature (and have it as "
                    "an attribute `temperature` of the sampler), keep examples in order, and look after padding and positions",
                )

    def test_the_text_is_that_of_the_tokens(self) -> None:
        self._refuse_own_model()
        from ponder.testing.hf_checks import expected_text

        policy = self.policy()
        for example, group in zip(self.examples, self.drawn(), strict=True):
            for completion in group:
                expected = expected_text(policy, example, completion)
                require(
                    completion.text == expected,
                    f"the text is {brief(completion.text)}, and the tokens say {brief(expected)}: decode token_ids without the "
                    "end-of-sequence token, behind what the chat template prefilled",
                )

    def test_the_finish_reason_says_whether_the_policy_ended(self) -> None:
        self._refuse_own_model()
        end = self.policy().tokenizer.eos_token_id
        for completion in _all(self.drawn()):
            expected = "stop" if completion.token_ids and completion.token_ids[-1] == end else "length"
            require(
                completion.finish_reason == expected,
                f'finish_reason is {completion.finish_reason!r} for tokens that end with {completion.token_ids[-1]}: "stop" when the '
                f'last is the end-of-sequence token ({end}), else "length"',
            )
            require(end not in completion.token_ids[:-1], "tokens follow the end-of-sequence token; cut them off")

    def test_the_length_limit_is_kept(self) -> None:
        if "max_new_tokens" not in self._option_names():
            unchecked("it has no option max_new_tokens")
        groups = _sampled(self.build(max_new_tokens=2), self._asked(), self.examples, self.n, _SEED)
        longest = max(completion.length for completion in _all(groups))
        require(
            longest <= 2, f"with max_new_tokens=2 a completion has {longest} tokens, the end-of-sequence token included"
        )

    def test_a_completion_carries_the_version_of_the_policy(self) -> None:
        self._refuse_own_model()
        from ponder.testing.hf_checks import changed

        policy = self.policy()
        with changed(policy, version=policy.version + 7):
            groups = self.sample(self.examples[:1], 1)
            require(
                groups[0][0].policy_version == policy.version,
                f"policy_version is {groups[0][0].policy_version}, and the policy's version {policy.version}",
            )

    def test_a_policy_that_has_learnt_is_noticed(self) -> None:
        self._refuse_own_model()
        from ponder.testing.hf_checks import largest_difference, nudged

        sampler, policy = self.build(), self.policy()
        _sampled(sampler, policy, self.examples[:1], 1, _SEED)
        temperature = float(getattr(sampler, "temperature", 1.0)) or 1.0
        with nudged(policy):
            completion = _sampled(sampler, policy, self.examples[:1], 1, _SEED)[0][0]
            difference = largest_difference(policy, self.examples[0], completion, temperature)
        require(
            difference <= self.tolerance,
            f"after an optimizer step, which raises `policy.version`, log-probabilities are {difference:.3g} nats off: refresh what "
            "the sampler keeps of the weights when the version is a new one",
        )

    def test_the_policy_is_left_as_it_was(self) -> None:
        self._refuse_own_model()
        from ponder.testing.hf_checks import state_of

        policy = self.policy()
        policy.model.train()
        try:
            before = state_of(policy)
            self.sample(self.examples[:1], 1)
            differing = [name for name, value in state_of(policy).items() if before[name] != value]
        finally:
            policy.model.eval()
        require(not differing, f"sampling changes the policy: {', '.join(differing)}; put back what has to be changed")

    def test_a_stream_says_what_sample_says(self) -> None:
        stream = getattr(self.sampler(), "stream", None)
        if stream is None:
            unchecked("it has no method stream, which it need not have")
        expected = self.sample(self.examples[:1], 1)[0][0]
        pieces, told = [], stream(self.policy(), self.examples[0], _SEED)
        while True:
            try:
                pieces.append(next(told))
            except StopIteration as end:
                require(end.value is not None, "`stream` should return the completion at its end")
                require(
                    end.value.text == expected.text, f"it ends with {brief(end.value.text)}, not {brief(expected.text)}"
                )
                break
        require(
            "".join(pieces) == expected.text,
            f"the pieces say {brief(''.join(pieces))}, and `sample` {brief(expected.text)}",
        )

    def test_a_model_of_its_own_is_named(self) -> None:
        if not self.has_own_model():
            unchecked("it draws from the policy")
        source = getattr(self.sampler(), "source", None)
        require(
            isinstance(source, Mapping) and source and all(isinstance(value, str) for value in source.values()),
            f"its attribute `source` is {brief(source)}; let it be a mapping of texts, without secrets, that says whose completions "
            "these are",
        )

    def has_own_model(self) -> bool:
        """Whether it asks a model of its own, and does without a policy."""
        return has_own_model(self.component().config)

    def policy(self) -> Policy:
        """The policy that is sampled, a small one made in code; replace it where a sampler needs another."""
        from ponder.testing.hf_stand_ins import StandInPolicy

        return self.shared("policy", StandInPolicy)

    def sampler(self) -> Any:
        """One sampler for all checks."""
        return self.shared("sampler", self.build)

    def sample(self, examples: Sequence[Example], n: int) -> Groups:
        """Completions with the seed that all checks use."""
        return _sampled(self.sampler(), self._asked(), examples, n, _SEED)

    def drawn(self) -> Groups:
        """What most checks look at."""
        return self.shared("drawn", lambda: self.sample(self.examples, self.n))

    def build(self, **changes: object) -> Any:
        """A sampler of short completions, unless the suite's options say otherwise."""
        if "max_new_tokens" in self._option_names() and "max_new_tokens" not in self.options:
            changes = {"max_new_tokens": _LIMIT, **changes}
        return super().build(**changes)

    def _asked(self) -> Policy | None:
        """What the sampler is given to ask: the policy, or nothing where it has a model of its own."""
        return None if self.has_own_model() else self.policy()

    def _option_names(self) -> set[str]:
        return {field.name for field in dataclasses.fields(self.component().config)}

    def _refuse_own_model(self) -> None:
        if self.has_own_model():
            unchecked("it asks a model of its own, and tells the text alone")

    def _refuse_greedy(self) -> None:
        if not self.is_random or getattr(self.sampler(), "temperature", 1.0) == 0:
            unchecked("it always takes the likeliest token")

    def _require_same(self, expected: Groups, found: Groups, what: str) -> None:
        for one, other in zip(_all(expected), _all(found), strict=True):
            require(
                list(one.token_ids) == list(other.token_ids) and one.text == other.text,
                f"{what} gives {brief(other.text)} in place of {brief(one.text)}; let every draw depend on the seed, the place of the "
                "example and that of the completion",
            )


def _sampled(sampler: Any, policy: Policy | None, examples: Sequence[Example], n: int, seed: int) -> Groups:
    try:
        groups: Groups = sampler.sample(policy, examples, n, seed)
    except Exception as error:
        raise AssertionError(f"`sample` raises {described(error)}") from error
    return groups


def _all(groups: Groups) -> list[Completion]:
    return [completion for group in groups for completion in group]


def _said(groups: Groups) -> list[tuple[str, tuple[int, ...]]]:
    return [(completion.text, tuple(completion.token_ids)) for completion in _all(groups)]
