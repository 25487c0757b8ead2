"""The stage with a scripted policy: what is kept, what is told, and what an interruption changes (nothing)."""

import json
from types import SimpleNamespace

import pytest

from ponder import Example
from ponder.errors import InputError, StageError


def right(example, number):
    return f"<think>sample {number}</think><answer>{example.answer}</answer>"


def first_two_right(example, number):
    return right(example, number) if number < 2 else "<think>so</think><answer>none</answer>"


def test_correct_completions_become_rows(bench):
    context = bench.context(first_two_right)
    result = bench.run(context)
    rows = bench.rows(context)
    assert result.task == context.directory / "data.jsonl"
    assert [(row["prompt"], row["provenance"]["sample"]) for row in rows[:3]] == [
        ("1 + 0 =", 0),
        ("1 + 0 =", 1),
        ("1 + 1 =", 0),
    ]
    assert rows[0]["response"] == "<think>sample 0</think><answer>1</answer>"
    assert rows[0]["answer"] == "1"
    assert len(rows) == result.metrics["kept"] == 8
    assert result.metrics["yield"] == 0.5


def test_a_row_says_where_it_is_from(bench):
    stages = {"base": SimpleNamespace(fingerprint="f" * 64)}
    context = bench.context(first_two_right, stages=stages)
    bench.run(context)
    first, second, third = bench.rows(context)[:3]
    assert (first["difficulty"], first["language"]) == (0, "en")
    assert first["provenance"] == {
        "policy": "base",
        "fingerprint": "f" * 64,
        "prompt_id": second["provenance"]["prompt_id"],
        "sample": 0,
        "seed": context.made_sampler.asked[0][2],
        "scores": {"accuracy": 1.0},
        "tokens": 2,
    }
    assert third["provenance"]["prompt_id"] != first["provenance"]["prompt_id"]


def test_a_policy_that_no_stage_made_has_no_fingerprint(bench):
    context = bench.context(first_two_right)
    bench.run(context)
    assert bench.rows(context)[0]["provenance"]["fingerprint"] is None


def test_the_funnel_counts_what_each_step_leaves(bench):
    replies = [
        ("<think>a</think><answer>{}</answer>", "length"),
        "<think>b</think><answer>wrong</answer>",
        "{}, <answer>{}</answer>",
        "<think>好的，我们算。</think><answer>{}</answer>",
        "<think>```x```</think><answer>{}</answer>",
        "<think>" + "again and " * 20 + "</think><answer>{}</answer>",
        "<think>good</think><answer>{}</answer>",
        "<think>good</think> <answer>{}</answer>",
        "<think>good</think>  <answer>{}</answer>",
    ]

    def reply(example, number):
        found = replies[number]
        text, reason = found if isinstance(found, tuple) else (found, "stop")
        return text.replace("{}", example.answer), reason

    context = bench.context(reply)
    metrics = bench.run(context, per_prompt=9).metrics
    assert bench.funnel(context) == {
        "prompts": (4, 0),
        "sampled": (36, 0),
        "finished": (32, 4),
        "correct": (28, 4),
        "format": (24, 4),
        "mixed_language": (20, 4),
        "long_paragraphs": (20, 0),
        "code_blocks": (16, 4),
        "repetition": (12, 4),
        "duplicates": (8, 4),
        "prompts_kept": (4, 0),
        "kept": (8, 0),
    }
    assert metrics["removed/repetition"] == 4
    assert [line.split() for line in context.said if "repetition" in line] == [
        ["repetition", "12", "completions", "4", "removed"]
    ]


def test_filters_run_in_the_order_that_is_asked_for_and_may_be_none(bench):
    context = bench.context(right)
    bench.run(context, filters=["duplicates", "format"])
    assert list(bench.funnel(context))[4:6] == ["duplicates", "format"]
    context = bench.context(lambda example, number: f"<answer>{example.answer}</answer>", name="other")
    assert bench.run(context, filters=[]).metrics["kept"] == 16


def test_a_completion_that_says_nothing_is_not_kept_whatever_counts_as_correct(bench):
    context = bench.context(lambda example, number: ["", " ", "<think>\n", "something"][number])
    metrics = bench.run(context, filters=[], correct_at=0.0).metrics
    assert (metrics["kept"], metrics["removed/finished"]) == (4, 12)


def test_of_one_prompt_no_more_are_kept_than_asked_for_and_the_first_ones(bench):
    context = bench.context(lambda example, number: right(example, number) if number else "none")
    bench.run(context, keep_per_prompt=2)
    assert [row["provenance"]["sample"] for row in bench.rows(context)] == [1, 2] * 4
    assert bench.funnel(context)["keep_per_prompt"] == (8, 4)


def test_the_same_response_to_another_prompt_is_no_duplicate_nor_is_it_forgotten_between_chunks(bench, listed):
    examples = [Example("one", "1"), Example("two", "1"), Example("one", "1")]
    context = bench.context(lambda example, number: "<think>so</think><answer>1</answer>")
    context.tasks["sums"] = listed(examples)
    bench.run(context, prompts_per_chunk=1, per_prompt=2)
    assert [row["prompt"] for row in bench.rows(context)] == ["one", "two"]
    assert bench.funnel(context)["prompts_kept"] == (2, 1)


