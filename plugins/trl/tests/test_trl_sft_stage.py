"""The stage in real runs: what it learns, what it writes, and what it says."""

import json

import pytest
import torch
import trl.trainer.base_trainer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ponder.hf import active_parameters, encode_prompt


def metrics(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def result(directory):
    return json.loads((directory / "result.json").read_text())["metrics"]


def test_the_policy_learns_to_respond_and_to_stop(run_sft):
    rows = [{"prompt": "Who?", "answer": "R1."}] * 16
    directory = run_sft(rows=rows, options=", epochs: 30", policy="{type: deepseek, preset: tiny}")
    curve = metrics(directory)
    assert curve[-1]["loss"] < 0.1 < 5 < curve[0]["loss"]
    assert curve[-1]["token_accuracy"] == 1.0
    model = AutoModelForCausalLM.from_pretrained(directory / "policy")
    tokenizer = AutoTokenizer.from_pretrained(directory / "policy")
    prompt = torch.tensor([encode_prompt(tokenizer, [{"role": "user", "content": "Who?"}])])
    said = model.generate(prompt, max_new_tokens=8, do_sample=False)[0, prompt.shape[1] :]
    assert tokenizer.decode(said) == "R1." + tokenizer.eos_token


def test_the_result_counts_steps_rows_tokens_and_compute(run_sft, tmp_path):
    directory = run_sft()
    found = result(directory)
    # A byte is a token: the response without its prefill, and the end; the prompt, its two role tokens and the prefill.
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(directory / "policy")
    learnt = sum(len(tokenizer(row["response"])["input_ids"]) - 2 + 1 for row in rows)
    read = learnt + sum(len(row["prompt"]) + 4 for row in rows)
    parameters = active_parameters(AutoModelForCausalLM.from_pretrained(directory / "policy"))
    assert found["steps"] == len(metrics(directory)) == 6
    assert (found["rows"], found["rows_dropped"], found["skipped"]) == (22, 0, 0)
    assert found["tokens"] == 2 * learnt
    assert found["flops"] == 6 * parameters * 2 * read
    assert found["loss"] == pytest.approx(sum(line["loss"] for line in metrics(directory)) / 6)


def test_the_learning_rate_of_each_step_is_the_one_that_trained_it(run_sft):
    rates = [line["learning_rate"] for line in metrics(run_sft(options=", warmup_steps: 2"))]
    assert rates == pytest.approx([0.005, 0.01, 0.01, 0.00775, 0.00325, 0.001])


def test_another_seed_is_another_order(run_sft):
    first, second = (metrics(run_sft(f"seed{seed}", seed=seed)) for seed in (1, 2))
    assert [line["loss"] for line in first] != [line["loss"] for line in second]


@pytest.mark.parametrize("preset", ["qwen2_mini", "llama_mini"])
def test_students_of_other_architectures_learn_too(run_sft, preset):
    curve = metrics(
        run_sft(policy=f"{{type: causal_lm, preset: {preset}, chat_template: r1}}", options=", packing: true")
    )
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.5


def test_packing_changes_the_speed_and_not_the_losses(run_sft):
    plain, packed = metrics(run_sft("plain")), metrics(run_sft("packed", options=", packing: true"))
    assert [line["loss"] for line in packed] == pytest.approx([line["loss"] for line in plain], rel=1e-3)


def test_sampling_keeps_its_cache_and_nothing_of_the_trainer_stays_behind(run_sft):
    directory = run_sft()
    assert json.loads((directory / "policy" / "config.json").read_text())["use_cache"] is True
    assert not (directory / "trainer").exists()


def test_the_bias_of_the_experts_router_stays_as_it_was(run_sft):
    weights = load_file(run_sft() / "policy" / "model.safetensors")
    [bias] = [tensor for name, tensor in weights.items() if name.endswith("e_score_correction_bias")]
    assert not bias.any()


def test_trl_reports_nothing_to_anybody_and_prints_nothing(run_sft, monkeypatch, capfd):
    def reported(**_):
        raise AssertionError("telemetry")

    monkeypatch.setattr(trl.trainer.base_trainer, "send_telemetry", reported)
    run_sft()
    said = capfd.readouterr()
    for word in ("{'loss'", "it/s", "Warning", "train_runtime", "PAD/BOS/EOS"):
        assert word not in said.out + said.err


def test_a_chat_template_of_a_file_is_learnt_and_saved_with_the_policy(run_sft, tmp_path):
    (tmp_path / "turns.jinja").write_text("{% for m in messages %}[{{ m.content }}]{% endfor %}=")
    directory = run_sft(options=", chat_template_file: turns.jinja", rows=[{"prompt": "1+1", "answer": "2"}])
    tokenizer = AutoTokenizer.from_pretrained(directory / "policy")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "1+1"}], tokenize=False) == "[1+1]="


def test_a_chat_template_that_the_policy_names_is_learnt_and_saved_with_it(run_sft):
    policy = "{type: causal_lm, preset: qwen2_mini, chat_template: r1_zero}"
    directory = run_sft(policy=policy, options=", chat_template: r1")
    tokenizer = AutoTokenizer.from_pretrained(directory / "policy")
    assert tokenizer.decode(encode_prompt(tokenizer, [{"role": "user", "content": "?"}])).endswith("<think>\n")


def test_options_of_trl_are_passed_on(run_sft):
    plain, other = (
        metrics(run_sft(f"runs{place}", options=f", trl: {section}"))
        for place, section in enumerate(["{}", "{loss_type: dft, gradient_checkpointing: true}"])
    )
    assert other[0]["loss"] < plain[0]["loss"]
    assert other[0]["token_accuracy"] == plain[0]["token_accuracy"]


def test_conversations_that_are_too_long_are_left_out_and_counted(run_sft, capfd):
    rows = [{"prompt": "Who?", "answer": "R1."}] * 9 + [{"prompt": "Who?", "answer": "R" * 600}]
    directory = run_sft(rows=rows, policy="{type: deepseek, preset: tiny}")
    assert (result(directory)["rows"], result(directory)["rows_dropped"]) == (9, 1)
    assert "1 of 10 conversations are longer than 512 tokens" in " ".join(capfd.readouterr().out.split())
