"""A run as a graph: what each stage makes, which weights and which data it came from, and which models there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from ponder_evaluation.readings import Reading

Kind: TypeAlias = Literal["pretraining", "supervised", "reinforcement", "data", "reward", "other"]
LinkKind: TypeAlias = Literal["weights", "data", "reward"]

PRETRAINING: Final = ("pretrain", "extend_context")
# A stage whose options hold one of these names another stage for neither its weights, nor its data, nor a reward.
BUDGET: Final = "compute_of"
OTHER_REFERENCES: Final = (BUDGET, "reference")


@dataclass(frozen=True, slots=True)
class Link:
    """One stage made from what another left; both by name."""

    source: str
    target: str
    kind: LinkKind


@dataclass(frozen=True, slots=True)
class Model:
    """A policy that was made or measured in this run."""

    name: str
    colour: int
    """Its place among the models, the same in every chart."""
    evaluations: Sequence[Reading] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages of a run in their order, without its reports; its models; and what came from what."""

    stages: Sequence[Reading]
    links: Sequence[Link]
    models: Mapping[str, Model]
    _by_name: Mapping[str, Reading] = field(repr=False)

    @property
    def makers(self) -> list[Reading]:
        """The stages that make something: all but the evaluations."""
        return [stage for stage in self.stages if not stage.is_evaluation]

    @property
    def evaluations(self) -> list[Reading]:
        """The stages that measure a policy."""
        return [stage for stage in self.stages if stage.is_evaluation]

    @property
    def budgets(self) -> list[tuple[str, str]]:
        """(stage, stage that was given its compute) for every such pair."""
        return [
            (name, stage.name)
            for stage in self.makers
            for name in _listed(stage.options.get(BUDGET))
            if name in self._by_name and name != stage.name
        ]

    def stage(self, name: str) -> Reading | None:
        """The stage of this name; None for a policy that no stage of the run made."""
        return self._by_name.get(name)

    def start(self, name: str) -> str | None:
        """What the weights of a model began as: a stage's or a policy's name; None for weights from nowhere."""
        stage = self.stage(name)
        return None if stage is None else str(stage.options.get("policy") or "") or None

    def root(self, name: str) -> str:
        """The stage that the weights of a model go back to before any fine-tuning, or else the policy they began as."""
        seen = {name}
        while (stage := self.stage(name)) is not None and kind_of(stage) not in ("pretraining", "other"):
            start = self.start(name)
            if start is None or start in seen:
                break
            seen.add(start)
            name = start
        return name

    def sources(self, name: str, kind: LinkKind) -> list[Reading]:
        """The stages whose weights, data or rewards a stage used."""
        names = [link.source for link in self.links if link.target == name and link.kind == kind]
        return [self._by_name[source] for source in names]

    def behind(self, name: str, kind: LinkKind) -> set[str]:
        """The stages reached by going back along links of this kind, the stage itself not among them."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for stage in self.sources(waiting.pop(), kind):
                if stage.name not in found:
                    found.add(stage.name)
                    waiting.append(stage.name)
        return found


def make_pipeline(readings: Sequence[Reading]) -> Pipeline:
    """The graph of these stages; a stage made from an earlier version of another has no link to the present one.

    Stages keep their order, but for those that stand before what they were made from: a copied run has lost its order.
    """
    stages = [stage for stage in readings if not stage.is_report]
    by_name = {stage.name: stage for stage in stages if not stage.is_evaluation}
    stages = _in_order(stages, by_name)
    links = [link for stage in stages if not stage.is_evaluation for link in _links_to(stage, by_name)]
    return Pipeline(stages, links, _models(stages), by_name)


def kind_of(stage: Reading) -> Kind:
    """What a stage does, told by what it makes; stages of unknown plugins are judged alike."""
    if stage.type in PRETRAINING:
        return "pretraining"
    if stage.type == "reward_model":
        return "reward"
    if stage.makes_policy:
        return "reinforcement" if stage.options.get("rewards") else "supervised"
    return "data" if stage.makes_task else "other"


def _in_order(stages: Sequence[Reading], by_name: Mapping[str, Reading]) -> list[Reading]:
    """The stages, each behind all that it names."""
    ordered: dict[str, Reading] = {}
    begun: set[str] = set()

    def place(stage: Reading) -> None:
        begun.add(stage.name)
        for name in (*_named(stage), *stage.parents):
            if name in by_name and name not in begun:
                place(by_name[name])
        ordered[stage.name] = stage

    for stage in stages:
        if stage.name not in begun:
            place(stage)
    return list(ordered.values())


def _links_to(stage: Reading, by_name: Mapping[str, Reading]) -> Iterator[Link]:
    for name in stage.parents or _named(stage):
        source = by_name.get(name)
        if source is None or (stage.parents and stage.parents[name] != source.fingerprint):
            continue
        kind = _link_kind(stage, source)
        if kind is not None:
            yield Link(name, stage.name, kind)


def _link_kind(stage: Reading, source: Reading) -> LinkKind | None:
    if source.name == stage.options.get("policy"):
        return "weights"
    if _only_otherwise(stage, source.name):
        return None
    if source.makes_task:
        return "data"
    return "reward" if kind_of(source) == "reward" or kind_of(stage) == "reinforcement" else "weights"


def _only_otherwise(stage: Reading, name: str) -> bool:
    """Whether the stage names another for its compute or as a reference, and has no task option that names it too."""
    is_named = any(name in _listed(stage.options.get(option)) for option in OTHER_REFERENCES)
    return is_named and stage.options.get("task") != name


def _named(stage: Reading) -> list[str]:
    """The names in a stage's options that may be stages, where its parents are not on record."""
    values = [stage.options.get(option) for option in ("policy", "task")]
    return [value for value in values if isinstance(value, str)]


def _listed(value: object) -> list[str]:
    return (
        [value] if isinstance(value, str) else [str(item) for item in value] if isinstance(value, list | tuple) else []
    )


def _models(stages: Sequence[Reading]) -> dict[str, Model]:
    evaluations: dict[str, list[Reading]] = {}
    for stage in stages:
        if stage.is_evaluation:
            evaluations.setdefault(stage.subject, []).append(stage)
        elif stage.makes_policy and kind_of(stage) != "reward":
            evaluations.setdefault(stage.name, [])
    # Stages come in the order in which they were made; a policy that no stage made stands before what came of it.
    made = {stage.name: place for place, stage in enumerate(stages)}
    names = sorted(evaluations, key=lambda name: made.get(name, -1))
    return {name: Model(name, colour, evaluations[name]) for colour, name in enumerate(names)}
