"""`ponder export --format gguf`: transformers and llama.cpp read back what was written, and what llama.cpp could not read is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ponder import hf_gguf
from ponder.cli import main
from ponder.errors import InputError
from ponder.hf_gguf import vocabulary_of, write_gguf

gguf = pytest.importorskip("gguf")

TEXTS = ["What is 12 + 34?", "It's 46.\n\nThe end", "<think>\nnaïve — 你好</think>"]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rope_parameters": {"rope_type": "default", "rope_theta": 50000.0},
}
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITTINGS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "qwen2": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


READ = """
import json, sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.warmup = sys.argv[1], 128, 1, False
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
answers = []
for text in json.loads(sys.argv[2]):
    # What is drawn must be a whole character, or nothing is said of it; the probabilities are those before it is.
    asked = {"prompt": text, "max_tokens": 1, "logprobs": 1000, "grammar": 'root ::= "A"', "cache_prompt": False}
    answer = server.handle_completions(asked)
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    first = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    answers.append([answer["usage"]["prompt_tokens"], {token["id"]: token["logprob"] for token in first}])
print(json.dumps(answers))
"""


def make_tokenizer(splitting: Any) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = splitting, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    made.add_tokens(["<think>", "</think>"])
    made.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n"
    return made


ARCHITECTURES = {
    "llama": lambda rows: LlamaForCausalLM(LlamaConfig(vocab_size=rows, tie_word_embeddings=False, **SIZES)),
    "llama_tied": lambda rows: LlamaForCausalLM(LlamaConfig(vocab_size=rows, tie_word_embeddings=True, **SIZES)),
    "qwen2": lambda rows: Qwen2ForCausalLM(Qwen2Config(vocab_size=rows, **SIZES)),
    "qwen3": lambda rows: Qwen3ForCausalLM(Qwen3Config(vocab_size=rows, head_dim=128, **SIZES)),
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}


def scaled_llama(original: int) -> Any:
    """Of rows, a Llama whose context was lengthened from `original` positions in Llama 3's way."""
    rope = {"rope_parameters": {**LLAMA3, "original_max_position_embeddings": original}}
    return lambda rows: LlamaForCausalLM(LlamaConfig(vocab_size=rows, **{**SIZES, **rope}))


# So few positions that the scaling is seen in a short text; and what Llama 3.2 has.
SCALED = {"llama3_short": scaled_llama(16), "llama3": scaled_llama(8192)}


def save(directory: Path, architecture: str, splitting: str = "gpt-2") -> Path:
    """A model and its tokenizer in transformers' files, with more rows than tokens."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(SPLITTINGS[splitting])
    model = {**ARCHITECTURES, **SCALED}[architecture](len(tokenizer) + 3)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.2)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def load(directory: Path) -> Any:
    from ponder_causal_lm import CausalLMConfig
    from ponder_causal_lm.policy import CausalLMPolicy

    return CausalLMPolicy(CausalLMConfig(path=directory))


def load_file(path: Path) -> Any:
    """The model alone: these little tokenizers do not come back from GGUF as they were."""
    from ponder_causal_lm import CausalLMConfig
    from ponder_causal_lm.loading import load_model

    return load_model(str(path), CausalLMConfig(path=path))


def field(path: Path, name: str) -> Any:
    return gguf.GGUFReader(str(path)).fields[name].contents()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(torch.arange(40).view(2, 20)).logits


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_what_transformers_reads_back_has_equal_logits_and_tokens(tmp_path: Path, architecture: str) -> None:
    policy = load(save(tmp_path / "made", architecture))
    facts = write_gguf(policy, tmp_path / "out.gguf", None)
    assert (facts.gguf, facts.dtype, facts.prefills) == ("out.gguf", "float32", True)

    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="out.gguf", quantization_config=GgufConfig(dequantize=True)
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, gguf_file="out.gguf")
    torch.testing.assert_close(logits(model), logits(policy.model), rtol=1e-5, atol=1e-5)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == policy.tokenizer(text)["input_ids"]


@pytest.mark.parametrize(("dtype", "within"), [("bfloat16", 0.2), ("float16", 0.02)])
def test_matrices_are_stored_in_the_precision_that_is_asked_for(tmp_path: Path, dtype: str, within: float) -> None:
    policy = load(save(tmp_path / "made", "llama"))
    write_gguf(policy, tmp_path / "out.gguf", dtype)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(str(tmp_path / "out.gguf")).tensors}
    assert kinds["blk.0.attn_q.weight"] == {"bfloat16": "BF16", "float16": "F16"}[dtype]
    assert kinds["output_norm.weight"] == "F32"
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="out.gguf", quantization_config=GgufConfig(dequantize=True)
    )
    torch.testing.assert_close(logits(model), logits(policy.model), rtol=0, atol=within)


@pytest.mark.parametrize("splitting", list(SPLITTINGS))
def test_the_way_to_cut_text_is_named_as_llama_cpp_names_it(splitting: str) -> None:
    tokenizer = make_tokenizer(SPLITTINGS[splitting])
    vocabulary = vocabulary_of(tokenizer, len(tokenizer) + 2)
    assert vocabulary.splitting == splitting
    assert len(vocabulary.tokens) == len(vocabulary.types) == len(tokenizer) + 2
    kinds = dict(zip(vocabulary.tokens, vocabulary.types, strict=True))
    kind = gguf.TokenType
    assert [kinds[name] for name in ("<|end|>", "<think>", "a")] == [kind.CONTROL, kind.USER_DEFINED, kind.NORMAL]
    assert vocabulary.types[-1] == kind.UNUSED


@pytest.mark.parametrize(
    "splitting",
    [
        pre_tokenizers.Whitespace(),
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        ),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_not_read_alike_is_refused(splitting: Any) -> None:
    with pytest.raises(InputError, match="cuts text in a way that"):
        vocabulary_of(make_tokenizer(splitting), 400)


RECIPE = """
name: small
policies:
  base: {type: causal_lm, path: MADE, lora: {r: 2}}
