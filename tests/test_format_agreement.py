"""What an evaluation counts as formatted is what the reward `format` pays for."""

from hypothesis import given
from hypothesis import strategies as st

from ponder import Completion, Example
from ponder_evaluation.samples import is_formatted
from ponder_rewards import FormatConfig
from ponder_rewards.format import Format

pieces = st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", " ", "\n", "x", "<think", "answer>"])
parts = st.lists(pieces, max_size=3).map("".join)
responses = st.lists(pieces, max_size=10).map("".join)
nearly = st.builds("{}<think>{}</think>{}<answer>{}</answer>{}".format, parts, parts, parts, parts, parts)


@given(responses | nearly, st.sampled_from(["1 + 1", "1 + 1 <think>\n"]))
def test_the_format_rate_is_the_mean_of_the_format_reward(text, prompt):
    example, completion = Example(prompt, "2"), Completion(text)
    assert is_formatted(example, completion) == (Format(FormatConfig())(example, completion) == 1.0)