def test_responses_are_rewritten_in_the_language_of_their_question(bench, listed):
    context = bench.context(lambda example, number: f"<think>4 - 1 = {number}</think><answer>3</answer>")
    context.tasks["sums"] = listed([Example("4 - 1 =", "3", {"language": "zh"}), Example("What is 4 - 1?", "3")])
    bench.run(context, rewrite="r1", per_prompt=1)
    chinese, english = bench.rows(context)
    assert chinese["response"] == "<think>\n4 - 1 = 0\n</think>\n\n答案是 \\boxed{3}。"
    assert english["response"] == "<think>\n4 - 1 = 0\n</think>\n\nThe answer is \\boxed{3}."
    assert (chinese["language"], english["language"]) == ("zh", "en")


def test_the_language_of_a_row_is_that_of_its_question_whatever_the_response_must_be_in(bench, listed):
    context = bench.context(lambda example, number: "<think>we add</think><answer>3</answer>")
    context.tasks["sums"] = listed([Example("请计算： 4 - 1 =", "3")])
    bench.run(context, language="en", rewrite="r1", per_prompt=1)
    (row,) = bench.rows(context)
    assert row["language"] == "zh"
    assert row["response"].endswith("The answer is \\boxed{3}.")


def test_what_cannot_be_rewritten_is_counted(bench):
    def reply(example, number):
        return right(example, number) if number else f"<answer>{example.answer}</answer>"

    context = bench.context(reply)
    bench.run(context, rewrite="r1", filters=[])
    assert bench.funnel(context)["rewritten"] == (12, 4)


def test_language_may_be_judged_by_the_reasoning_alone(bench):
    def reply(example, number):
        return f"<think>we add {number}</think><answer>{example.answer}</answer> 答案是对的，我们算完了"

    both = {"per_prompt": 1, "filters": ["mixed_language"]}
    assert bench.run(bench.context(reply), language_of="reasoning", **both).metrics["kept"] == 4
    with pytest.raises(StageError, match="mixed_language"):
        bench.run(bench.context(reply, name="other"), **both)


def test_a_prefilled_think_tag_belongs_to_the_response(bench, listed):
    context = bench.context(lambda example, number: f"so {number}</think><answer>1</answer>")
    context.tasks["sums"] = listed([Example("Q <think>", "1")])
    bench.run(context)
    assert bench.rows(context)[0]["response"] == "<think>so 0</think><answer>1</answer>"


def test_further_tasks_are_appended_as_they_are(bench, listed):
    talk = [Example("Hello", None, {"response": "Good day.", "kind": "talk"}), Example("Bye", "Farewell.")]
    context = bench.context(right, tasks={"talk": listed(talk)})
    metrics = bench.run(context, also=["talk"]).metrics
    first, second = bench.rows(context)[-2:]
    assert (first["prompt"], first["response"], first["kind"]) == ("Hello", "Good day.", "talk")
    assert (second["response"], second["answer"]) == ("Farewell.", "Farewell.")
    assert first["provenance"]["task"] == "talk"
    assert list(bench.funnel(context).items())[-3:] == [("kept", (16, 0)), ("appended", (2, 0)), ("rows", (18, 0))]
    assert (metrics["kept"], metrics["appended"], metrics["rows"]) == (16, 2, 18)


def test_what_is_to_be_appended_is_checked_before_anything_is_sampled(bench, listed):
    talk = [Example("Hello", None, {"response": "Good day."}), Example("Bye"), Example("Well", None, {"response": 5})]
    context = bench.context(right, tasks={"talk": listed(talk), "nothing": listed([])})
    with pytest.raises(InputError, match=r"2 of the 3 examples of task 'talk'.*the first is example 1"):
        bench.run(context, also=["talk"])
    with pytest.raises(InputError, match="task 'nothing' in `also` has no examples"):
        bench.run(context, also=["nothing"])
    assert not context.made_sampler.asked


def test_only_the_first_prompts_are_taken_when_a_limit_is_set(bench):
    context = bench.context(right)
    bench.run(context, max_prompts=2)
    assert [asked[0] for asked in context.made_sampler.asked] == [["1 + 0 =", "1 + 1 ="]]


def test_compute_counts_each_prompt_once_and_every_generated_token(bench):
    metrics = bench.run(bench.context(right)).metrics
    assert (metrics["prompt_tokens"], metrics["tokens"], metrics["mean_length"]) == (16, 32, 2)
    assert metrics["flops"] == 2 * 6 * 48


def test_curves_and_tables_reach_the_tracker(bench):
    context = bench.context(first_two_right)
    metrics = bench.run(context).metrics
    assert context.logged == [
        ({"kept": 6.0, "yield": 0.5}, 0),
        ({"kept": 8.0, "yield": 0.5}, 1),
        (metrics, None),
    ]
    assert context.artifacts == ["data.jsonl", "funnel.json"]


