"""Every data set of the installed reasoning-gym: named, made, and scored in the worker processes that rewards run in."""

import pytest

from ponder import Completion, Rollout
from ponder.errors import InputError
from ponder.workers import Limits, WorkerPool
from ponder_tasks import ReasoningGymConfig, ReasoningGymRewardConfig
from ponder_tasks.gym import CURRICULA, DATASETS, ReasoningGym, ReasoningGymReward

NOT_A_DATASET = "composite"
"""It only mixes others, which ponder's `mixture` does."""
SOLUTIONS = {
    "boxnet": None,
    "graph_color": lambda gym: str(gym["possible_answer"]).replace("'", '"'),
    "propositional_logic": lambda gym: gym["example_answer"],
    "rubiks_cube": lambda gym: gym["example_correct_answer"],
    "rush_hour": None,
}
"""Data sets whose problems have many right answers and name none as their answer: where one is told, None where none is."""


def made(name, **options):
    return list(ReasoningGym(ReasoningGymConfig(dataset=name, size=2, **options)).examples())


def solution(name, example):
    if name not in SOLUTIONS:
        return example.answer
    return SOLUTIONS[name](example.metadata["gym"]) if SOLUTIONS[name] else None


@pytest.mark.slow
def test_every_data_set_is_made_and_scored_in_the_workers():
    names = sorted(DATASETS.keys() - {NOT_A_DATASET})
    examples = [(name, example) for name in names for example in made(name)]
    assert {name for name, _ in examples} == set(names)
    texts = [solution(name, example) for name, example in examples]
    assert {name for (name, _), text in zip(examples, texts, strict=True) if text is None} == {"boxnet", "rush_hour"}
    pool = WorkerPool({"gym": ReasoningGymReward(ReasoningGymRewardConfig())}, Limits(workers=1))
    try:
        right, wrong = (
            pool.score(
                [
                    Rollout(example, Completion(f"<think> hm </think> <answer> {text} </answer>"), 0)
                    for (_, example), text in zip(examples, given, strict=True)
                ]
            )
            for given in (texts, ["none of it"] * len(texts))
        )
    finally:
        pool.close()
    not_full = {
        name
        for (name, _), text, [verdict] in zip(examples, texts, right, strict=True)
        if text is not None and verdict.value != 1.0
    }
    assert not not_full
    assert not {
        (name, verdict.problem) for (name, _), [verdict] in zip(examples, wrong, strict=True) if verdict.value != 0.0
    }


@pytest.mark.slow
def test_every_curriculum_begins():
    refused = set()
    for name in sorted(CURRICULA):
        try:
            made(name, level=0)
        except InputError:
            refused.add(name)
    assert refused == {"knight_swap"}  # by its own check: it wants 6 nodes and more, its curriculum begins with 4


def test_a_level_makes_problems_harder_and_options_go_before_it():
    def terms(**options):
        return {
            example.metadata["gym"]["num_terms"]
            for example in ReasoningGym(ReasoningGymConfig(dataset="chain_sum", size=60, **options)).examples()
        }

    assert terms(level=0) == {2}
    assert terms(level=3) == {2, 3, 4, 5}
    assert terms(level=3, options={"min_terms": 4}) == {4, 5}


def test_the_scorer_has_the_options_that_the_problem_was_made_with():
    (example, _) = made("decimal_arithmetic", options={"min_num_decimal_places": 1, "max_num_decimal_places": 1})
    assert example.metadata["options"] == {"min_num_decimal_places": 1, "max_num_decimal_places": 1}
    reward = ReasoningGymReward(ReasoningGymRewardConfig())
    assert reward(example, Completion(f"<answer> {example.answer} </answer>")) == 1.0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dataset": "composite"}, "mix these with the task `mixture`"),
        ({"dataset": "gsm_symbolic", "level": 1}, "gsm_symbolic has no curriculum"),
        ({"dataset": "chain_sum", "level": 99}, r"chain_sum has levels 0 to 10, not 99"),
    ],
)
def test_what_is_not_there_is_said(options, complaint):
    with pytest.raises(InputError, match=complaint):
        ReasoningGym(ReasoningGymConfig(**options))


def test_a_negative_level_is_refused():
    with pytest.raises(ValueError, match="level must be at least 0"):
        ReasoningGymConfig(dataset="chain_sum", level=-1)
