"""Compiled layers: what is compiled, what is left alone, and what is refused."""

from __future__ import annotations

import copy
import functools
import os
import sysconfig

import pytest
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Experts

from ponder.errors import InputError
from ponder.hf_compile import compile_layers

IDS = torch.tensor([[3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5, 4]])


def dense():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=32)
    )


def mixture():
    torch.manual_seed(0)
    model = DeepseekV3ForCausalLM(
        DeepseekV3Config(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=32,
            moe_intermediate_size=16,
            num_hidden_layers=2,
            first_k_dense_replace=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            q_lora_rank=None,
            kv_lora_rank=8,
            qk_nope_head_dim=8,
            qk_rope_head_dim=8,
            v_head_dim=16,
        )
    )
    model.set_experts_implementation("eager")
    return model


def gradients(model):
    model(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    """What compiling sets for the whole process is as before afterwards."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    with torch._dynamo.config.patch(recompile_limit=8), torch._inductor.config.patch(compile_threads=2):
        yield


@pytest.fixture
def calls(monkeypatch):
    """Names of the classes whose forward pass ran compiled, with a compiler that changes nothing."""
    ran = []

    def compiled(forward, dynamic, options):
        assert dynamic is False and options == {"cpp_wrapper": True}

        @functools.wraps(forward)
        def noted(*values, **options):
            ran.append(type(forward.__self__).__name__)
            return forward(*values, **options)

        return noted

    monkeypatch.setattr(torch, "compile", compiled)
    return ran


def test_loss_and_gradients_are_those_of_the_layers_as_they_are():
    model = dense()
    expected = gradients(copy.deepcopy(model))
    compile_layers(model)
    for found, wanted in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_every_layer_runs_compiled_where_gradients_are_wanted_and_as_it_is_elsewhere(calls):
    model = dense()
    compile_layers(model)
    with torch.no_grad():
        model(IDS)
    assert calls == []
    gradients(model)
    assert calls == ["LlamaDecoderLayer"] * 2


def test_of_a_block_with_experts_the_shared_ones_are_compiled_and_hooks_still_watch_the_router(calls):
    model = mixture()
    compile_layers(model)
    seen = []
    model.model.layers[1].mlp.gate.register_forward_hook(lambda *_: seen.append(torch.compiler.is_compiling()))
    gradients(model)
    assert calls == ["DeepseekV3DecoderLayer", "DeepseekV3DecoderLayer", "DeepseekV3MLP"]
    assert seen == [False]


@pytest.mark.parametrize("answer", [True, False])
def test_routed_experts_say_themselves_whether_they_are_compiled(calls, monkeypatch, answer):
    model = mixture()
    monkeypatch.setattr(DeepseekV3Experts, "is_traceable", lambda _: answer, raising=False)
    compile_layers(model)
    gradients(model)
    assert ("DeepseekV3Experts" in calls) is answer


def test_parameters_keep_their_names_and_values():
    model = mixture()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    compile_layers(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_deep_models_have_room_for_every_layer():
    with torch._dynamo.config.patch(recompile_limit=1):
        compile_layers(dense())
        assert torch._dynamo.config.recompile_limit == 8


def test_what_was_compiled_is_kept_with_the_user_and_not_in_a_directory_for_all(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compile_layers(dense())
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "ponder" / "compiled")


@pytest.mark.parametrize(("chosen", "named"), [("", r"g\+\+"), ("/nowhere/c++", "/nowhere/c")])
def test_a_machine_without_a_compiler_is_refused_with_what_to_do(monkeypatch, tmp_path, chosen, named):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", chosen)
    with pytest.raises(InputError, match=rf"a C\+\+ compiler, and there is no .*{named}.*: install it"):
        compile_layers(dense())


def test_a_machine_without_pythons_headers_is_refused_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(InputError, match=r"there is no .*Python\.h: install them \(python3-dev"):
        compile_layers(dense())
