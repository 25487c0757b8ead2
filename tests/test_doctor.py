"""`ponder doctor` on recipes that are broken on purpose, each in one way."""

import json
from pathlib import Path

import pytest

from ponder.cli import main

PLUGIN = Path(__file__).parent / "data" / "ill_plugin.py"
RECIPE = """
name: ill
policies:
  base: {type: deepseek, preset: tiny}
tasks:
  sums: {type: jsonl, path: sums.jsonl}
  exam: {type: jsonl, path: exam.jsonl}
samplers:
  rollouts: {type: fast, max_new_tokens: 16}
rewards:
  accuracy: {type: accuracy}
  format: {type: format}
stages:
  zero: {type: grpo, policy: base, task: sums, rewards: [accuracy, format], sampler: rollouts, prompts_per_step: 2, group_size: 2}
"""


FORMAT_ALONE = "stages.zero.rewards=[format]"


def rows(*answers, about="number {}"):
    questions = [f"What is it, {about.format(place)}?" for place in range(len(answers))]
    lines = [
        {"prompt": [{"role": "user", "content": question}], "answer": answer}
        for question, answer in zip(questions, answers, strict=True)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys):
    """Examines the recipe with overrides; the findings that are problems, by check."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ill.yaml").write_text(RECIPE)
    (tmp_path / "sums.jsonl").write_text(rows("4", "1/2", "seven", "12"))
    (tmp_path / "exam.jsonl").write_text(rows("4", about="exam {}"))

    def examine(*overrides):
        code = main(["doctor", "ill.yaml", "--json", "--plugin", str(PLUGIN), *overrides])
        found = json.loads(capsys.readouterr().out)
        problems: dict[str, str] = {}
        for item in found["findings"]:
            if item["severity"] == "problem":
                problems[item["check"]] = f"{problems.get(item['check'], '')}{item['text']}\n"
        assert code == (1 if problems else 0)
        assert found["healthy"] is not bool(problems)
        return problems

    return examine


def test_a_sound_recipe_has_no_problem(doctor):
    assert doctor() == {}


def test_a_reward_for_tags_that_the_template_never_has(doctor):
    found = doctor("policies.base.chat_template=r1", "rewards.format={type: bare}", FORMAT_ALONE)
    assert "reward 'format' gives 0.0 to every response" in found["full_marks"]


def test_a_reference_answer_that_its_own_reward_rejects(doctor, tmp_path):
    (tmp_path / "sums.jsonl").write_text(rows("4", "it </answer> is", "12", "13"))
    found = doctor("rewards.accuracy={type: exact}")
    assert "rejects the reference answer of 1 of 4 examples" in found["full_marks"]
    assert "example 1: 'it </answer> is'" in found["full_marks"]


def test_a_reward_that_takes_the_question_for_its_answer(doctor, tmp_path):
    sums = [{"prompt": f"What is {one} + 4?", "answer": str(one + 4)} for one in range(4)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(line) + "\n" for line in sums))
    assert doctor() == {}
    found = doctor("rewards.accuracy={type: adding}")
    assert "full marks to a response that only repeats the question, in 4 of 4 examples" in found["full_marks"]
    assert "(the first is example 0, 'What is 0 + 4?')" in found["full_marks"]


def test_every_part_of_a_mixture_is_looked_at(doctor, tmp_path):
    """Parts come in turn; every fourth example would be of one part alone."""
    mixed = RECIPE.replace(
        "task: sums", "task: {type: mixture, parts: [sums, talk], ratio: [3, 1], size: 400, repeat: true}"
    ).replace("samplers:", "  talk: {type: jsonl, path: talk.jsonl}\nsamplers:")
    (tmp_path / "ill.yaml").write_text(mixed)
    (tmp_path / "talk.jsonl").write_text(
        "".join(json.dumps({"prompt": f"Say hello, {name}!"}) + "\n" for name in "abc")
    )
    wrong_part = doctor("rewards.accuracy.tasks=[talk]", "rewards.format.tasks=[sums]")
    assert "'accuracy' abstains on every right answer to 8 examples" in wrong_part["full_marks"]
    assert doctor("rewards.accuracy.tasks=[sums]", "rewards.format.tasks=[talk]") == {}


def test_end_and_padding_of_one_token(doctor):
    assert "the same token" in doctor("policies.base.type=endless", FORMAT_ALONE)["tokenizer"]


def test_groups_that_do_not_fill_a_batch(doctor):
    assert "multiple of minibatches" in doctor("stages.zero.minibatches=4")["recipe"]


def test_a_sampler_that_tells_other_log_probabilities(doctor):
    assert "nats a token away" in doctor("samplers.rollouts.type=hot", FORMAT_ALONE)["sampler"]


def test_a_sampler_without_a_seed(doctor):
    assert "other completions for the same seed" in doctor("samplers.rollouts.type=unseeded", FORMAT_ALONE)["sampler"]


def test_a_sampler_that_leaves_out_the_prefilled_tag(doctor):
    found = doctor(
        "policies.base.chat_template=r1", "samplers.rollouts.type=silent", "rewards.format.style=r1", FORMAT_ALONE
    )
    assert "begins every answer with '<think>" in found["sampler"]


def test_a_reward_without_spread(doctor):
    assert "it has no spread" in doctor("rewards.format={type: constant}", FORMAT_ALONE)["full_marks"]


PENALISED = "stages.zero.rewards=[accuracy, format, {type: soft_overlong, max_length: 16000, buffer: 4000}]"


def test_a_penalty_for_length_that_no_short_response_meets_is_no_problem(doctor, capsys):
    assert doctor(PENALISED, "samplers.rollouts.max_new_tokens=16000") == {}
    main(["doctor", "ill.yaml", PENALISED, "samplers.rollouts.max_new_tokens=16000"])
    assert "punish" not in capsys.readouterr().out


def test_a_penalty_for_lengths_that_the_stage_never_draws_is_a_warning(doctor, capsys):
    assert doctor(PENALISED) == {}
    main(["doctor", "ill.yaml", PENALISED])
    assert "gives 0.0 to every response of up to 16 tokens, and the stage draws none" in capsys.readouterr().out


@pytest.mark.parametrize("penalty", ["length", "cosine_length"])
def test_a_length_reward_that_prefers_right_answers_but_never_gives_full_marks_is_no_problem(doctor, penalty):
    assert doctor(f"stages.zero.rewards=[accuracy, format, {{type: {penalty}}}]") == {}


def test_a_reward_on_another_scale_that_likes_nothing_better_than_wrong_answers(doctor):
    found = doctor("rewards.accuracy={type: halved}")
    assert "reward 'accuracy' rejects the reference answer of 4 of 4 examples" in found["full_marks"]


def test_exam_problems_among_those_that_are_learnt_from(doctor, tmp_path):
    text = RECIPE + "  graded: {type: evaluate, policy: zero, task: exam, rewards: [accuracy], sampler: rollouts}\n"
    (tmp_path / "ill.yaml").write_text(text)
    assert doctor() == {}
    (tmp_path / "exam.jsonl").write_text((tmp_path / "sums.jsonl").read_text())
    assert "4 of the 4 problems of task 'exam' are in task 'sums'" in doctor()["contamination"]


def test_a_reward_that_depends_on_the_order_of_calls(doctor):
    assert "in another order" in doctor("rewards.format={type: counting}", FORMAT_ALONE)["order"]


def test_rewards_that_ask_for_different_formats(doctor):
    found = doctor("stages.zero.rewards=[accuracy, format, other]", "rewards.other={type: format, style: r1}")
    assert "no response gets full marks from all rewards" in found["full_marks"]


def test_responses_that_the_template_would_not_let_begin(doctor, tmp_path):
    text = RECIPE + "  taught: {type: sft, policy: base, task: sums, chat_template: r1}\n"
    (tmp_path / "ill.yaml").write_text(text)
    assert "begins the response with" in doctor()["conversations"]


SOUND = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "check", "text"),
    [
        (SOUND, None, ""),
        ("\n{% for m in messages %}", "recipe", "turns.jinja, line 2: this is not a Jinja template"),
        ("{{ raise_exception('no') }}", "tokenizer", "turns.jinja, line 1: the template fails"),
        (SOUND.replace("m.content", "'hello'"), "tokenizer", "turns.jinja leaves the question out of the prompt"),
    ],
)
def test_the_template_in_a_stages_file_is_looked_at(doctor, tmp_path, template, check, text):
    stage = "  taught: {type: sft, policy: base, task: sums, chat_template_file: turns.jinja}\n"
    (tmp_path / "ill.yaml").write_text(RECIPE + stage)
    (tmp_path / "turns.jinja").write_text(template)
    found = doctor()
    assert set(found) == ({check} if check else set())
    assert not check or f"chat_template_file {tmp_path}/{text}" in found[check]


def test_a_failure_that_many_checks_meet_is_told_once(doctor, tmp_path):
    (tmp_path / "turns.jinja").write_text("{{ raise_exception('no') }}")
    found = doctor("policies.base={type: causal_lm, preset: qwen2_tiny, chat_template_file: turns.jinja}")
    assert set(found) == {"tokenizer"}


def test_a_length_limit_that_no_response_with_full_marks_fits_into(doctor):
    found = doctor("samplers.rollouts.max_new_tokens=2")
    assert "in 4 of 4 examples no response that gets full marks fits into max_new_tokens (2)" in found["length"]
    assert "take 5 tokens (example 0, answer '4')" in found["length"]


def test_a_limit_that_grows_to_what_the_rewards_ask_for_is_enough(doctor):
    later = "stages.zero.length_limits=[{step: 2, max_new_tokens: 64}]"
    assert doctor("samplers.rollouts.max_new_tokens=2", later) == {}


def test_an_exam_that_asks_for_more_than_full_marks(doctor, tmp_path):
    stage = (
        "  graded: {type: evaluate, policy: zero, task: exam, rewards: [accuracy], sampler: rollouts, correct_at: 7}\n"
    )
    (tmp_path / "ill.yaml").write_text(RECIPE + stage)
    text = "correct_at is 7, and the most that a right answer gets from 'accuracy' is 1"
    assert text in doctor()["correct_at"]


def test_a_schedule_for_a_part_that_the_task_does_not_have(doctor, tmp_path):
    mixed = RECIPE.replace("task: sums", "task: {type: mixture, parts: [sums, exam]}")
    (tmp_path / "ill.yaml").write_text(mixed)
    one = "stages.zero.prompts_per_step=1"
    assert doctor(one, "stages.zero.task_from={exam: 1}") == {}
    found = doctor(one, "stages.zero.task_from={exan: 1}")
    assert "task_from names 'exan'" in found["parts"]
    assert "did you mean 'exam'?" in found["parts"]


def test_prompts_that_fill_the_context_of_the_policy(doctor, tmp_path):
    (tmp_path / "sums.jsonl").write_text(rows("4", "12", "7") + rows("9", about="again " * 2000))
    found = doctor("stages.zero.task=sums", FORMAT_ALONE)
    assert "1 of 4 examples have a prompt that fills the model's context" in found["prompts"]
    assert "the first is example 3" in found["prompts"]


def test_a_reward_that_always_hangs_is_told_once(doctor):
    found = doctor("rewards.format={type: hanging}", FORMAT_ALONE)
    assert set(found) == {"full_marks"}
    assert "reward 'format'" in found["full_marks"]
    assert "2 time-outs" in found["full_marks"]


def test_a_reward_that_hangs_on_some_texts_is_found_out_on_the_first_example(doctor):
    found = doctor("rewards.format={type: hanging, at: purple}", FORMAT_ALONE)
    assert "reward 'format' hit its time limit on 3 of the first 16 responses" in found["full_marks"]


def test_what_is_still_to_be_made_is_said_and_is_no_problem(doctor, tmp_path, capsys):
    text = (
        RECIPE
        + "  drawn: {type: rejection_sampling, policy: zero, task: sums, rewards: [accuracy], sampler: rollouts}\n"
    )
    (tmp_path / "ill.yaml").write_text(text + "  taught: {type: sft, policy: base, task: drawn}\n")
    assert doctor() == {}
    main(["doctor", "ill.yaml", "--stage", "taught"])
    assert "it is about what stage 'drawn' has still to make" in capsys.readouterr().out


def test_an_unknown_stage_is_an_error_with_a_hint(doctor, capsys):
    assert main(["doctor", "ill.yaml", "--stage", "zerro"]) == 2
    assert "did you mean 'zero'" in capsys.readouterr().err


def test_for_people_it_prints_questions_findings_and_a_count(doctor, capsys):
    assert main(["doctor", "ill.yaml", "--plugin", str(PLUGIN), "rewards.format={type: constant}"]) == 1
    printed = capsys.readouterr().out
    assert "Do the rewards give the same scores in any order?" in printed
    assert "What to do:" in printed
    assert printed.splitlines()[-1].startswith("1 problem, ")
