"""The stage in real runs: the student comes nearer to the teacher, and what interrupts it changes nothing."""

import json

import pytest
import torch
from safetensors.torch import load_file

from ponder.errors import InputError, StageError
from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder_trl.answers import Answers
from ponder_trl.distillation_config import OnPolicyDistillationConfig

RECIPE = """
policies:
  student: {student}
  teacher: {teacher}
tasks:
  sums: {{type: jsonl, path: rows.jsonl, as_chat: true}}
samplers:
  short: {{type: fast, temperature: 1.0, max_new_tokens: 6}}
stages:
  distilled: {{type: on_policy_distillation, policy: student, teacher: {of}, task: sums, sampler: short, {sizes},
    learning_rate: 1.0e-2{options}}}
"""
STUDENT = "{type: causal_lm, preset: qwen2_tiny}"
TEACHER = "{type: causal_lm, preset: qwen2_tiny, init_std: 0.3}"
SIZES = "steps: 4, prompts_per_step: 4"


@pytest.fixture
def run(tmp_path, write_rows):
    def run(
        runs="runs",
        *,
        options="",
        sizes=SIZES,
        student=STUDENT,
        teacher=TEACHER,
        response="<think>\n7</think> 7",
        of="teacher",
    ):
        rows = [{"prompt": f"{n} + 1 = ?", **({"response": response} if response else {})} for n in range(8)]
        write_rows(rows)
        recipe = RECIPE.format(options=options, sizes=sizes, student=student, teacher=teacher, of=of)
        (tmp_path / "small.yaml").write_text(recipe)
        registry = load_registry()
        with torch.random.fork_rng():
            loaded = load_recipe(tmp_path / "small.yaml", [], registry)
            outcome = run_recipe(loaded, registry, tmp_path / runs, Display())
        return outcome.stages[-1].directory

    return run


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def result(directory):
    return json.loads((directory / "result.json").read_text())["metrics"]


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_divergence_from_the_teacher_falls(run, beta):
    losses = [line["loss"] for line in lines(run(sizes="steps: 24, prompts_per_step: 8", options=f", beta: {beta}"))]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert min(losses) > 0


def test_answers_of_the_task_are_learnt_from_too(run):
    losses = [line["loss"] for line in lines(run(sizes="steps: 15, prompts_per_step: 8", options=", on_policy: 0.0"))]
    assert losses[-1] < 0.8 * losses[0]


def test_a_line_tells_what_was_drawn_and_the_result_what_it_cost(run):
    directory = run(options=", on_policy: 0.25, warmup_steps: 2")
    curve = lines(directory)
    assert [line["step"] for line in curve] == [0, 1, 2, 3]
    assert [line["learning_rate"] for line in curve] == [5e-3, 1e-2, 1e-2, 1e-2]
    assert all({"loss", "grad_norm", "entropy", "response_length", "truncated"} <= line.keys() for line in curve)
    assert all(1 <= line["response_length"] <= 6 for line in curve)
    assert {"loss", "entropy", "tokens", "flops", "skipped"} <= result(directory).keys()


@pytest.mark.parametrize("stop_at", [1, 3])
def test_an_interrupted_stage_goes_on_to_the_same_weights_and_metrics(run, monkeypatch, stop_at):
    options = ", on_policy: 0.5, checkpoint_every: 1"
    straight = run("straight", options=options)
    real = Answers.account
    calls = []

    def dies(self):
        calls.append(None)
        if len(calls) == stop_at + 1:
            raise RuntimeError("power cut")
        return real(self)

    monkeypatch.setattr(Answers, "account", dies)
    with pytest.raises(Exception, match="power cut"):
        run("broken", options=options)
    monkeypatch.setattr(Answers, "account", real)
    resumed = run("broken", options=options)
    assert (resumed / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    assert result(resumed) == result(straight)
    weights, expected = (load_file(each / "policy" / "model.safetensors") for each in (resumed, straight))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_the_loss_does_not_depend_on_the_size_of_a_pass(run):
    whole, cut = (
        lines(run(name, options=f", micro_batch_tokens: {size}"))[0] for name, size in (("a", 999), ("b", 16))
    )
    assert cut["loss"] == pytest.approx(whole["loss"], rel=1e-4)
    assert cut["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-3)


def test_a_mixture_of_experts_learns_through_adapters(run):
    student = "{type: deepseek, preset: tiny, lora: {r: 4}}"
    teacher = "{type: deepseek, preset: tiny, init_std: 0.3}"
    sizes = "steps: 12, prompts_per_step: 8"
    losses = [line["loss"] for line in lines(run(sizes=sizes, student=student, teacher=teacher))]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_teacher_and_student_with_different_tokenizers_are_named(run):
    with pytest.raises(
        InputError, match=r"student 'student' and the teacher 'teacher' have different tokenizers, of .*family"
    ):
        run(teacher="{type: deepseek, preset: tiny}")


def test_a_student_that_is_its_own_teacher_is_told(run, capsys):
    directory = run(of="student")
    assert lines(directory)[0]["loss"] == pytest.approx(0.0, abs=1e-5)
    assert "nothing to learn from itself" in capsys.readouterr().out


def test_responses_are_asked_for_only_where_they_are_read(run):
    run("fine", response="")
    with pytest.raises(InputError, match=r"8 row\(s\) that cannot be learnt from"):
        run("bad", response="", options=", on_policy: 0.5")


def test_responses_that_are_too_long_are_refused(run):
    with pytest.raises(
        InputError, match=r"8 of 8 prompts with their response are longer than the .* tokens .*row 1, 2"
    ):
        run(response="7" * 2000, options=", on_policy: 0.5")


def test_a_sampler_that_gives_no_token_ids_is_refused(run, monkeypatch):
    from ponder import Completion

    monkeypatch.setattr("ponder_trl.answers.sample", lambda *_: [_rollout(Completion("7"))])
    with pytest.raises(StageError, match="take a sampler that draws from the policy"):
        run()


def _rollout(completion):
    from ponder import Example, Rollout

    return Rollout(Example("1 + 1?"), completion, 0)


def test_what_ponder_does_itself_is_refused(run):
    with pytest.raises(InputError, match=r"trl.teacher_model_name_or_path: is set by the component itself"):
        run(options=", trl: {teacher_model_name_or_path: gpt2}")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"on_policy": 1.5}, "on_policy must lie between 0 and 1"),
        ({"beta": -0.1}, "beta must lie between 0 and 1"),
        ({"temperature": 0.0}, "temperature must be greater than 0"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"steps": 0}, "steps must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        config(**options)


def config(**options):
    return OnPolicyDistillationConfig(
        **{"policy": "student", "teacher": "teacher", "task": "t", "sampler": "s", **options}
    )


def test_the_plan_says_what_is_drawn():
    assert config(steps=2, on_policy=0.75).plan() == (
        "32 prompts a step x 2 steps = 64 answers: 48 are drawn from the student, 16 are the task's"
    )
