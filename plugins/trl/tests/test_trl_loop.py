"""What the loop does to a policy beside training it, and the learning rate as a function of the step."""

import logging

import datasets
import pytest
import transformers

from ponder import Example
from ponder_trl import SftConfig
from ponder_trl.schedule import constant, cosine
from ponder_trl.sft import Sft


class PlainContext:
    """A stage's context that keeps nothing."""

    name, seed = "sft", 5

    def __init__(self, directory, policy):
        self.directory, self._policy = directory, policy
        self.logged, self.said = [], []
        self.levels = []

    def policy(self, name):
        return self._policy

    def task(self, name):
        return self

    def examples(self):
        return [Example([{"role": "user", "content": f"{i}?"}], str(i)) for i in range(6)]

    def steps(self, total, state=None, **_):
        yield from range(total)

    def log(self, metrics, step):
        self.logged.append(metrics)
        self.levels.append(transformers.logging.get_verbosity())

    def timing(self, measurements, step):
        self.timed = measurements

    def say(self, message):
        self.said.append(message)


@pytest.fixture
def trained(tiny_policy, tmp_path):
    """A context whose policy has been trained for four steps."""
    context = PlainContext(tmp_path, tiny_policy)
    tiny_policy.before = {name: tensor.clone() for name, tensor in tiny_policy.model.state_dict().items()}
    context.result = Sft(SftConfig(policy="base", task="rows", batch_size=3, learning_rate=1e-2)).run(context)
    return context


def test_every_step_is_a_version_of_the_policy(trained, tiny_policy):
    assert len(trained.logged) == tiny_policy.version == 4


def test_the_model_is_left_as_it_was_but_for_its_weights(trained, tiny_policy):
    model = tiny_policy.model
    assert model.config.use_cache
    assert "forward" not in vars(model)
    assert not model.training
    after = model.state_dict()
    assert any(not after[name].equal(tensor) for name, tensor in tiny_policy.before.items())


def test_other_libraries_are_silent_only_while_they_train(trained):
    assert set(trained.levels) == {transformers.logging.ERROR}
    assert transformers.logging.get_verbosity() == transformers.logging.WARNING
    assert logging.getLogger("trl").level != logging.ERROR
    assert not datasets.are_progress_bars_disabled()


def test_nothing_but_the_policy_is_written(trained):
    assert [path.name for path in trained.directory.iterdir()] == ["policy"]


def test_speed_goes_to_the_timings_and_not_to_the_metrics(trained):
    assert set(trained.timed) == {"seconds/train", "tokens_per_second"}
    assert set(trained.logged[0]) == {"loss", "learning_rate", "grad_norm", "skipped", "token_accuracy", "entropy"}


def test_the_cosine_falls_from_the_peak_to_its_share_in_the_last_step():
    rates = [cosine(5e-6, 0.1, 0, 101)(step) for step in range(101)]
    assert rates[0] == 5e-6
    assert rates[50] == pytest.approx(5e-6 * 0.55)
    assert rates[100] == pytest.approx(5e-7)
    assert rates == sorted(rates, reverse=True)


def test_the_warm_up_rises_to_the_peak():
    rates = [cosine(1.0, 0.1, 4, 20)(step) for step in range(20)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[-1] == pytest.approx(0.1)
    assert [constant(1.0, 2)(step) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    assert constant(1.0, 0)(0) == 1.0


@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (5, 3), (3, 3), (3, 4)])
def test_runs_shorter_than_their_warm_up_have_a_learning_rate_above_0(warmup, steps):
    assert all(0 < cosine(1.0, 0.1, warmup, steps)(step) <= 1 for step in range(steps))
