"""Everything of TRL's that this distribution relies on is in the installed version: after a new pin these tests list what is not."""

import dataclasses
import inspect

import pytest
import trl

from ponder.foreign_options import passthrough_faults
from ponder_trl import distillation_config, grpo_config, loop, reward_configs
from ponder_trl.distillation_config import OnPolicyDistillationConfig
from ponder_trl.grpo_config import TrlGrpoConfig
from ponder_trl.owned import OWNED_BY_THE_LOOP
from ponder_trl.reward_configs import RewardModelConfig
from ponder_trl.sft_config import SftConfig

OWNED = {
    "SFTConfig": next(f for f in dataclasses.fields(SftConfig) if f.name == "trl").metadata["owned"],
    "RewardConfig": reward_configs.OWNED,
    "GRPOConfig": grpo_config.OWNED,
    "DistillationConfig": distillation_config.OWNED,
}

COMMON = {"model", "args", "train_dataset", "processing_class", "callbacks", "optimizers"}
PARAMETERS = {
    "SFTTrainer": COMMON | {"data_collator"},
    "RewardTrainer": COMMON,
    "GRPOTrainer": COMMON | {"reward_funcs", "rollout_func"},
    "DistillationTrainer": COMMON | {"teacher_model"},
}
"""Parameters of the trainers' constructors."""

EVERYWHERE = {"train", "training_step", "compute_loss", "get_train_dataloader", "remove_callback", "_send_telemetry"}
WITHIN = {
    "SFTTrainer": set(),
    "RewardTrainer": set(),
    "GRPOTrainer": {"_buffered_inputs", "_step", "ref_model"},
    "DistillationTrainer": {"compute_loss_context_manager", "accelerator"},
}
"""Attributes that we read or set; `_buffered_inputs` and `_step` are what an interrupted step has left over."""


def words(text):
    return set(text.split())


PASSED_ON = words(
    """accelerator_config activation_checkpointing activation_checkpointing_kwargs bf16 debug disable_dropout gradient_checkpointing
    gradient_checkpointing_kwargs label_smoothing_factor liger_kernel_config neftune_noise_alpha router_aux_loss_coef tf32
    torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps use_cpu use_liger_kernel"""
)
PASSED_ON_TO = {
    "SFTConfig": {"activation_offloading", "chunked_nll_chunk_size", "loss_type"},
    "RewardConfig": {"activation_offloading", "center_rewards_coefficient"},
    "GRPOConfig": words(
        """cast_lm_head_to_fp32 delta entropy_coef epsilon epsilon_high importance_sampling_level loss_type
        mask_truncated_completions off_policy_mask_threshold sapo_temperature_neg sapo_temperature_pos scale_rewards
        top_entropy_quantile use_bias_correction_kl vespo_k_neg vespo_k_pos vespo_lambda_neg vespo_lambda_pos"""
    ),
    "DistillationConfig": set(),
}
"""Options that a recipe may give in the section `trl`; how each of them bears on resuming has been thought about."""


def faults(owner, given):
    """What is wrong with a section `trl` of a stage with these options."""
    about = next(field for field in dataclasses.fields(owner) if field.name == "trl").metadata
    return passthrough_faults(about["passthrough"], given, about["owned"], about["types"])


def fields(name):
    return {field.name for field in dataclasses.fields(getattr(trl, name))}


@pytest.mark.parametrize("name", PARAMETERS)
def test_constructors_take_what_we_give_them(name):
    missing = PARAMETERS[name] - inspect.signature(getattr(trl, name)).parameters.keys()
    assert not missing, f"trl.{name} of TRL {trl.__version__} takes no {sorted(missing)}"


@pytest.mark.parametrize("name", WITHIN)
def test_trainers_have_what_we_touch(name):
    trainer = getattr(trl, name)
    source = "".join(inspect.getsource(base) for base in trainer.__mro__[:-1])
    missing = {attribute for attribute in EVERYWHERE | WITHIN[name] if attribute not in source}
    assert not missing, f"trl.{name} of TRL {trl.__version__} has no {sorted(missing)}"


@pytest.mark.parametrize("name", OWNED)
def test_options_that_we_set_or_refuse_exist(name):
    set_by_the_loop = loop._DEFAULTS.keys() | loop._OURS.keys() | {"max_steps", "seed"}
    missing = (set(OWNED[name]) | set(OWNED_BY_THE_LOOP) | set_by_the_loop) - fields(name)
    assert not missing, f"trl.{name} of TRL {trl.__version__} has no {sorted(missing)}: take them out of what we own"


@pytest.mark.parametrize("name", OWNED)
def test_every_option_of_trl_is_ours_or_the_recipes(name):
    new = fields(name) - set(OWNED[name]) - PASSED_ON - PASSED_ON_TO[name]
    assert not new, (
        f"trl.{name} of TRL {trl.__version__} has new options {sorted(new)}: own them, or list them as passed on"
    )


def test_what_trl_draws_itself_lies_as_our_batches_do():
    read = inspect.getsource(trl.DistillationTrainer._compute_loss) + inspect.getsource(
        trl.DistillationTrainer.compute_loss
    )
    missing = [
        name for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask") if f'["{name}"]' not in read
    ]
    assert not missing, f"DistillationTrainer of TRL {trl.__version__} no longer reads {missing}"
    assert 'inputs.get("num_items_in_batch")' in read, "it no longer takes the number of tokens from its caller"


@pytest.mark.parametrize("owner", [SftConfig, RewardModelConfig, TrlGrpoConfig, OnPolicyDistillationConfig])
def test_every_stage_checks_the_values_that_it_passes_on(owner):
    assert faults(owner, {"bf16": "yes"}) == {"bf16": "expects bool | null, not 'yes'"}


@pytest.mark.parametrize("scale", [True, False, "group", "batch", "none"])
def test_rewards_may_be_scaled_by_a_word_or_by_true_and_false(scale):
    assert faults(TrlGrpoConfig, {"scale_rewards": scale}) == {}
