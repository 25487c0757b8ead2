"""The stage in real runs: it learns what is preferred, says what is wrong with its data, and can be interrupted."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from ponder.errors import InputError
from ponder.plugins import load_registry
from ponder.progress import Display
from ponder.randomness import permutation
from ponder.recipe import load_recipe
from ponder.run import run_recipe
from ponder_trl import reward_model as stage
from ponder_trl.comparisons import Comparison
from ponder_trl.reward_batches import RewardBatches
from ponder_trl.reward_configs import RewardModelConfig
from ponder_trl.reward_network import make_network, scores_of

RECIPE = """
policies:
  base: {{type: deepseek, preset: tiny, chat_template: r1}}
tasks:
  pairs: {{type: jsonl, path: rows.jsonl}}
  sums: {{type: jsonl, path: sums.jsonl}}
samplers:
  short: {{type: fast, temperature: 1.0, max_new_tokens: 4}}
rewards:
  liked: {{type: preference, model: judge}}
stages:
  judge: {{type: reward_model, policy: base, task: pairs, batch_size: 24, learning_rate: 1.0e-2, betas: [0.9, 0.95]{options}}}
"""


def polite_pairs(count=120):
    """Pairs that differ in their summary only by a word of the same length; the reasoning tells nothing."""
    rows = []
    for i in range(count):
        thoughts = [f"<think>{permutation(3, i, side)[0]}</think>" for side in range(2)]
        rows.append({"prompt": f"{i % 40}?", "chosen": f"{thoughts[0]}yes {i}", "rejected": f"{thoughts[1]}nah {i}"})
    return rows


def labelled(count=120):
    return [
        {"prompt": f"{i % 40}?", "response": f"<think>{'ok' if i % 2 else 'no'}</think>{i}", "label": i % 2}
        for i in range(count)
    ]


@pytest.fixture
def run(tmp_path, write_rows):
    """Runs the recipe, by default on pairs that are easy to tell apart, and returns the directory of its last stage."""

    def run(runs="runs", *, rows=None, options="", more="", overrides=()):
        write_rows(polite_pairs() if rows is None else rows)
        write_rows([{"prompt": f"{n}?", "answer": "1"} for n in range(8)], "sums.jsonl")
        (tmp_path / "small.yaml").write_text(RECIPE.format(options=options) + more)
        registry = load_registry()
        with torch.random.fork_rng():
            recipe = load_recipe(tmp_path / "small.yaml", overrides, registry)
            outcome = run_recipe(recipe, registry, tmp_path / runs, Display())
        return outcome.stages[-1].directory

    return run


def result(directory):
    return json.loads((directory / "result.json").read_text())


def test_it_learns_a_separable_preference(run):
    directory = run(options=", epochs: 4")
    metrics = result(directory)["metrics"]
    assert metrics["accuracy"] > 0.95
    assert metrics["margin"] > 0
    assert (metrics["pairs"], metrics["held_out_pairs"], metrics["steps"]) == (108, 12, 20)
    assert metrics["flops"] > 0
    assert result(directory)["policy"] is None


def test_it_leaves_a_model_that_plain_transformers_loads_with_a_card(run):
    directory = run() / "reward_model"
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    assert model.config.num_labels == 1
    card = json.loads((directory / "reward_model.json").read_text())
    assert (card["kind"], card["sees"]) == ("pairwise", "summary")
    assert card["lowest"] < card["mean"]
    assert card["std"] > 0


def test_a_labelled_preference_is_learnt_from_the_whole_response(run):
    directory = run(rows=labelled(), options=", kind: pointwise, sees: response, epochs: 4")
    assert result(directory)["metrics"]["accuracy"] > 0.95
    assert "length_bias" not in result(directory)["metrics"]


def test_what_the_model_does_not_see_it_does_not_learn(run):
    rows = [
        {"prompt": f"{i % 40}?", "chosen": f"<think>yes</think>{i}", "rejected": f"<think>nah</think>{i + 1}"}
        for i in range(120)
    ]
    seen = result(run(rows=rows, options=", epochs: 4, sees: response"))["metrics"]
    unseen = result(run(rows=rows, options=", epochs: 4, sees: summary"))["metrics"]
    assert seen["accuracy"] > 0.95 > unseen["accuracy"]


def test_an_interrupted_stage_goes_on_to_the_same_weights_and_metrics(run, monkeypatch):
    options = ", checkpoint_every: 2, warmup_steps: 2, micro_batch_size: 6"
    straight = run("straight", options=options)
    real = stage.RewardBatches.__call__

    def dies_in_step_3(self, step):
        if step == 3:
            raise RuntimeError("power cut")
        return real(self, step)

    monkeypatch.setattr(stage.RewardBatches, "__call__", dies_in_step_3)
    with pytest.raises(Exception, match="power cut"):
        run("broken", options=options)
    monkeypatch.setattr(stage.RewardBatches, "__call__", real)
    resumed = run("broken", options=options)
    assert (resumed / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    assert result(resumed)["metrics"] == result(straight)["metrics"]
    weights, expected = (load_file(each / "reward_model" / "model.safetensors") for each in (resumed, straight))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_stage_killed_while_it_scores_does_not_train_again(run, monkeypatch):
    straight = run("straight")
    real = stage._card

    def dies(*_):
        raise RuntimeError("power cut")

    monkeypatch.setattr(stage, "_card", dies)
    with pytest.raises(Exception, match="power cut"):
        run("broken")
    monkeypatch.setattr(stage, "_card", real)
    monkeypatch.setattr(stage.RewardBatches, "__call__", dies)
    assert result(run("broken"))["metrics"] == result(straight)["metrics"]


def test_the_gradient_does_not_depend_on_the_micro_batches(run):
    curves = [
        [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        for directory in (run("whole"), run("cut", options=", micro_batch_size: 5"))
    ]
    for whole, cut in zip(*curves, strict=True):
        assert cut["loss"] == pytest.approx(whole["loss"], abs=1e-4)
    assert curves[1][0]["grad_norm"] == pytest.approx(curves[0][0]["grad_norm"], rel=1e-4)


def test_pairs_without_their_columns_end_the_recipe_with_their_rows(run):
    with pytest.raises(InputError, match="1 of 120 rows have no column `rejected`: row 120"):
        run(rows=[*polite_pairs(119), {"prompt": "a?", "chosen": "b"}])


def test_longer_winners_are_reported_and_can_be_balanced(run, capsys):
    rows = polite_pairs()
    for row in rows[:100]:
        row["chosen"] += "!!"
    biased = result(run(rows=rows))["metrics"]
    assert biased["length_bias"] > 0.9
    assert "balance_lengths: true" in capsys.readouterr().out
    for row in rows[:30]:
        row["rejected"] += "!!!!"
    balanced = result(run(rows=rows, options=", balance_lengths: true, held_out_share: 0.02"))["metrics"]
    assert balanced["length_bias"] == pytest.approx(0.5, abs=0.02)
    assert balanced["rows_dropped"] == 40


def test_grpo_learns_from_its_scores(run):
    more = "  zero: {type: grpo, policy: base, task: sums, rewards: [liked], sampler: short, steps: 2, group_size: 4, prompts_per_step: 2}\n"
    metrics = result(run(more=more))["metrics"]
    assert 0 <= metrics["rewards/liked"] <= 1
    assert metrics["rewards/liked/error"] == 0
    assert "judge" in result(run(more=more))["parents"]


def test_further_options_reach_trl_and_those_of_the_loop_do_not(run):
    plain = result(run())["metrics"]["loss"]
    centred = result(run(options=", trl: {center_rewards_coefficient: 10.0}"))["metrics"]["loss"]
    assert centred != plain
    with pytest.raises(InputError, match=r"trl.max_steps: is set by the component itself"):
        run(options=", trl: {max_steps: 3}")


def test_every_epoch_holds_every_comparison_once():
    rows = [Comparison(str(n), [n], [n] * (n + 1)) for n in range(10)]
    batches = RewardBatches(comparisons=rows, epochs=2, batch_size=4, micro_batch_size=3, pad=0, seed=5)
    assert batches.steps == 6
    for epoch in range(2):
        seen = [row.better[0] for step in range(3) for row in batches.rows_of(3 * epoch + step)]
        assert sorted(seen) == list(range(10))
    parts = batches(0).parts
    assert [part["input_ids"].shape[0] for part in parts] == [4, 4]
    assert batches.tokens == 2 * sum(row.tokens for row in rows)


def test_every_architecture_learns(tiny_policy, tmp_path):
    trained = stage._make_trained(tiny_policy, 1)
    rows = [Comparison(str(n), [5, n, 0], [6, n, 0]) for n in range(9, 41)]
    optimizer = torch.optim.AdamW(trained.model.parameters(), 1e-2)
    batches = RewardBatches(comparisons=rows, epochs=1, batch_size=32, micro_batch_size=32, pad=1, seed=0)
    for _ in range(10):
        (part,) = batches(0).parts
        better, worse = trained.model(**part).logits.squeeze(-1).chunk(2)
        torch.nn.functional.softplus(worse - better).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    scores = stage._scores(trained.model, rows, 8)
    assert stage.measures(rows, scores)["accuracy"] > 0.95


@pytest.mark.parametrize("tiny_policy", ["qwen2"], indirect=True)
def test_adapters_become_part_of_the_weights(tiny_policy):
    merged = tiny_policy.model
    tiny_policy.model, tiny_policy.merged = None, lambda: merged
    network = make_network(tiny_policy, 1)
    weights = merged.base_model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.base_model.state_dict().items())


def test_a_tokenizer_without_an_end_of_sequence_is_refused(tiny_policy):
    tiny_policy.tokenizer.eos_token = None
    with pytest.raises(InputError, match="no eos_token"):
        stage._make_trained(tiny_policy, 1)


def test_a_tokenizer_without_padding_pads_with_the_end_of_sequence(tiny_policy):
    tiny_policy.tokenizer.pad_token = None
    trained = stage._make_trained(tiny_policy, 1)
    eos = tiny_policy.tokenizer.eos_token_id
    assert trained.model.config.pad_token_id == eos
    alone = scores_of(trained.model, [[5, 6, eos]], 1)
    assert scores_of(trained.model, [[5, 6, eos], [7] * 9 + [eos]], 2)[0] == pytest.approx(alone[0], abs=1e-5)


def test_an_architecture_without_a_classifier_is_refused(tiny_policy, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("Unrecognized configuration class")

    monkeypatch.setattr("ponder_trl.reward_network.AutoModelForSequenceClassification.from_config", refuse)
    with pytest.raises(InputError, match="no sequence classifier of the architecture"):
        make_network(tiny_policy, 1)


def test_measures_of_labels_without_both_kinds_leave_the_margin_out():
    rows = [Comparison("a", [1], label=1.0), Comparison("b", [1], label=1.0)]
    assert stage.measures(rows, [[0.5], [-0.5]]) == {"accuracy": 0.5}


def test_defaults_are_the_papers():
    config = RewardModelConfig(policy="base", task="pairs")
    assert (config.batch_size, config.learning_rate, config.epochs, config.max_length) == (256, 6e-6, 1, 8192)