tasks:
  requests: {type: mini_instructions, split: train, size: 8}
stages:
  taught: {type: sft, policy: base, task: requests, epochs: 1, batch_size: 4, learning_rate: 0.01}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    save(directory / "made", "llama_tied", "smollm")
    (directory / "small.yaml").write_text(RECIPE.replace("MADE", str(directory / "made")))
    assert main(["run", str(directory / "small.yaml"), "--runs", str(directory / "runs")]) == 0
    return directory


def test_a_stage_is_exported_with_its_template_sampling_and_a_card(run: Path, tmp_path: Path) -> None:
    arguments = ["--format", "gguf", "--runs", str(run / "runs")]
    assert main(["export", f"{run / 'small.yaml'}:taught", str(tmp_path / "mine"), *arguments]) == 0
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["README.md", "mine.gguf"]
    path = tmp_path / "mine" / "mine.gguf"
    assert field(path, "tokenizer.chat_template").endswith("<think>\n")
    assert field(path, "tokenizer.ggml.pre") == "smollm"
    assert field(path, "llama.context_length") == 128
    assert not any("lora" in tensor.name for tensor in gguf.GGUFReader(str(path)).tensors)
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "llama-server --model mine.gguf --jinja --reasoning-format deepseek" in card
    assert "| taught | `sft` | base" in card or "| taught | `sft` | nothing" in card


def test_only_an_earlier_export_is_replaced_and_only_when_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage, out = str(run / "runs" / "small" / "taught"), tmp_path / "mine"
    assert main(["export", stage, str(out), "--format", "gguf"]) == 0
    assert main(["export", stage, str(out)]) == 2
    assert "replace it with --force" in capsys.readouterr().err
    assert main(["export", stage, str(out), "--force"]) == 0
    assert json.loads((out / "config.json").read_text())["model_type"] == "llama"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    assert main(["export", stage, str(tmp_path / "home"), "--force"]) == 2
    assert "is no export of ponder's" in capsys.readouterr().err
    assert (tmp_path / "home" / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("policy", "preset", "message"),
    [
        ("deepseek", "tiny", "GGUF is written of llama, qwen2, qwen3, not of "),
        ("causal_lm", "llama_tiny", "no name for"),
    ],
)
def test_what_llama_cpp_cannot_read_is_refused_by_name_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str, preset: str, message: str
) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        f"name: small\npolicies:\n  base: {{type: {policy}, preset: {preset}}}\n"
        "tasks:\n  web: {type: mini_web, documents: 100, max_terms: 3}\n"
        "stages:\n  pretrain: {type: pretrain, policy: base, task: web, tokens: 1024, batch_tokens: 1024}\n"
    )
    runs = ["--runs", str(tmp_path / "runs")]
    assert main(["run", str(path), *runs]) == 0
    assert main(["export", f"{path}:pretrain", str(tmp_path / "out"), "--format", "gguf", *runs]) == 2
    assert message in capsys.readouterr().err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["runs", "small.yaml"]


