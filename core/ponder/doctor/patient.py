"""A stage as checks see it: what its options name, built from the recipe without running anything."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from ponder import building
from ponder.chat_templates import set_template_file
from ponder.doctor.findings import NotYetError
from ponder.entries import SECTIONS, Entry
from ponder.lineage import stages_reached
from ponder.workloads import length_limit

if TYPE_CHECKING:
    from ponder.components import Kind
    from ponder.context import FinishedStage
    from ponder.interfaces import Policy, Sampler
    from ponder.plugins import Registry
    from ponder.recipe import Recipe
    from ponder.rubric import Rubric
    from ponder.types import Example

T = TypeVar("T")

MOST_EXAMPLES: Final = 256
"""Examples of a task that are read, so that an endless corpus takes a moment."""


@dataclass(frozen=True, slots=True)
class Clinic:
    """A recipe, what of it is finished, and what checks have built so far: policies, tasks and rewards are made once."""

    recipe: Recipe
    registry: Registry
    finished: Mapping[str, FinishedStage]
    say: Callable[[str], None]
    resources: ExitStack
    """What ends with the examination."""
    _made: dict[tuple[str, str], Any] = field(default_factory=dict)

    def once(self, kind: str, name: str, make: Callable[[], T]) -> T:
        """What `make` makes, or raises, the first time: a failure too may have taken long."""
        if (kind, name) not in self._made:
            try:
                self._made[kind, name] = make()
            except Exception as error:
                self._made[kind, name] = error
        made = self._made[kind, name]
        if isinstance(made, Exception):
            raise made
        return cast(T, made)

    def start_rubric(self, names: Sequence[str]) -> Rubric:
        """Rewards of the recipe together, whose workers take a moment to start."""
        rubric = building.build_rubric(self.recipe, self.finished, names, self.say)
        return self.resources.enter_context(rubric)


@dataclass(frozen=True, slots=True)
class Patient:
    """A stage of a recipe; everything it gives is as the stage would get it, or raises NotYetError."""

    entry: Entry
    clinic: Clinic

    def names(self, kind: Kind, option: str | None = None) -> tuple[str, ...]:
        """The entries of a kind that the stage's options name, or one of its options.

        Policies and tasks that stages make count as policies and tasks.
        """
        return tuple(
            reference.name
            for reference in self.entry.references
            if (option is None or reference.option == option) and self._kind(reference.kind, reference.option) == kind
        )

    def has(self, *options: str) -> bool:
        """Whether the stage names an entry in each of these options."""
        return all(any(reference.option == option for reference in self.entry.references) for option in options)

    @property
    def is_trained(self) -> bool:
        """Whether the stage's policy is what a finished stage made, and not still as it begins."""
        return any(name in self.clinic.finished for name in self.names("policy", "policy"))

    @property
    def starting_point(self) -> tuple[str, str | Path | None]:
        """What tells the policies and templates of stages apart that checks are given: many stages share theirs until they have run."""
        return self._known_policy(), self.template()

    def policy(self) -> Policy:
        """The policy that the stage starts from: of a finished stage, or else the one that it descends from as it begins."""
        known = self._known_policy()
        recipe, registry, finished = self.clinic.recipe, self.clinic.registry, self.clinic.finished
        return self.clinic.once("policy", known, lambda: building.build_policy(recipe, registry, finished, known))

    def tokenizer(self) -> Any:
        """The policy's tokenizer, with the chat template that the stages before this one will have given it."""
        policy, template = self.policy(), self.template()
        if template is None:
            return policy.tokenizer
        return self.clinic.once("tokenizer", f"{self._root().name}/{template}", lambda: self._dressed(template))

    def template(self) -> str | Path | None:
        """The name or file of the chat template that this stage or those behind it give the policy; None where it keeps its own."""
        chosen = (_chosen_template(stage.config) for stage in self._unfinished())
        return next((template for template in chosen if template is not None), None)

    def examples(self, most: int = MOST_EXAMPLES) -> Sequence[Example]:
        """The first examples of the stage's task; InputError when there are none to be had."""
        (name, *_) = self.names("task", "task")
        self._need(name)
        recipe, registry, finished = self.clinic.recipe, self.clinic.registry, self.clinic.finished
        task = self.clinic.once("task", name, lambda: building.build_task(recipe, registry, finished, name))
        return self.clinic.once(f"first {most} of", name, lambda: list(islice(task.examples(), most)))

    def sampler(self, **changes: object) -> Sampler:
        """The stage's sampler, with some of its options replaced."""
        (name, *_) = self.names("sampler", "sampler")
        return building.build_sampler(self.clinic.recipe, name, changes)

    def longest_completion(self) -> int | None:
        """The most tokens that the stage ever draws for an answer; None where that is not known."""
        if not self.has("sampler"):
            return None
        recipe, config = self.clinic.recipe, self.entry.config
        (sampler, *_) = self.names("sampler", "sampler")
        # A curriculum lets completions grow beyond the sampler's own limit.
        planned = config.workload(recipe).length if hasattr(config, "workload") else None
        return max((limit for limit in (length_limit(recipe, sampler), planned) if limit is not None), default=None)

    def rewards(self) -> tuple[str, ...]:
        """The names of the stage's rewards that can be computed now."""
        return tuple(name for name in self.names("reward", "rewards") if not self._missing("reward", name))

    def rubric(self) -> Rubric:
        """The stage's rewards that can be computed now; their workers end with the examination."""
        names = self.rewards()
        return self.clinic.once("rubric", repr(names), lambda: self.clinic.start_rubric(names))

    def missing_rewards(self) -> tuple[str, ...]:
        """The names of the stage's rewards that need what a stage has still to make."""
        return tuple(name for name in self.names("reward", "rewards") if self._missing("reward", name))

    def _policy_name(self) -> str:
        (name, *_) = self.names("policy", "policy")
        return name

    def _known_policy(self) -> str:
        name = self._policy_name()
        return name if name in self.clinic.finished else self._root().name

    def _root(self) -> Entry:
        return building.root_policy(self.clinic.recipe, self._policy_name())

    def _unfinished(self) -> Iterator[Entry]:
        """This stage, and those behind its policy that have not run, nearest first."""
        yield self.entry
        name = self._policy_name()
        while name in self.clinic.recipe.stages and name not in self.clinic.finished:
            stage = self.clinic.recipe.stages[name]
            yield stage
            name = next(reference.name for reference in stage.references if reference.option == "policy")

    def _dressed(self, template: str | Path) -> Any:
        tokenizer = copy.deepcopy(self.policy().tokenizer)
        if isinstance(template, Path):
            set_template_file(tokenizer, template)
            return tokenizer
        offered: Mapping[str, str] = getattr(self.policy(), "chat_templates", {})
        if template not in offered:
            raise NotYetError(f"the chat template {template!r} comes with a stage that is not finished")
        tokenizer.chat_template = offered[template]
        return tokenizer

    def _need(self, name: str) -> None:
        if name in self.clinic.recipe.stages and name not in self.clinic.finished:
            raise NotYetError(f"it is about what stage {name!r} has still to make")
        missing = self._missing("task", name)
        if missing:
            raise NotYetError(f"task {name!r} needs what stage {missing[0]!r} has still to make")

    def _missing(self, kind: Kind, name: str) -> list[str]:
        """The stages behind an entry that are not finished."""
        recipe = self.clinic.recipe
        entries = {known: getattr(recipe, section) for known, section in SECTIONS.items()}
        entry = entries[kind].get(name)
        reached = stages_reached(entries, entry) if entry else {}
        return [stage for stage in reached if stage not in self.clinic.finished]

    def _kind(self, kind: Kind, option: str) -> Kind:
        """References to stages stand for the policy or the data that the option is for."""
        if kind == "stage":
            return "policy" if option in ("policy", "reference") else "task"
        return kind


def _chosen_template(config: Any) -> str | Path | None:
    """What a stage's options say about the chat template: a file, a name, or nothing."""
    options = (getattr(config, name, None) for name in ("chat_template_file", "chat_template"))
    return next((option for option in options if isinstance(option, str | Path)), None)
