"""`ponder export`: what a run made, opened without ponder, says the same; and its card tells where it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from ponder.building import load_policy
from ponder.cli import main
from ponder.hf import merged_model
from ponder.plugins import load_registry

RECIPE = """
name: small
policies:
  base: {type: POLICY, preset: PRESET}
tasks:
  web: {type: mini_web, documents: 200, max_terms: 3}
  requests: {type: mini_instructions, split: train, size: 8}
  held_out: {type: mini_instructions, split: held_out, size: 4}
samplers:
  short: {type: fast, max_new_tokens: 6}
stages:
  pretrain: {type: pretrain, policy: base, task: web, tokens: 2048, batch_tokens: 1024}
  taught: {type: sft, policy: pretrain, task: requests, epochs: 1, batch_size: 4, chat_template: r1}
  exam: {type: evaluate, policy: taught, task: held_out, sampler: short, samples: 2, rewards: [wishes]}
rewards:
  wishes: {type: mini_instructions}
"""
TOKENS = torch.arange(40).view(2, 20)


def ran(directory: Path, policy: str, preset: str) -> Path:
    (directory / "small.yaml").write_text(RECIPE.replace("POLICY", policy).replace("PRESET", preset))
    assert main(["run", str(directory / "small.yaml"), "--runs", str(directory / "runs")]) == 0
    return directory / "runs" / "small"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ran(tmp_path_factory.mktemp("run"), "causal_lm", "qwen2_tiny")


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(TOKENS).logits


@pytest.mark.parametrize(
    ("policy", "preset"), [("causal_lm", "llama_tiny"), ("deepseek", "tiny"), ("causal_lm", "qwen2_tiny")]
)
def test_an_exported_policy_opens_in_plain_transformers_and_says_the_same(
    tmp_path: Path, policy: str, preset: str
) -> None:
    stage = ran(tmp_path, policy, preset) / "taught"
    assert main(["export", str(stage), str(tmp_path / "out")]) == 0

    ours = load_policy(load_registry(), stage.resolve())
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(theirs), logits(merged_model(ours)), rtol=0, atol=1e-5)
    messages = [{"role": "user", "content": "What is 1 + 2?"}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert rendered.endswith("<think>\n")
    assert tokenizer(rendered)["input_ids"] == ours.tokenizer(rendered)["input_ids"]


def test_the_papers_sampling_goes_along(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run / "taught"), str(tmp_path / "out")]) == 0
    generation = GenerationConfig.from_pretrained(tmp_path / "out")
    assert (generation.do_sample, generation.temperature, generation.top_p) == (True, 0.6, 0.95)


def test_the_card_tells_the_lineage_the_data_and_the_exam_and_no_place_on_this_machine(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run / "taught"), str(tmp_path / "out")]) == 0
    assert "its prompts end with an opened <think>" in capsys.readouterr().out
    card = (tmp_path / "out" / "README.md").read_text()

    assert "| pretrain | `pretrain` | nothing | web (mini_web, " in card
    assert "| taught | `sft` | pretrain | requests (mini_instructions, " in card
    assert "| held_out | 2 | 0." in card
    assert "--reasoning-parser deepseek_r1" in card
    for path in (tmp_path / "out").glob("*"):
        if path.suffix in (".json", ".md", ".jinja"):
            assert str(run.parent.parent) not in path.read_text(), path.name


def test_another_precision_and_another_template_on_request(run: Path, tmp_path: Path) -> None:
    arguments = ["--dtype", "bfloat16", "--chat-template", "r1_zero"]
    assert main(["export", str(run / "taught"), str(tmp_path / "out"), *arguments]) == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
    assert "reasoning-parser" not in (tmp_path / "out" / "README.md").read_text()


def test_adapters_alone_are_exported_merged(run: Path, tmp_path: Path) -> None:
    from ponder.hf_export import write_policy
    from ponder_causal_lm import CausalLMConfig
    from ponder_causal_lm.policy import CausalLMPolicy

    base = (run / "pretrain").resolve() / "policy"
    policy = CausalLMPolicy(CausalLMConfig(path=str(base), lora={"r": 2}, save_adapters="alone"))
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    write_policy(policy, tmp_path / "out", None)

    assert not list((tmp_path / "out").glob("adapter*"))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(logits(theirs), logits(policy.model), rtol=0, atol=1e-4)


def test_a_routing_bias_stays_as_exact_as_it_was_in_another_precision(tmp_path: Path) -> None:
    from ponder.hf_export import write_policy
    from ponder_deepseek import DeepseekConfig
    from ponder_deepseek.policy import DeepseekPolicy

    policy = DeepseekPolicy(DeepseekConfig(preset="tiny"))
    biases = {name: value for name, value in policy.model.named_buffers() if name.endswith("e_score_correction_bias")}
    for bias in biases.values():
        bias.copy_(torch.linspace(0.1, 0.2, bias.numel()))
    write_policy(policy, tmp_path / "out", "bfloat16")

    theirs = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "out").named_buffers())
    assert biases and all(theirs[name].equal(value) for name, value in biases.items())


@pytest.mark.parametrize(
    ("stage", "arguments", "words"),
    [
        ("nowhere", [], "no finished stage is here"),
        ("exam", [], "made no policy"),
        ("taught", ["--chat-template", "mine"], "it offers r1, r1_zero"),
    ],
)
def test_what_cannot_be_exported_is_said_and_nothing_is_left_behind(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    arguments: list[str],
    words: str,
) -> None:
    assert main(["export", str(run / stage), str(tmp_path / "out"), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_there_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.json").write_text(json.dumps(1))
    assert main(["export", str(run / "taught"), str(tmp_path / "out")]) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious.json"]
