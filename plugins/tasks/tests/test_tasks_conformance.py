"""The tasks and rewards of this plugin keep what every task and reward promises."""

from ponder import Example
from ponder.testing import RewardSuite, TaskSuite

PAGES = [Example(f"Page {number} is about the number {number}.", str(number)) for number in range(12)]


class TestJsonl(TaskSuite):
    type = "jsonl"
    options = {"path": "conformance.jsonl", "as_chat": True}
    cases = (Example([{"role": "user", "content": "1 + 1"}], "2", {"level": 1}),)


class TestReasoningGym(TaskSuite):
    type = "reasoning_gym"
    options = {"dataset": "chain_sum", "size": 40, "split": "train", "difficulty": "num_terms"}


class TestMiniWeb(TaskSuite):
    type = "mini_web"
    options = {"documents": 200}
    repeats = True


class TestMiniInstructions(TaskSuite):
    type = "mini_instructions"


class TestMiniPreferences(TaskSuite):
    type = "mini_preferences"


class TestMixture(TaskSuite):
    type = "mixture"
    options = {"parts": ["pages", "mini_instructions"], "ratio": [2, 1]}
    tasks = {"pages": PAGES}


class TestDeduplicated(TaskSuite):
    type = "deduplicated"
    options = {"task": "pages"}
    tasks = {"pages": [*PAGES, *PAGES]}


class TestDecontaminated(TaskSuite):
    type = "decontaminated"
    options = {"task": "pages", "against": ["exam"]}
    tasks = {"pages": PAGES, "exam": PAGES[:2]}


class TestReasoningGymReward(RewardSuite):
    type = "reasoning_gym"
    bounds = (0.0, 1.0)


class TestMiniInstructionsReward(RewardSuite):
    type = "mini_instructions"
    bounds = (0.0, 1.0)
