import inspect
import subprocess
import sys
import time
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ponder_rewards
from ponder import Completion, Example, Rollout
from ponder.crossing import pack, unpack
from ponder.describe import field_texts
from ponder.plugins import Registry
from ponder.rubric import Limits, NamedReward, Rubric
from ponder_rewards.wishes import CHECKS

ARGUMENTS = {
    "keywords": ["a"],
    "forbidden_words": ["zebra"],
    "keyword": "word",
    "frequency": 1,
    "letter": "a",
    "let_frequency": 1,
    "language": "en",
    "num_words": 3,
    "num_sentences": 1,
    "num_paragraphs": 1,
    "nth_paragraph": 1,
    "first_word": "a",
    "num_placeholders": 1,
    "postscript_marker": "P.S.",
    "num_bullets": 1,
    "num_highlights": 1,
    "section_spliter": "Section",
    "num_sections": 1,
    "prompt_to_repeat": "q",
    "start_phrase": "a",
    "end_phrase": "a",
    "capital_frequency": 0,
}


def registry() -> Registry:
    registry = Registry()
    registry.register(ponder_rewards, "rewards")
    return registry


NAMES = sorted(offer.component.name for offer in registry().all())


def built(name: str) -> Any:
    component = registry().find("reward", name)
    return component.make(component.config())


def test_the_whole_family_is_offered() -> None:
    assert set(NAMES) >= {
        "accuracy",
        "cosine_length",
        "format",
        "instruction",
        "json_schema",
        "judge",
        "language_consistency",
        "length",
        "reasoning_steps",
        "repetition",
        "soft_overlong",
        "tag_count",
    }


@pytest.mark.parametrize("name", ["accuracy", "format", "language_consistency", "tag_count"])
def test_a_good_response_gets_full_marks_from_the_defaults(name: str) -> None:
    assert built(name)(Example("q", "4"), Completion("<think>four</think><answer>4</answer>")) == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_every_reward_and_each_of_its_options_is_explained(name: str) -> None:
    component = registry().find("reward", name)
    reward = built(name)
    told = f"{inspect.getdoc(component.config)} {inspect.getdoc(type(reward))}"
    assert "abstains" in told.lower() or name == "accuracy"
    assert "source" in told.lower() or "(DeepSeek-R1" in told or name in ("json_schema", "instruction")
    texts = field_texts(component.config)
    assert all(texts.get(field.name) for field in fields(component.config))


@pytest.mark.parametrize("name", NAMES)
def test_every_reward_can_be_sent_to_another_process_and_scores_the_same_there(name: str) -> None:
    reward = built(name)
    copy = unpack(pack(reward))
    if callable(reward):
        completion = Completion("<think>First, we add 2 and 2.</think> <answer>4</answer>", tuple(range(9)))
        assert copy(Example("q", "4"), completion) == reward(Example("q", "4"), completion)


def test_rewards_that_compare_need_answers() -> None:
    found = {offer.component.name for offer in registry().all() if offer.component.config().needs_answer}
    assert found >= {"accuracy", "cosine_length", "length"}
    assert not found & {"format", "language_consistency", "judge"}


HEAVY = {"math_verify", "sympy", "torch", "lingua", "jsonschema", "regex", "urllib.request"}


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    program = f"import sys, ponder_rewards; sys.exit(bool({HEAVY} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# What a policy that is being trained may write: tags, marks and brackets out of place, in any number, with anything between.
hostile = st.lists(
    st.sampled_from(
        [
            "<think>",
            "</think>",
            "<answer>",
            "</answer>",
            "\n-",
            "\n1.",
            "First,",
            "{",
            "[",
            '"',
            "}",
            "***",
            "\n\n",
            "```json\n",
        ]
    )
    | st.text(max_size=4)
    | st.sampled_from(["\ud800", "\u200b", "\x00", "\u0301", "字", "ア", "كل", "word", "Schritt", "9" * 5000]),
    max_size=25,
).map("".join)
WISHES = [{"id": name, **ARGUMENTS} for name in CHECKS if "english" not in name and "language" not in name]
EXAMPLE = Example("q", "4", {"schema": {"type": "object"}, "instructions": WISHES})
SINGLE = [name for name in NAMES if name not in ("accuracy", "code", "cosine_length", "judge", "length")]


@pytest.mark.parametrize("name", SINGLE)
@given(text=hostile)
@settings(max_examples=60)
def test_any_text_gets_a_finite_score_that_stays_the_same(name: str, text: str) -> None:
    reward = REWARDS[name]
    completion = Completion(text, tuple(range(len(text) % 50)))
    score = reward(EXAMPLE, completion)
    assert score is None or -1.0 <= score <= 1.0
    assert reward(EXAMPLE, completion) == score


REWARDS = {name: built(name) for name in SINGLE}
UNITS = ["<think>", "\n-", "1. a\n", ".", "**a", "<<", "a b ", "ア亜", "\u0301", '{"a":', "\\", "\ud800", "x"]


@pytest.mark.parametrize("name", SINGLE)
def test_a_hostile_megabyte_is_read_once(name: str) -> None:
    reward = REWARDS[name]
    getattr(reward, "warm_up", list)()
    for unit in UNITS:
        text = unit * (1_000_000 // len(unit)) + "x"
        started = time.process_time()
        reward(EXAMPLE, Completion(text))
        assert time.process_time() - started < 4.0, (name, unit)  # a quadratic reading takes hours


def test_the_first_stage_of_r1_adds_the_three_rewards_up() -> None:
    components = [registry().find("reward", name) for name in ("accuracy", "format", "language_consistency")]
    rewards = [NamedReward(found.name, 1.0, found.make(found.config()), found.config()) for found in components]
    texts = [
        "<think>" + "word " * 18 + "因此 答案</think> <answer>4</answer>",
        "<think>five</think> <answer>5</answer>",
        "so 所以 <answer>4</answer>",
    ]
    with Rubric(rewards, limits=Limits(workers=1)) as rubric:
        scores = rubric.score([Rollout(Example("q", "4"), Completion(text), 0) for text in texts])
    assert [score.total for score in scores] == [2.9, 2.0, 1.5]
