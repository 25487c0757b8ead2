"""The reward made from a reward model: what it sees, its scales, and hostile completions."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ponder import Completion, Example, Rollout
from ponder.errors import InputError
from ponder.rubric import NamedReward, Rubric
from ponder_trl.preference import Preference
from ponder_trl.reward_configs import PreferenceConfig
from ponder_trl.reward_network import Card, RewardNetwork, make_network, scores_of

ASKED = Example([{"role": "user", "content": "Why?"}])
MEAN, STD, LOWEST = 0.2, 0.5, -1.5


@pytest.fixture
def stage(tiny_policy, tmp_path):
    """A function that makes a finished stage with a network that has learnt nothing."""

    def make(sees="summary", kind="pairwise", type="reward_model"):
        network = RewardNetwork(
            make_network(tiny_policy, 3), tiny_policy.tokenizer, Card(kind, sees, MEAN, STD, LOWEST)
        )
        network.save(tmp_path / "reward_model")
        return lambda name: SimpleNamespace(name=name, type=type, directory=tmp_path)

    return make


def rollout(text, example=ASKED):
    return Rollout(example, Completion(text), 0)


def scores(reward, *texts):
    return reward.score([rollout(text) for text in texts])


def preference(stage, **options):
    return Preference(PreferenceConfig(model="liked", **options), stage)


QWEN = pytest.mark.parametrize("tiny_policy", ["qwen2"], indirect=True)


def test_a_loaded_network_scores_as_the_one_that_was_saved(stage, tiny_policy, tmp_path):
    saved = make_network(tiny_policy, 3)
    stage()
    loaded = RewardNetwork.load(tmp_path / "reward_model").model
    sequences = [[5, 6, 7, 0], [5, 0], [9] * 20 + [0]]
    assert scores_of(loaded, sequences, 2) == pytest.approx(scores_of(saved, sequences, 2), abs=1e-5)


def test_the_network_keeps_the_policys_layers_and_padding_changes_no_score(tiny_policy):
    network = make_network(tiny_policy, 3)
    before = tiny_policy.model.base_model.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.base_model.state_dict().items())
    alone = scores_of(network, [[5, 6, 0]], 1)
    together = scores_of(network, [[5, 6, 0], [7] * 30 + [0]], 2)
    assert together[0] == pytest.approx(alone[0], abs=1e-5)


@QWEN
def test_only_the_summary_is_seen(stage):
    reward = preference(stage("summary"))
    first, second, other = scores(reward, "<think>a</think>Yes.", "<think>bcd</think>\n\nYes.", "<think>a</think>No.")
    assert first == second != other


@QWEN
def test_the_whole_response_is_seen(stage):
    reward = preference(stage("response"))
    first, second = scores(reward, "<think>a</think>Yes.", "<think>bcd</think>Yes.")
    assert first != second


@QWEN
@pytest.mark.parametrize(("scale", "lowest"), [("sigmoid", 0.0), ("normalised", -3.0), ("raw", LOWEST)])
def test_a_response_without_a_summary_scores_the_minimum(stage, scale, lowest):
    assert scores(preference(stage(), scale=scale), "<think>Yes.", "", "<think>a</think> ") == [lowest] * 3


@QWEN
def test_scales_follow_from_the_raw_score(stage):
    made = stage()
    raw, normalised, sigmoid = (
        scores(preference(made, scale=scale), "Yes.")[0] for scale in ("raw", "normalised", "sigmoid")
    )
    assert normalised == pytest.approx((raw - MEAN) / STD)
    assert sigmoid == pytest.approx(1 / (1 + math.exp(-normalised)))


@QWEN
def test_the_score_of_a_pointwise_model_is_a_probability(stage):
    made = stage(kind="pointwise")
    raw, sigmoid = (scores(preference(made, scale=scale), "Yes.")[0] for scale in ("raw", "sigmoid"))
    assert sigmoid == pytest.approx(1 / (1 + math.exp(-raw)))


@QWEN
def test_what_exceeds_the_models_context_is_abstained_from(stage):
    reward = preference(stage())
    assert scores(reward, "a" * 400)[0] is None
    long_prompt = Example([{"role": "user", "content": "a" * 400}])
    assert reward.score([rollout("Yes.", long_prompt), rollout("Yes.")])[0] is None


@QWEN
def test_scores_come_in_the_order_of_the_rollouts_whatever_the_batch(stage):
    made = stage()
    texts = [f"{'x' * (7 * n % 11)} {n}" for n in range(9)]
    together = scores(preference(made, batch_size=4), *texts)
    assert together == pytest.approx([scores(preference(made), text)[0] for text in texts], abs=1e-5)
    assert preference(made).score([]) == []


@QWEN
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60) | st.text("<>/think eos\ud800\x00", max_size=60))
def test_no_text_makes_it_fail(stage, text):
    score = scores(preference(stage("response")), text)[0]
    assert score is not None and 0 <= score <= 1


@QWEN
def test_a_rubric_scores_with_it_in_this_process(stage):
    config = PreferenceConfig(model="liked", weight=2.0)
    with Rubric([NamedReward("helpful", 2.0, Preference(config, stage()), config)]) as rubric:
        (score,) = rubric.score([rollout("Yes.")])
    assert score.statuses == {"helpful": "ok"}
    assert score.total == pytest.approx(2 * (score.parts["helpful"] or 0))


@QWEN
def test_another_kind_of_stage_is_refused(stage):
    with pytest.raises(InputError, match="a stage of type sft: name one of type reward_model"):
        preference(stage(type="sft"))


def test_a_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no reward model"):
        RewardNetwork.load(tmp_path)


def test_a_batch_holds_at_least_one_response():
    with pytest.raises(ValueError, match="batch_size"):
        PreferenceConfig(model="liked", batch_size=0)