def test_a_killed_stage_asks_nothing_twice_and_ends_with_the_same_bytes(bench):
    whole = bench.context(first_two_right, name="whole")
    expected = bench.run(whole)
    with pytest.raises(KeyboardInterrupt):
        bench.run(bench.context(first_two_right, name="killed", killed_after=1))
    resumed = bench.context(first_two_right, name="killed")
    assert bench.run(resumed).metrics == expected.metrics
    assert resumed.logged == whole.logged
    assert [asked[0] for asked in resumed.made_sampler.asked] == [["1 + 3 ="]]
    assert resumed.made_rubric.scored == 4
    for name in ("data.jsonl", "funnel.json"):
        assert (resumed.directory / name).read_bytes() == (whole.directory / name).read_bytes()


def test_a_sampler_that_dies_half_way_is_told_with_what_is_kept(bench, scripted):
    whole = bench.context(first_two_right, name="whole")
    bench.run(whole)
    dying = bench.context(None, name="dying", sampler=scripted(first_two_right, dies_at=1))
    with pytest.raises(StageError) as failure:
        bench.run(dying)
    assert "sampler 'hot' failed on prompts 3 to 3 of task 'sums': ConnectionError: the server is gone" in str(
        failure.value
    )
    assert "The 12 completions of the 3 prompts before are kept; the same command continues there" in str(failure.value)
    again = bench.context(first_two_right, name="dying")
    bench.run(again)
    assert len(again.made_sampler.asked) == 1
    assert (again.directory / "data.jsonl").read_bytes() == (whole.directory / "data.jsonl").read_bytes()


def test_a_sampler_that_returns_too_few_is_named(bench, scripted):
    class Short(scripted):
        def sample(self, policy, examples, n, seed):
            return super().sample(policy, examples, n - 1, seed)

    with pytest.raises(StageError, match=r"asked for 4 completions of each of 3 prompts and returned \[3, 3, 3\]"):
        bench.run(bench.context(None, sampler=Short(right)))


def test_keeping_nothing_is_an_error_with_the_whole_funnel(bench):
    def reply(example, number):
        return right(example, number).replace("sample", "```") if number == 0 else ("cut off", "length")

    with pytest.raises(StageError) as failure:
        bench.run(bench.context(reply))
    message = str(failure.value)
    assert "stage 'curated' keeps none of 16 completions of 4 prompts" in message
    assert "finished removed the most, 12 of 16: give the sampler a larger max_new_tokens" in message
    assert "code_blocks removed all 4 that were left" in message
    assert "The first response it removed: 'cut off'" in message
    for step in ("prompts", "sampled", "finished", "correct", "format", "duplicates"):
        assert f"\n  {step} " in message


def test_nothing_that_was_drawn_is_lost_when_nothing_is_kept(bench):
    for _ in range(2):
        context = bench.context(lambda example, number: "wrong")
        with pytest.raises(StageError, match="the same command draws none of them again"):
            bench.run(context)
    assert not context.made_sampler.asked


def test_a_low_yield_is_a_warning_with_counts(bench):
    def reply(example, number):
        return (
            right(example, number) if (example.answer, number) == ("1", 0) else "<think>so</think><answer>no</answer>"
        )

    context = bench.context(reply, prompts=8)
    bench.run(context)
    warning = next(line for line in context.said if "keeps only" in line)
    assert "keeps only 1 of 32 completions (3.1%); correct removed the most, 31" in warning


def test_completions_without_a_score_are_counted_as_not_correct(bench):
    context = bench.context(lambda example, number: right(example, number) if number else "unclear")
    metrics = bench.run(context).metrics
    assert (metrics["unscored"], metrics["kept"]) == (4, 12)
    assert any("gave no score to 4 of 16 completions; they count as not correct" in line for line in context.said)


def test_without_prompts_there_is_nothing_to_sample(bench):
    with pytest.raises(InputError, match="task 'sums' has no examples"):
        bench.run(bench.context(right, prompts=0))


def test_without_rewards_nothing_can_be_correct(bench):
    with pytest.raises(InputError, match="rewards is empty"):
        bench.run(bench.context(right), rewards=[])


def test_hostile_completions_and_metadata_are_written_as_json_that_can_be_read(bench, listed):
    context = bench.context(
        lambda example, number: f"<think>so \ud800\u2028\x00</think><answer>{example.answer}</answer>"
    )
    metadata = {"response": "old", "provenance": "old", "object": object(), "nan": float("nan"), "set": {1}}
    context.tasks["sums"] = listed([Example("Q", "1", metadata)])
    bench.run(context, per_prompt=1, filters=["format", "repetition", "duplicates"])
    (row,) = (json.loads(line) for line in (context.directory / "data.jsonl").read_text().split("\n")[:-1])
    assert row["response"] == "<think>so ?\u2028\x00</think><answer>1</answer>"
    assert row["provenance"]["policy"] == "base"
    assert (row["nan"], row["set"]) == (None, [1])
