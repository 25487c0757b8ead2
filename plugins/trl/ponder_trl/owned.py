"""Fields of transformers' TrainingArguments that a recipe cannot set: ponder does, or their work is done in another way here."""

from __future__ import annotations

from typing import Final

_LOOP = (
    "output_dir",
    "max_steps",
    "num_train_epochs",
    "per_device_train_batch_size",
    "auto_find_batch_size",
    "gradient_accumulation_steps",
    "average_tokens_across_devices",
    "seed",
    "data_seed",
    "full_determinism",
    "train_sampling_strategy",
    "length_column_name",
    "remove_unused_columns",
    "label_names",
    "use_cache",
    "do_train",
    "do_predict",
)
_OPTIMIZER = (
    "learning_rate",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_steps",
    "optim",
    "optim_args",
    "optim_target_modules",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
)
_CHECKPOINTS = (
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "save_on_each_node",
    "save_only_model",
    "enable_jit_checkpoint",
    "resume_from_checkpoint",
    "restore_callback_states_from_checkpoint",
    "ignore_data_skip",
    "load_best_model_at_end",
    "metric_for_best_model",
    "greater_is_better",
)
_REPORTING = (
    "logging_strategy",
    "logging_steps",
    "logging_first_step",
    "logging_nan_inf_filter",
    "log_level",
    "log_level_replica",
    "log_on_each_node",
    "report_to",
    "run_name",
    "project",
    "disable_tqdm",
    "include_num_input_tokens_seen",
    "skip_memory_metrics",
    "push_to_hub",
    "hub_model_id",
    "hub_strategy",
    "hub_token",
    "hub_private_repo",
    "hub_always_push",
    "hub_revision",
    "trackio_space_id",
    "trackio_bucket_id",
    "trackio_static_space_id",
)
_EVALUATION = (
    "do_eval",
    "eval_strategy",
    "eval_steps",
    "eval_delay",
    "eval_on_start",
    "eval_accumulation_steps",
    "eval_do_concat_batches",
    "eval_use_gather_object",
    "per_device_eval_batch_size",
    "prediction_loss_only",
    "batch_eval_metrics",
    "include_for_metrics",
    "bf16_full_eval",
    "fp16_full_eval",
)
_DATA = (
    "dataloader_drop_last",
    "dataloader_in_order",
    "dataloader_multiprocessing_context",
    "dataloader_num_workers",
    "dataloader_persistent_workers",
    "dataloader_pin_memory",
    "dataloader_prefetch_factor",
)
_MODEL = ("model_init_kwargs", "trust_remote_code", "fp16")
"""Half precision would have a loss scale, which no checkpoint of ours keeps; `bf16` needs none."""
_SEVERAL_PROCESSES = (
    "deepspeed",
    "fsdp",
    "fsdp_config",
    "parallelism_config",
    "local_rank",
    "ddp_backend",
    "ddp_broadcast_buffers",
    "ddp_bucket_cap_mb",
    "ddp_find_unused_parameters",
    "ddp_static_graph",
    "ddp_timeout",
)

OWNED_BY_THE_LOOP: Final = (
    *_LOOP,
    *_OPTIMIZER,
    *_CHECKPOINTS,
    *_REPORTING,
    *_EVALUATION,
    *_DATA,
    *_MODEL,
    *_SEVERAL_PROCESSES,
)
"""What every stage of this distribution sets, or has no use for: refused rather than ignored."""
