"""The task and the reward `verifiers`, on a taskset written here; most need the package verifiers, which is not among our requirements."""

import sys
from importlib.util import find_spec

import pytest

from ponder import Completion, Example
from ponder.errors import InputError
from ponder_tasks import VerifiersConfig, VerifiersRewardConfig
from ponder_tasks.verifiers_tasks import Verifiers, VerifiersReward

TASKSET = """
import verifiers.v1 as vf

__all__ = ["Additions"]


class AdditionData(vf.TaskData):
    answer: int


class Addition(vf.Task[AdditionData, vf.State, vf.TaskConfig]):
    NEEDS_CONTAINER = {container}

    @vf.reward(weight=2.0)
    async def right(self, task, trace) -> float:
        return float(trace.last_reply == str(task.answer))

    @vf.reward(weight=0.5)
    async def short(self, trace) -> float:
        return float(len(trace.messages) == 3 and len(trace.last_reply) < 10)


class AdditionsConfig(vf.TasksetConfig):
    count: int = 30
    asks: str | None = "ask"


class Additions(vf.Taskset[Addition, AdditionsConfig]):
    INFINITE = {infinite}

    def load(self):
        for one in range(self.config.count):
            prompt = self.config.asks and f"{{self.config.asks}} {{one}} + 1"
            data = AdditionData(prompt=prompt, system_prompt="Be short.", answer=one + 1)
            yield Addition(data, self.config.task)
"""

needs_package = pytest.mark.skipif(find_spec("verifiers") is None, reason="verifiers is not installed")


@pytest.fixture
def taskset(tmp_path, monkeypatch):
    """Writes an installed taskset package and returns its name."""

    def write(container=False, infinite=False):
        (tmp_path / "sums_of_ours.py").write_text(TASKSET.format(container=container, infinite=infinite))
        monkeypatch.syspath_prepend(str(tmp_path))
        return "ponder/sums-of-ours"

    yield write
    sys.modules.pop("sums_of_ours", None)


def examples(name, **options):
    return list(Verifiers(VerifiersConfig(taskset=name, **options)).examples())


def scored(name, example, text):
    reward = VerifiersReward(VerifiersRewardConfig(taskset=name))
    reward.warm_up()
    return reward(example, Completion(text))


@needs_package
def test_a_task_is_its_messages_with_its_answer_and_its_data(taskset):
    name = taskset()
    found = examples(name, size=3, options={"count": 9})
    assert [example.answer for example in found] == ["1", "2", "3"]
    assert found[1].prompt == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "ask 1 + 1"}]
    assert found[1].metadata["verifiers"]["data"]["answer"] == 2
    assert len(examples(name)) == 30


@needs_package
def test_the_sides_of_the_split_have_nothing_in_common_and_leave_nothing_out(taskset):
    name = taskset()
    sides = [
        {example.answer for example in examples(name, split=split, held_out_percent=40)}
        for split in ("train", "held_out")
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 30


@needs_package
@pytest.mark.parametrize(("text", "score"), [("4", 2.5), ("5", 0.5), ("it is far more than that", 0.0)])
def test_the_score_is_the_weighted_sum_of_its_own_rewards(taskset, text, score):
    name = taskset()
    assert scored(name, examples(name)[3], text) == score


@needs_package
def test_examples_of_other_tasks_are_not_judged(taskset):
    assert scored(taskset(), Example("1 + 1", "2"), "2") is None


@needs_package
@pytest.mark.parametrize(
    ("made", "options", "complaint"),
    [
        ({"container": True}, {}, "needs a container"),
        ({}, {"options": {"asks": None}}, "needs a user who begins"),
        ({"infinite": True}, {}, "never ends: say with `size`"),
        ({}, {"options": {"count": "many"}}, "cannot load the taskset"),
        ({}, {"options": {"count": 0}}, "has no task in the split"),
    ],
)
def test_what_one_answer_does_not_solve_is_refused(taskset, made, options, complaint):
    with pytest.raises(InputError, match=complaint):
        examples(taskset(**made), **options)


@needs_package
def test_a_taskset_that_is_not_installed_is_said():
    with pytest.raises(InputError, match=r"cannot load the taskset 'no-such-thing'.*not found"):
        examples("no-such-thing")


def test_a_missing_package_is_said_with_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "verifiers", None)
    for name in [name for name in sys.modules if name.startswith("verifiers.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"pip install 'verifiers>=0\.4'"):
        examples("anything")


@pytest.mark.parametrize("options", [{"size": -1}, {"held_out_percent": 101.0}])
def test_sizes_and_shares_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        VerifiersConfig(taskset="any", **options)
