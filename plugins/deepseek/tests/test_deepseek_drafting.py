"""Guesses by the modules over their own caches, against a plain pass over all tokens."""

import pytest
import torch
from transformers import DeepseekV3Config

from ponder_deepseek.drafting import MtpDecoder
from ponder_deepseek.mtp import DeepseekV3ForCausalLM, mtp_modules, read_ahead
from ponder_deepseek.presets import preset
from ponder_deepseek.sizes import TINY

VARIANTS = {"plain": {}, "query compression": {"q_lora_rank": 12}, "half rotation": {"rope_interleave": False}}
PROMPTS = ([3, 4, 5, 6, 7, 8, 9], [10], [11, 12, 13])


def model(depth, **variant):
    torch.manual_seed(0)
    changes = {"num_nextn_predict_layers": depth, "initializer_range": 0.3, **variant}
    return DeepseekV3ForCausalLM(DeepseekV3Config(**{**preset("tiny", 50).to_dict(), **changes})).eval()


def prefilled(made, capacity=30):
    decoder = MtpDecoder(made)
    rows = torch.tensor([[*prompt, *[0] * (7 - len(prompt))] for prompt in PROMPTS])
    decoder.prefill(rows, torch.tensor([len(prompt) for prompt in PROMPTS]), capacity)
    return decoder


def drafted(decoder, tokens):
    """The logits of all guesses [rows, depth, vocab], and the likeliest tokens, which are guessed."""
    seen = []

    def likeliest(logits, number):
        assert number == len(seen)
        seen.append(logits)
        return logits.argmax(-1)

    guesses = decoder.draft(tokens, likeliest)
    return torch.stack(seen, 1), guesses


def from_scratch(made, text, guesses):
    """Logits [depth, vocab] of the guesses for a row of text whose last token is drawn but not read."""
    hidden, known, found = made.model(torch.tensor([text[:-1]])).last_hidden_state, [*text, *guesses], []
    for depth, module in enumerate(mtp_modules(made), start=1):
        length = len(text) - 1
        embedded = made.model.embed_tokens(torch.tensor([known[depth : depth + length]]))
        hidden = read_ahead(made, module, module.joined(hidden, embedded))
        found.append(made.lm_head(hidden[0, -1]))
    return torch.stack(found)


def assert_exact(made, decoder, texts):
    logits, guesses = drafted(decoder, torch.tensor([text[-1] for text in texts]))
    for row, text in enumerate(texts):
        expected = from_scratch(made, text, guesses[row].tolist())
        torch.testing.assert_close(logits[row], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize("depth", [1, 2, 3])
@torch.inference_mode()
def test_guesses_are_exact_whatever_was_right_or_wrong_before(depth, variant):
    made = model(depth, **variant)
    decoder = prefilled(made)
    texts = [[*prompt, 20 + row] for row, prompt in enumerate(PROMPTS)]
    for counts in ([1, 1, 1], [1, 2, depth + 1], [depth + 1, 1, 2], [2, depth + 1, 1], [1, 0, 1], [depth + 1] * 3):
        assert_exact(made, decoder, texts)
        # As if the guesses had been these, and so many of them right.
        guesses = [[30 + row, 33 + row, 36 + row][:depth] for row in range(3)]
        read = torch.tensor([[text[-1], *guess] for text, guess in zip(texts, guesses, strict=True)])
        logits = decoder.verify(read)
        for row, text in enumerate(texts):
            whole = made(torch.tensor([[*text, *guesses[row]]])).logits[0, -depth - 1 :]
            torch.testing.assert_close(logits[row], whole, atol=2e-5, rtol=1e-5)
        decoder.keep(torch.tensor(counts))
        texts = [
            [*text, *guesses[row][: count - 1], 40 + row] if count else text
            for row, (text, count) in enumerate(zip(texts, counts, strict=True))
        ]


@torch.inference_mode()
def test_selected_rows_guess_as_if_they_had_been_alone():
    made = model(2)
    decoder = prefilled(made)
    decoder.select(torch.tensor([2, 2, 0]))
    texts = [[*PROMPTS[2], 21], [*PROMPTS[2], 22], [*PROMPTS[0], 23]]
    assert_exact(made, decoder, texts)
    decoder.verify(torch.tensor([[text[-1], 30, 31] for text in texts]))
    decoder.keep(torch.tensor([1, 2, 3]))
    decoder.select(torch.tensor([1, 2]))
    assert_exact(made, decoder, [[*texts[1], 30, 41], [*texts[2], 30, 31, 42]])


@torch.inference_mode()
def test_prompts_of_one_token_are_guessed_after():
    made = model(3)
    decoder = MtpDecoder(made)
    decoder.prefill(torch.tensor([[7], [8]]), torch.tensor([1, 1]), 9)
    assert_exact(made, decoder, [[7, 20], [8, 21]])


@torch.inference_mode()
def test_the_modules_caches_hold_latents_alone():
    decoder = prefilled(model(2))
    assert [latent.shape[-1] for latent in decoder._module_latents] == [TINY.kv_lora_rank + TINY.qk_rope_head_dim] * 2
