"""The suite for policies: they can be sampled and trained, and are the same after saving, in ponder and in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final

from ponder.testing.component import ComponentSuite
from ponder.testing.outcome import brief, described, require, unchecked
from ponder.types import Message

_CHAT: Final[list[Message]] = [{"role": "user", "content": "What is 17 + 25?"}]
_TEXTS: Final = (
    "1 + 2 = 3\n",
    "<think> 17 + 25 = 42 </think>",
    "\u7b54\u6848\u662f 12\u3002",
    "na\u00efve \U0001f642",
    "  two  spaces",
)
_WEIGHTS: Final = (".safetensors", ".json", ".jinja", ".txt", ".model", ".md", ".spm")


class PolicySuite(ComponentSuite):
    """Checks a policy. Needs torch and transformers."""

    kind = "policy"
    is_new: ClassVar[bool] = True
    """Whether its weights are drawn at random, so that they depend on the seed."""
    writes_everything: ClassVar[bool] = True
    """Whether its tokenizer can write every text and read it back."""
    tolerance: ClassVar[float] = 1e-4
    """How far logits that should be the same but for the order of sums may differ."""

    def test_it_has_a_model_a_tokenizer_and_a_version(self) -> None:
        policy = self.policy()
        for name in ("model", "tokenizer", "version", "save"):
            require(hasattr(policy, name), f"it has no attribute {name!r}; see ponder.Policy")
        require(isinstance(policy.version, int), f"its version is {brief(policy.version)}; begin with 0")

    def test_it_can_end_and_pad_with_different_tokens(self) -> None:
        tokenizer = self.policy().tokenizer
        for name in ("eos_token_id", "pad_token_id"):
            require(getattr(tokenizer, name) is not None, f"its tokenizer has no {name}; set one")
        require(
            tokenizer.eos_token_id != tokenizer.pad_token_id,
            "its pad token is its end-of-sequence token: a trainer that ignores padding would not teach it to stop; take another",
        )

    def test_every_token_has_an_output(self) -> None:
        from ponder.testing.hf_policies import vocabulary_sizes

        tokens, outputs = vocabulary_sizes(self.policy())
        require(
            tokens <= outputs,
            f"its tokenizer has {tokens} tokens and its model {outputs} outputs; give the model as many",
        )

    def test_a_chat_is_rendered_and_left_open_for_the_assistant(self) -> None:
        tokenizer = self.policy().tokenizer
        require(tokenizer.chat_template, "its tokenizer has no chat template; set tokenizer.chat_template")
        closed, opened = (
            tokenizer.apply_chat_template(_CHAT, tokenize=False, add_generation_prompt=open_) for open_ in (False, True)
        )
        require(_CHAT[0]["content"] in opened, f"the question is not in the rendered chat {brief(opened)}")
        require(
            len(opened) >= len(closed) and opened.startswith(closed.rstrip()[:10]),
            f"with add_generation_prompt the chat is {brief(opened)}, without it {brief(closed)}",
        )

    def test_its_tokenizer_reads_back_what_it_writes(self) -> None:
        if not self.writes_everything:
            unchecked("the suite says that its tokenizer cannot write every text")
        tokenizer = self.policy().tokenizer
        for text in _TEXTS:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            again = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            require(again == text, f"{brief(text)} comes back as {brief(again)}")

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        from ponder.testing.hf_checks import disturbed_random_state
        from ponder.testing.hf_policies import differing_weights

        with disturbed_random_state():
            again = self.build()
        names = differing_weights(self.policy(), again)
        require(
            not names,
            f"built again with the same seed, {len(names)} weights differ ({', '.join(names[:3])}); draw them under "
            "torch.random.fork_rng() and torch.manual_seed(seed)",
        )

    def test_another_seed_gives_other_weights(self) -> None:
        from ponder.testing.hf_policies import differing_weights

        if not self.is_new:
            unchecked("the suite says that its weights are not drawn at random")
        require(
            differing_weights(self.policy(), self.build_with(seed=12345)),
            "another seed gives the same weights; take `seed` in build",
        )

    def test_building_it_leaves_the_global_random_numbers_alone(self) -> None:
        from ponder.testing.hf_checks import global_state

        before = global_state()
        self.build()
        require(
            bool((global_state() == before).all()),
            "building it draws from torch's global generator; use torch.random.fork_rng()",
        )

    def test_it_answers_the_same_twice(self) -> None:
        from ponder.testing.hf_policies import logits

        one, other = (logits(self.policy(), _CHAT) for _ in range(2))
        require(
            bool((one == other).all()),
            "two forward passes differ; build it in evaluation mode (model.eval()), without dropout",
        )
        require(bool(one.isfinite().all()), "its logits are not finite")

    def test_a_token_sees_only_those_before_it(self) -> None:
        from ponder.testing.hf_policies import influence_of_the_last_token

        moved = influence_of_the_last_token(self.policy(), _CHAT)
        require(
            moved <= self.tolerance,
            f"another last token moves logits before it by {moved:.3g}; the model must be causal",
        )

    def test_padding_on_the_left_changes_nothing(self) -> None:
        from ponder.testing.hf_policies import influence_of_padding

        moved = influence_of_padding(self.policy(), _CHAT)
        require(moved <= self.tolerance, f"left padding moves logits by {moved:.3g}; heed attention_mask and positions")

    def test_it_can_be_trained(self) -> None:
        from ponder.testing.hf_policies import after_a_step

        before, after = after_a_step(self.build(), _CHAT)
        require(
            after < before,
            f"one optimizer step on a text takes its loss from {before:.4g} to {after:.4g}; do gradients reach it?",
        )

    def test_saved_and_loaded_it_gives_the_same_logits(self) -> None:
        from ponder.testing.hf_policies import logits

        loaded = self.build_with(checkpoint=self.saved())
        one, other = logits(self.policy(), _CHAT), logits(loaded, _CHAT)
        require(
            one.shape == other.shape and bool((one == other).all()),
            "built from a `checkpoint` that `save` wrote, it gives other logits; save and load every weight, and the dtype",
        )

    def test_saved_and_loaded_it_has_the_same_tokens_and_chat_template(self) -> None:
        loaded, policy = self.build_with(checkpoint=self.saved()).tokenizer, self.policy().tokenizer
        _require_same_tokenizer(policy, loaded, "built from a checkpoint")

    def test_plain_transformers_loads_what_it_saves(self) -> None:
        from ponder.testing.hf_policies import load_plainly, logits

        try:
            loaded = load_plainly(self.saved())
        except Exception as error:
            raise AssertionError(
                f"AutoModelForCausalLM or AutoTokenizer cannot load what `save` wrote: {described(error)}"
            ) from error
        _require_same_tokenizer(self.policy().tokenizer, loaded.tokenizer, "loaded by AutoTokenizer")
        one, other = logits(self.policy(), _CHAT), logits(loaded, _CHAT)
        difference = float((one - other).abs().max()) if one.shape == other.shape else float("inf")
        require(difference <= self.tolerance, f"loaded by AutoModelForCausalLM, its logits differ by {difference:.3g}")

    def test_it_saves_nothing_that_must_be_unpickled(self) -> None:
        written = [path for path in self.saved().rglob("*") if path.is_file()]
        odd = [path.name for path in written if path.suffix not in _WEIGHTS]
        require(not odd, f"`save` writes {', '.join(odd)}; write safetensors and text")
        require(any(path.suffix == ".safetensors" for path in written), "`save` writes no safetensors")

    def test_saving_it_changes_nothing(self) -> None:
        from ponder.testing.hf_policies import logits

        policy = self.build()
        before = logits(policy, _CHAT)
        policy.save(self._folder_for("once"))
        policy.save(self._folder_for("twice"))
        require(bool((logits(policy, _CHAT) == before).all()), "after `save` the policy gives other logits")
        first, second = (_contents(self.directory() / name) for name in ("once", "twice"))
        require(first == second, "`save` writes something else when called again")

    def policy(self) -> Any:
        """One policy for all checks that leave it as it is."""
        return self.shared("policy", self.build)

    def saved(self) -> Path:
        """A directory that the policy was saved to."""

        def save() -> Path:
            directory = self._folder_for("saved")
            try:
                self.policy().save(directory)
            except Exception as error:
                raise AssertionError(f"`save` raises {described(error)}") from error
            return directory

        return self.shared("saved", save)

    def build_with(self, **offered: object) -> Any:
        """A policy from another seed, or from a checkpoint."""
        wanted = self.component().parameters()
        missing = [name for name in offered if name not in wanted]
        require(
            not missing,
            f"building it takes no `{'`, `'.join(missing)}`; its signature should be build(config, checkpoint=None, seed=0)",
        )
        return self.component().make(self.config(), **{**self.offered(), **offered})

    def offered(self) -> dict[str, object]:
        """What a recipe would offer a new policy."""
        return {"checkpoint": None, "seed": 1, "task": self.task}

    def _folder_for(self, name: str) -> Path:
        directory = self.directory() / name
        directory.mkdir()
        return directory


def _require_same_tokenizer(expected: Any, found: Any, how: str) -> None:
    for text in _TEXTS:
        one, other = (list(t(text, add_special_tokens=False)["input_ids"]) for t in (expected, found))
        require(one == other, f"{how}, its tokenizer gives {brief(text)} other ids: {brief(other)} for {brief(one)}")
    for name in ("eos_token_id", "pad_token_id", "chat_template"):
        one, other = getattr(expected, name), getattr(found, name)
        require(one == other, f"{how}, its tokenizer has {name} {brief(other)} for {brief(one)}")


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }
