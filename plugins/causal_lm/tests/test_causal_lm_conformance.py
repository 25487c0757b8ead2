"""The policy of this plugin keeps what every policy promises."""

from ponder import Example
from ponder.testing import PolicySuite

PAGES = [Example(f"Question: what is {n} + {n}?\nAnswer: {2 * n}") for n in range(100)]


class TestQwen2(PolicySuite):
    type = "causal_lm"
    options = {"preset": "qwen2_tiny", "corpus": "pages", "vocab_size": 400, "chat_template": "r1"}
    tasks = {"pages": PAGES}


class TestLlama(PolicySuite):
    type = "causal_lm"
    options = {"preset": "llama_tiny"}