@pytest.mark.parametrize(("architecture", "kind"), [("llama", "yarn"), ("qwen2", "llama3")])
def test_rotary_scaling_that_llama_cpp_computes_otherwise_is_refused(
    tmp_path: Path, architecture: str, kind: str
) -> None:
    policy = load(save(tmp_path / "made", architecture))
    policy.model.config.rope_parameters = {"rope_type": kind, "rope_theta": 500000.0, "factor": 8.0}
    with pytest.raises(InputError, match=f"rotary scaling '{kind}' of {architecture} is not written to GGUF"):
        write_gguf(policy, tmp_path / "out.gguf", None)


def test_the_rotary_scaling_of_llama_3_is_written_as_divisors_of_the_frequencies(tmp_path: Path) -> None:
    write_gguf(load(save(tmp_path / "made", "llama3")), tmp_path / "out.gguf", None)
    [stored] = [t.data for t in gguf.GGUFReader(str(tmp_path / "out.gguf")).tensors if t.name == "rope_freqs.weight"]
    # Four frequencies of theta 500,000: wavelengths of 6, 167 and 4,443 positions, and of 118,155, beyond the 8,192.
    smooth = (8192 / 4442.88 - 1) / 3
    assert stored.tolist() == pytest.approx([1, 1, 1 / ((1 - smooth) / 32 + smooth), 32], rel=1e-4)


def test_a_llama_3_comes_back_with_its_rotary_scaling(tmp_path: Path) -> None:
    policy = load(save(tmp_path / "made", "llama3"))
    write_gguf(policy, tmp_path / "out.gguf", None)
    again = load_file(tmp_path / "out.gguf")
    assert again.config.rope_parameters == policy.model.config.rope_parameters
    torch.testing.assert_close(logits(again), logits(policy.model), atol=1e-5, rtol=1e-5)


def test_a_file_with_other_divisors_than_llama_3s_is_refused_and_not_read_without_them(tmp_path: Path) -> None:
    write_gguf(load(save(tmp_path / "made", "llama3_short")), tmp_path / "out.gguf", None)
    with pytest.raises(InputError, match=r"out\.gguf divides rotary frequencies .* otherwise than Llama 3 does"):
        load_file(tmp_path / "out.gguf")


def test_a_file_with_another_rotary_scaling_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_sizes = hf_gguf._add_sizes

    def with_yarn(writer: Any, *facts: Any) -> None:
        add_sizes(writer, *facts)
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)

    monkeypatch.setattr(hf_gguf, "_add_sizes", with_yarn)
    write_gguf(load(save(tmp_path / "made", "llama")), tmp_path / "out.gguf", None)
    with pytest.raises(InputError, match=r"out\.gguf has the rotary scaling 'yarn', which is not read from GGUF"):
        load_file(tmp_path / "out.gguf")


def read_by_llama_cpp(path: Path, texts: list[str | list[int]]) -> list[tuple[int, dict[str, float]]]:
    """Of each text, or list of tokens: how many tokens it is, and the log-probability of each token that could follow."""
    command = [sys.executable, "-c", READ, str(path), json.dumps(texts)]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=120).stdout
    return json.loads(said.splitlines()[-1])


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="there is no llama.cpp")
@pytest.mark.parametrize("splitting", list(SPLITTINGS))
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "llama3_short"])
@torch.no_grad()
def test_llama_cpp_itself_reads_equal_tokens_and_probabilities(
    tmp_path: Path, architecture: str, splitting: str
) -> None:
    policy = load(save(tmp_path / "made", architecture, splitting))
    write_gguf(policy, tmp_path / "out.gguf", None)
    for text in TEXTS:
        tokens = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        expected = policy.model.eval()(torch.tensor([tokens])).logits[0].log_softmax(-1)
        # The text as llama.cpp cuts it, and our tokens up to each place.
        whole, *places = read_by_llama_cpp(
            tmp_path / "out.gguf", [text, *(tokens[: n + 1] for n in range(len(tokens)))]
        )
        assert whole == places[-1]
        assert [count for count, _ in places] == list(range(1, len(tokens) + 1))
        found = torch.tensor([[by_token[str(token)] for token in range(expected.shape[1])] for _, by_token in places])
        # llama.cpp keeps keys and values in half precision.
        torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
