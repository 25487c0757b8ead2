"""Damaged models are refused with the file that is wrong, and incomplete ones with the tensors that they lack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ponder.errors import InputError
from ponder_causal_lm import CausalLMConfig
from ponder_causal_lm.policy import CausalLMPolicy

WEIGHTS = "model.safetensors"
PICKLED = "pytorch_model.bin"
UP = "model.layers.1.mlp.up_proj.weight"
DAMAGED = r" is truncated or damaged \(.+\): copy or download it again"


def policy(path: Path, **options: object) -> CausalLMPolicy:
    return CausalLMPolicy(CausalLMConfig(path=str(path), **options), seed=5)


@pytest.fixture
def model(pretrained, tmp_path) -> Path:
    """A directory of a small Qwen to do damage to."""
    shutil.copytree(pretrained("qwen2"), tmp_path / "model")
    return tmp_path / "model"


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("content", [None, b"", bytes(range(256)) * 4], ids=["truncated", "empty", "garbage"])
def test_damaged_weights_are_named_with_what_to_do(model, content):
    halve(model / WEIGHTS) if content is None else (model / WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match=f"{WEIGHTS}{DAMAGED}"):
        policy(model)


def test_a_truncated_shard_is_named(model):
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(model, max_shard_size="100KB")
    (model / WEIGHTS).unlink(missing_ok=True)
    shard = sorted(model.glob("model-*.safetensors"))[1]
    halve(shard)
    with pytest.raises(InputError, match=f"{shard.name}{DAMAGED}"):
        policy(model)


def pickled(model: Path, content: object = None, **options: object) -> Path:
    """The weights, or other content, as torch.save writes them, in place of safetensors."""
    torch.save(content or load_file(model / WEIGHTS), model / PICKLED, **options)
    (model / WEIGHTS).unlink()
    return model / PICKLED


ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zipped", "old"])


@ZIPPED
def test_whole_weights_of_torch_save_are_read(model, zipped):
    expected = policy(model).model.state_dict()
    pickled(model, _use_new_zipfile_serialization=zipped)
    assert all(value.equal(expected[name]) for name, value in policy(model).model.state_dict().items())


@pytest.mark.parametrize("content", [None, b"", bytes(range(256)) * 4], ids=["truncated", "empty", "garbage"])
def test_damaged_weights_of_torch_save_are_named_with_what_to_do(model, content):
    path = pickled(model)
    halve(path) if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=f"{PICKLED}{DAMAGED}"):
        policy(model)


def test_a_changed_byte_among_weights_of_torch_save_that_stops_them_is_named(model):
    path = pickled(model)
    content = bytearray(path.read_bytes())
    at = content.index(b"_rebuild_tensor")
    content[at : at + 4] = b"oops"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{PICKLED}{DAMAGED}"):
        policy(model)


@pytest.mark.parametrize("left", [40, 0.5, 0.9])
def test_old_weights_of_torch_save_that_are_cut_off_are_named_with_what_to_do(model, left):
    path = pickled(model, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    path.write_bytes(content[: left if left > 1 else int(left * len(content))])
    with pytest.raises(InputError, match=rf"weights \({PICKLED}\) are damaged.* again, or .* safetensors$"):
        policy(model)


@ZIPPED
def test_weights_that_would_run_code_are_refused_and_do_not(model, zipped, capsys):
    pickled(model, {"weight": Shouting()}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=rf"weights \({PICKLED}\) .* could run code and is not read: .* safetensors$"):
        policy(model)
    assert "it ran" not in capsys.readouterr().out


class Shouting:
    """Says so when it is unpickled."""

    def __reduce__(self) -> tuple:
        return print, ("it ran",)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_broken_file_of_json_is_named(model, name):
    halve(model / name)
    with pytest.raises(InputError, match=f"{name}{DAMAGED}"):
        policy(model)


@pytest.mark.parametrize("name", ["qwen2", "llama3"], ids=["made_up_by_transformers", "not_made_up"])
@pytest.mark.parametrize("kept", [[], ["tokenizer_config.json"], ["vocab.json"]], ids=str)
def test_a_model_without_a_tokenizer_is_refused_with_the_files_that_are_expected(pretrained, tmp_path, name, kept):
    for file in ("config.json", WEIGHTS):
        shutil.copy(Path(pretrained(name)) / file, tmp_path)
    for file in kept:
        (tmp_path / file).write_text("{}")
    with pytest.raises(
        InputError, match=rf"{tmp_path}:? (it )?has no tokenizer: tokenizer\.json is expected there \(or .*copy"
    ):
        policy(tmp_path)


def test_a_tokenizer_in_one_file_is_enough(model):
    before = policy(model).tokenizer.get_vocab()
    (model / "tokenizer_config.json").unlink()
    assert policy(model).tokenizer.get_vocab() == before


def test_a_directory_that_holds_no_model_is_said_to(tmp_path):
    with pytest.raises(InputError, match=rf"from {tmp_path}: it holds no model: config\.json is expected there"):
        policy(tmp_path)


def test_a_broken_chat_template_is_named_with_its_line(model):
    (model / "chat_template.jinja").write_text("{{ bos_token }}\n{% for m in messages %}{{ m.content ")
    with pytest.raises(InputError, match=r"chat_template\.jinja, line 2: this is not a Jinja template: .*mend it"):
        policy(model)


def test_a_chat_template_that_wants_another_conversation_is_let_be(model):
    (model / "chat_template.jinja").write_text("{{ raise_exception('a system message is wanted') }}")
    assert "system message" in policy(model).tokenizer.chat_template


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_damaged_file_of_adapters_is_named(model, tmp_path, name):
    policy(model, lora={"r": 2}, save_adapters="alone").save(tmp_path / "adapters")
    halve(tmp_path / "adapters" / name)
    with pytest.raises(InputError, match=f"{name}{DAMAGED}"):
        policy(tmp_path / "adapters")


@pytest.mark.parametrize("options", [{}, {"load_in_4bit": True, "lora": {"r": 2}}], ids=["plain", "quantised"])
def test_a_checkpoint_that_lacks_tensors_is_refused_with_their_names(model, options):
    tensors = load_file(model / WEIGHTS)
    del tensors[UP]
    save_file(tensors, model / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(
        InputError, match=r"lacks tensors .*random: model\.layers\.1\.mlp\.up_proj\.weight; get the whole"
    ):
        policy(model, **options)


def spoil(path: Path, name: str, value: float) -> None:
    """One value of a tensor is another."""
    tensors = load_file(path)
    tensors[name].view(-1)[3] = value
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_a_tensor_that_is_not_finite_is_refused_with_its_name(model, value, dtype):
    spoil(model / WEIGHTS, UP, value)
    with pytest.raises(
        InputError, match=rf"{model}: its tensor {UP} holds values that are not finite .* get the whole"
    ):
        policy(model, dtype=dtype)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["model.norm.weight", UP])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_tensor_that_is_not_finite_is_found_in_a_quantised_model(model, name, value, bits):
    spoil(model / WEIGHTS, name, value)
    with pytest.raises(InputError, match=rf"{name.removesuffix('weight')}[A-Za-z._]+ holds values that are not finite"):
        policy(model, lora={"r": 2}, **{f"load_in_{bits}bit": True})


def test_adapters_that_are_not_finite_are_refused_with_their_file(model, tmp_path):
    policy(model, lora={"r": 2}, save_adapters="alone").save(tmp_path / "adapters")
    weights = tmp_path / "adapters" / "adapter_model.safetensors"
    spoil(weights, next(iter(load_file(weights))), float("nan"))
    with pytest.raises(InputError, match=rf"{weights}: its tensor model.*lora_.* holds values that are not finite"):
        policy(tmp_path / "adapters")


def test_a_new_model_needs_no_tensors(model):
    (model / WEIGHTS).unlink()
    assert policy(model, init="random").model.config.model_type == "qwen2"


def test_tensors_of_another_size_are_refused_with_both(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    with pytest.raises(InputError, match=r"layers\.0\.mlp\.down_proj\.weight is \(64, 128\) instead of \(64, 96\)"):
        policy(model)
