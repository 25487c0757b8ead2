"""The reward made from a ready-made sequence classifier."""

import pytest

from ponder import Completion, Example, Rollout
from ponder.errors import InputError
from ponder.rubric import NamedReward, Rubric
from ponder_trl.classifier import Classifier
from ponder_trl.reward_configs import ClassifierConfig
from ponder_trl.reward_network import make_network

ASKED = Example([{"role": "user", "content": "Why?"}])
pytestmark = pytest.mark.parametrize("tiny_policy", ["qwen2"], indirect=True)


@pytest.fixture
def directory(tiny_policy, tmp_path):
    make_network(tiny_policy, 3).save_pretrained(tmp_path)
    tiny_policy.tokenizer.save_pretrained(tmp_path)
    return tmp_path


def scores(directory, *texts, example=ASKED, **options):
    rollouts = [Rollout(example, Completion(text), 0) for text in texts]
    return Classifier(ClassifierConfig(path=directory, **options)).score(rollouts)


def test_only_what_the_model_shall_see_decides(directory):
    texts = ("<think>a</think>Yes.", "<think>bcd</think>Yes.", "No.")
    first, second, other = scores(directory, *texts)
    assert first == second != other
    assert all(0 < score < 1 for score in (first, second, other))
    first, second, _ = scores(directory, *texts, sees="response")
    assert first != second


def test_a_response_without_a_summary_gets_the_lowest_and_one_beyond_the_context_abstains(directory):
    assert scores(directory, "<think>never ends", "", "long " * 5000, lowest=-2.0) == [-2.0, -2.0, None]


def test_raw_scores_are_those_behind_the_sigmoid(directory):
    (raw,), (squeezed,) = scores(directory, "Yes.", scale="raw"), scores(directory, "Yes.")
    assert (raw > 0) == (squeezed > 0.5)


@pytest.mark.parametrize("text", ["\ud800", "\x00\u200b", "<|im_end|>", "</think>"])
@pytest.mark.parametrize("prompt", [ASKED.prompt, "Why?"])
def test_any_text_can_be_scored(directory, text, prompt):
    (score,) = scores(directory, text, example=Example(prompt))
    assert 0 <= score <= 1


def test_it_counts_in_a_rubric(directory):
    config = ClassifierConfig(path=directory)
    with Rubric([NamedReward("liked", 1.0, Classifier(config), config)]) as rubric:
        (score,) = rubric.score([Rollout(ASKED, Completion("Yes."), 0)])
    assert score.statuses == {"liked": "ok"}


def test_what_is_no_reward_model_is_refused(directory, tiny_policy, tmp_path):
    with pytest.raises(InputError, match="cannot be read as a sequence classifier"):
        scores(tmp_path / "absent", "a")
    network = make_network(tiny_policy, 3)
    network.config.num_labels = 2
    type(network)(network.config).save_pretrained(directory)
    with pytest.raises(InputError, match="has 2 outputs"):
        scores(directory, "a")
