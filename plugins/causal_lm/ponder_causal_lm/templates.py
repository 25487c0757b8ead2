"""Chat templates that a policy can switch between, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ponder.text import R1_ZERO_TEMPLATE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PREAMBLE = R1_ZERO_TEMPLATE.split("User: {prompt}")[0].rstrip()

R1_ZERO = (
    "{{- '" + _PREAMBLE + "' -}}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}{{- ' Assistant: ' + message.content -}}"
    "{%- else -%}{{- ' User: ' + message.content -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- ' Assistant:' -}}{%- endif -%}"
)


def _r1(begin: str, opening: str, closing: str) -> str:
    """Turns between role tokens. Reasoning of earlier turns is left out; the assistant's turn ends with the token that
    generation stops at, and a new one begins with an opened <think>."""
    header = opening.replace("ROLE", "' + message.role + '")
    assistant = opening.replace("ROLE", "assistant")
    said = "message.content.split('</think>')[-1] | trim"
    # Concatenation in Jinja binds tighter than the filter, so the parentheses matter.
    return (
        f"{{{{- {begin} -}}}}"
        "{%- for message in messages -%}"
        f"{{{{- '{header}' -}}}}"
        f"{{%- if message.role == 'assistant' -%}}{{{{- ({said}) + eos_token -}}}}"
        f"{{%- else -%}}{{{{- message.content + '{closing}' -}}}}{{%- endif -%}}"
        "{{- SEPARATOR -}}"
        "{%- endfor -%}"
        f"{{%- if add_generation_prompt -%}}{{{{- '{assistant}<think>\\n' -}}}}{{%- endif -%}}"
    )


CHATML = _r1("''", "<|im_start|>ROLE\\n", "<|im_end|>").replace("SEPARATOR", "'\\n'")
HEADERS = _r1("bos_token", "<|start_header_id|>ROLE<|end_header_id|>\\n\\n", "<|eot_id|>").replace("SEPARATOR", "''")


def chat_templates(tokenizer: PreTrainedTokenizerBase) -> Mapping[str, str]:
    """`r1_zero` for every tokenizer, and `r1` for those with Qwen's or Llama 3's role tokens."""
    known = tokenizer.get_vocab()
    templates = {"r1_zero": R1_ZERO}
    if "<|im_start|>" in known:
        templates["r1"] = CHATML
    elif "<|start_header_id|>" in known:
        templates["r1"] = HEADERS
    return templates
