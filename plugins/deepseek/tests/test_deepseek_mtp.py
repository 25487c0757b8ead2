"""Multi-token prediction: the modules, their loss, and what becomes of them in files and in other stages."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, DeepseekV3Config
from transformers.modeling_layers import MtpModel

from ponder.hf import TrainingState, active_parameters, adamw, is_beyond_forward
from ponder.hf_pretraining import IGNORED, TokenBatch
from ponder_deepseek import DeepseekConfig, mtp_loss, objective
from ponder_deepseek.mtp import DeepseekV3ForCausalLM, MtpModule, mtp_modules, read_ahead
from ponder_deepseek.mtp_loss import further_loss, mtp_weight
from ponder_deepseek.policy import DeepseekPolicy

ROW = [5, 6, 7, 8, 9, 10, 11, 12]


def policy(depth=1, **options):
    given = {"preset": "tiny", "mtp_depth": depth, "init_std": 0.2, "balance_loss_weight": 0.0, **options}
    return DeepseekPolicy(DeepseekConfig(**given), seed=1)


def batch(*documents, length=8):
    return TokenBatch.pack([list(documents)], length, pad=2)


def loss_of(made, tokens, progress=0.0):
    return made.objective().loss(tokens, progress)


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return DeepseekV3ForCausalLM(DeepseekV3Config())


def test_the_published_module_has_the_published_number_of_parameters(full_size):
    [module] = mtp_modules(full_size)
    unique = sum(tensor.numel() for tensor in [*module.parameters(), *module.buffers()])
    assert unique == 11_610_068_224
    shared = full_size.model.embed_tokens.weight.numel() + full_size.lm_head.weight.numel()
    assert unique + shared == 13_463_426_304


def test_the_main_model_is_the_published_one_with_and_without_a_module(full_size):
    own = sum(p.numel() for name, p in full_size.named_parameters() if not is_beyond_forward(name, full_size))
    assert own == 671_026_404_352
    assert active_parameters(full_size) == 36_625_603_584


def test_the_module_has_the_released_names(full_size):
    beyond = {name for name in full_size.state_dict() if ".layers.61." in name}
    inner = {name for name in full_size.state_dict() if ".layers.60." in name}
    own = {f"model.layers.61.{name}.weight" for name in ("enorm", "hnorm", "eh_proj", "shared_head.norm")}
    assert beyond == {name.replace(".60.", ".61.") for name in inner} | own


def test_modules_change_neither_the_weights_nor_the_logits_of_the_main_model():
    plain, made = policy(0), policy(2)
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(tensor, made.model.state_dict()[name]), name
    ids = torch.tensor([ROW])
    assert torch.equal(plain.model(ids).logits, made.model(ids).logits)


@torch.no_grad()
def test_hidden_states_are_those_of_transformers_own_modules(tmp_path, monkeypatch):
    made = policy(2)
    made.save(tmp_path)
    # transformers finds the modules' weights by the one layer number of the released model.
    monkeypatch.setattr(
        transformers.DeepseekV3ForCausalLM, "_keys_to_ignore_on_load_unexpected", [r"model\.layers\.[23]\..*"]
    )
    theirs = MtpModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path))
    ids = torch.tensor([ROW])
    ours = hidden = made.model.model(ids).last_hidden_state
    for depth, module in enumerate(mtp_modules(made.model), start=1):
        tokens = ids[:, depth:]
        ours = read_ahead(made.model, module, module.joined(ours[:, :-1], made.model.model.embed_tokens(tokens)))
        positions = torch.arange(depth, 8)[None]
        hidden = theirs.forward_layer(depth - 1, hidden[:, :-1], positions, None, input_ids=tokens)
        torch.testing.assert_close(ours, hidden, atol=1e-5, rtol=1e-5)


def test_depth_one_reads_tokens_two_to_six_and_predicts_three_to_seven(monkeypatch):
    made, embedded = policy(), []
    table = made.model.model.embed_tokens.weight
    joined = MtpModule.joined
    monkeypatch.setattr(MtpModule, "joined", lambda *given: (embedded.append(given[2]), joined(*given))[1])
    tokens = TokenBatch(torch.arange(11, 17)[None], torch.arange(12, 18)[None], torch.zeros(1, 6, dtype=torch.long))
    loss_of(made, tokens)
    assert torch.equal(embedded[0][0], table[12:17])
    certain = torch.full((1, 5, 20), -1e4).scatter_(2, torch.arange(13, 18)[None, :, None], 0.0)
    assert [value.item() for value in further_loss(certain, tokens, 1)] == [0.0, 1.0]


def test_the_sum_of_five_terms_is_divided_by_six_as_printed():
    tokens = TokenBatch(torch.arange(1, 7)[None], torch.arange(2, 8)[None], torch.zeros(1, 6, dtype=torch.long))
    loss, _ = further_loss(torch.zeros(1, 5, 20), tokens, 1)
    assert loss.item() == pytest.approx(torch.tensor(20.0).log().item() * 5 / 6)


@pytest.mark.parametrize(("progress", "total"), [(0.0, 2.9), (9.9 / 14.8, 2.9), (10.1 / 14.8, 2.3)])
def test_the_total_loss_of_the_reference(monkeypatch, progress, total):
    monkeypatch.setattr(objective, "head_loss", lambda *_: torch.tensor(2.0))
    monkeypatch.setattr(mtp_loss, "further_loss", lambda *_: (torch.tensor(3.0), torch.tensor(0.5)))
    loss, metrics = loss_of(policy(), batch(ROW), progress)
    assert loss.item() == pytest.approx(total)
    assert metrics == {"loss": 2.0, "mtp_loss": 3.0, "mtp_accuracy": 0.5}


def test_the_losses_of_several_modules_are_averaged_and_told_apart(monkeypatch):
    monkeypatch.setattr(mtp_loss, "further_loss", lambda logits, _, depth: (logits.sum() * 0 + depth, torch.tensor(0)))
    loss, metrics = loss_of(policy(3), batch(ROW))
    assert {name: metrics[name] for name in metrics if "loss_" in name} == {"mtp_loss_2": 2.0, "mtp_loss_3": 3.0}
    assert loss.item() == pytest.approx(metrics["loss"] + 0.3 * 2.0)


def test_lambda_and_where_it_changes_are_options():
    config = DeepseekConfig(mtp_weight=0.5, mtp_final_weight=0.2, mtp_switch=0.25)
    assert [mtp_weight(config, progress) for progress in (0.0, 0.2, 0.25, 0.9)] == [0.5, 0.5, 0.2, 0.2]


def test_no_module_predicts_or_reads_across_the_end_of_a_document():
    def of_first(second):
        tokens = batch([5, 6, 7, 8], second)
        only_first = torch.where(tokens.documents == 0, tokens.labels, IGNORED)
        metrics = loss_of(policy(2), TokenBatch(tokens.inputs, only_first, tokens.documents))[1]
        return metrics["mtp_loss"], metrics["mtp_loss_2"]

    assert of_first([9, 10, 11, 12]) == pytest.approx(of_first([40, 41, 42, 43]), abs=1e-6)
    # Of the first four tokens, two have a second token ahead, and one a third, in their document.
    flat = further_loss(torch.zeros(1, 7, 20), batch([5, 6, 7, 8], [9]), 1)[0]
    assert flat.item() == pytest.approx(torch.tensor(20.0).log().item() * 2 / 4)


def test_a_token_further_ahead_than_a_module_may_see_changes_nothing_before_it():
    made = policy(2)
    with torch.no_grad():
        for implementation in ("sdpa", "eager"):
            made.model.set_attn_implementation(implementation)
            states = []
            for last in (12, 99):
                ids = torch.tensor([[*ROW[:-1], last]])
                hidden = made.model.model(ids).last_hidden_state
                [module, _] = mtp_modules(made.model)
                joined = module.joined(hidden[:, :-1], made.model.model.embed_tokens(ids[:, 1:]))
                states.append(read_ahead(made.model, module, joined)[:, :-1])
            torch.testing.assert_close(states[0], states[1], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("length", [2, 3])
def test_rows_too_short_to_look_ahead_have_no_further_loss(length):
    loss, metrics = loss_of(policy(3), batch([5, 6], length=length))
    assert torch.isfinite(loss)
    assert "mtp_loss_3" not in metrics


def step(made, tokens):
    objective = made.objective()
    optimizer = adamw(made.model, 1e-2)
    objective.loss(tokens, 0.0)[0].backward()
    optimizer.step()
    return optimizer


def test_pre_training_moves_every_weight_of_a_module():
    made = policy(2)
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    step(made, TokenBatch.pack([[list(range(5, 37))]] * 4, 32, pad=2))
    beyond = [name for name, _ in made.model.named_parameters() if is_beyond_forward(name, made.model)]
    assert len(beyond) == 2 * 17
    assert not [name for name in beyond if torch.equal(before[name], made.model.state_dict()[name])]


def test_what_trains_the_main_model_alone_leaves_the_modules_as_they_are():
    made = policy(1)
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    optimizer = adamw(made.model, 1e-2)
    made.model(torch.tensor([ROW]), labels=torch.tensor([ROW])).loss.backward()
    optimizer.step()
    moved = {name for name, tensor in made.model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert moved
    assert not {name for name in moved if is_beyond_forward(name, made.model)}
    # A parameter that a distributed trainer waits for must not be one of theirs.
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not trained & {id(parameter) for module in mtp_modules(made.model) for parameter in module.parameters()}


def test_modules_are_saved_and_come_back_to_the_bit_and_plain_transformers_passes_them_over(tmp_path):
    made = policy(2)
    made.save(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert "model.layers.3.mlp.experts.0.gate_proj.weight" in stored
    described = json.loads((tmp_path / "config.json").read_text())
    assert described["architectures"] == ["DeepseekV3ForCausalLM"]
    assert described["num_nextn_predict_layers"] == 2
    again = DeepseekPolicy(DeepseekConfig(preset="tiny"), checkpoint=tmp_path).model
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    plain, ids = AutoModelForCausalLM.from_pretrained(tmp_path), torch.tensor([ROW])
    assert len(plain.model.layers) == 2
    torch.testing.assert_close(plain(ids).logits, made.model(ids).logits, atol=1e-6, rtol=1e-6)


def rewritten(directory, change):
    tensors = load_file(directory / "model.safetensors")
    save_file(change(tensors), directory / "model.safetensors", metadata={"format": "pt"})
    return DeepseekPolicy(DeepseekConfig(preset="tiny"), checkpoint=directory)


def test_copies_of_embedding_and_head_as_in_the_released_files_are_passed_over(tmp_path, caplog):
    made = policy()
    made.save(tmp_path)
    names = ("model.layers.2.embed_tokens.weight", "model.layers.2.shared_head.head.weight")
    again = rewritten(tmp_path, lambda tensors: tensors | {name: torch.zeros(3, 3) for name in names})
    assert again.model.state_dict().keys() == made.model.state_dict().keys()
    assert not caplog.records


def test_a_conversion_that_left_the_modules_out_is_loaded_without_them(tmp_path):
    policy().save(tmp_path)
    again = rewritten(tmp_path, lambda tensors: {name: t for name, t in tensors.items() if "layers.2." not in name})
    assert not mtp_modules(again.model)
    assert again.model.config.num_nextn_predict_layers == 0
    assert again.drafting_decoder() is None


def test_a_checkpoint_of_a_run_holds_the_modules_and_their_optimizer_state(tmp_path):
    made = policy(1)
    tokens = batch(ROW)
    TrainingState(made, step(made, tokens)).save(tmp_path)
    again = policy(1, init_std=0.3)
    optimizer = step(again, tokens)
    TrainingState(again, optimizer).load(tmp_path)
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_pre_training_counts_the_modules_and_the_head_once_more_for_each():
    made = policy(2)
    [module, _] = mtp_modules(made.model)
    idle = module.mlp.experts.gate_up_proj.numel() // 2 + module.mlp.experts.down_proj.numel() // 2
    each = sum(parameter.numel() for parameter in module.parameters()) - idle + made.model.lm_head.weight.numel()
    assert active_parameters(made.model) == active_parameters(policy(0).model)
    assert made.objective().active_parameters() == active_parameters(made.model) + 2 * each


@pytest.mark.parametrize(
    "options", [{"mtp_depth": -1}, {"mtp_weight": -0.1}, {"mtp_final_weight": float("nan")}, {"mtp_switch": 1.5}]
)
def test_impossible_options_of_multi_token_prediction_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DeepseekConfig(**options)
