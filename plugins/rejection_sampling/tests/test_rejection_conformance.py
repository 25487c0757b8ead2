"""The stage of this plugin keeps what every stage promises."""

from ponder.testing import StageSuite


class TestRejectionSampling(StageSuite):
    type = "rejection_sampling"
    kills = 1
    options = {
        "per_prompt": 2,
        "correct_at": 0.0,
        "filters": ["duplicates"],
        "prompts_per_chunk": 4,
        "sampler": {"type": "stand_in", "max_new_tokens": 24},
    }
