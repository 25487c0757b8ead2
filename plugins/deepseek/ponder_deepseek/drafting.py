"""Guesses of the modules for multi-token prediction, for speculative decoding (DeepSeek-V3, section 2.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ponder_deepseek.decoding import LatentDecoder
from ponder_deepseek.latent_layers import LatentLayer
from ponder_deepseek.mtp import DeepseekV3ForCausalLM, mtp_modules, read_ahead


class MtpDecoder(LatentDecoder):
    """A `ponder.hf.DraftingDecoder` over latent caches, the modules' own included.

    Module k reads position i with token i + k. Of the last positions it may have read that token as a guess that was wrong, so
    a window of them is read anew at each guess: 2 D of them are all that can be new or wrong.
    """

    def __init__(self, model: DeepseekV3ForCausalLM) -> None:
        super().__init__(model)
        self._modules = mtp_modules(model)
        self.depth = len(self._modules)
        self.cost = self.depth / model.config.num_hidden_layers
        self._window = 2 * self.depth
        self._module_layers: list[LatentLayer] = []
        self._module_latents: list[Tensor] = []
        """Slot = position + window, so that the window of a short prompt has somewhere to go."""
        self._tokens = torch.empty(0, dtype=torch.long)
        """[rows, window]: the last that were read."""
        self._hidden = torch.empty(0)
        """[rows, window, width]: of these tokens, behind the main model's final norm."""
        self._new = (self._tokens, self._hidden)
        """The same of what `verify` has read."""

    def prefill(self, input_ids: Tensor, lengths: Tensor, capacity: int) -> Tensor:
        """Read prompts [rows, longest], right-padded; returns the logits [rows, vocab] after each row's last token."""
        hidden = self._read_prompts(input_ids, lengths, capacity)
        self._read_prompts_ahead(input_ids, hidden, capacity)
        rows = torch.arange(len(lengths), device=lengths.device)[:, None]
        places = self._window_positions(lengths).clamp_(min=0)
        self._tokens, self._hidden = input_ids[rows, places], hidden[rows, places]
        return self._model.lm_head(self._hidden[:, -1])

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order, repeats allowed."""
        super().select(rows)
        self._module_latents = [latent.index_select(0, rows) for latent in self._module_latents]
        self._tokens, self._hidden = self._tokens.index_select(0, rows), self._hidden.index_select(0, rows)

    def draft(self, tokens: Tensor, choose: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Guess what follows `tokens` [rows]: [rows, depth]."""
        model, positions = self._model.model, self._window_positions(self._lengths)
        known, hidden = torch.cat((self._tokens, tokens[:, None]), dim=1), self._hidden
        slots = positions + self._window
        # What a row sees at a position before its beginning is no part of any guess.
        places = self._places(positions.clamp(min=0), slots, self._visible(slots), self._module_latents[0])
        parts = zip(self._modules, self._module_layers, self._module_latents, strict=True)
        for number, (module, layer, latent) in enumerate(parts):
            joined = module.joined(hidden, model.embed_tokens(known[:, -self._window :]))
            hidden = module.normed(layer(joined.flatten(0, 1), latent, places)).view(joined.shape)
            guess = choose(self._model.lm_head(hidden[:, -1]), number)
            known = torch.cat((known, guess[:, None]), dim=1)
        return known[:, -self.depth :]

    def verify(self, tokens: Tensor) -> Tensor:
        """Read tokens [rows, new] of each row: logits [rows, new, vocab] after each."""
        self._new = (tokens, self._extend(tokens))
        return self._model.lm_head(self._new[1])

    def keep(self, counts: Tensor) -> None:
        """Keep the first `counts` [rows] of what `verify` has read."""
        rows = torch.arange(len(counts), device=counts.device)[:, None]
        places = counts[:, None] + torch.arange(self._window, device=counts.device)
        tokens, hidden = self._new
        self._tokens = torch.cat((self._tokens, tokens), dim=1)[rows, places]
        self._hidden = torch.cat((self._hidden, hidden), dim=1)[rows, places]
        self._lengths = self._lengths + counts
        self._widest = int(self._lengths.max())

    def _window_positions(self, lengths: Tensor) -> Tensor:
        return lengths[:, None] + torch.arange(-self._window, 0, device=lengths.device)

    def _visible(self, slots: Tensor) -> Tensor:
        """[rows, window, seen]: all positions up to its own; one before the row's beginning sees itself, and nobody else sees it."""
        every = torch.arange(self._widest + self._window, device=slots.device)
        own = slots[..., None]
        return (every == own) | ((every >= self._window) & (every < own))

    def _read_prompts_ahead(self, input_ids: Tensor, hidden: Tensor, capacity: int) -> None:
        """Fill the modules' caches as far as the prompts say which tokens follow; `hidden` is the main model's."""
        model, (rows, longest) = self._model.model, input_ids.shape
        self._module_layers = [LatentLayer(module) for module in self._modules]
        self._module_latents = []
        for number, module in enumerate(self._modules):
            values = module.self_attn.kv_lora_rank + module.self_attn.qk_rope_head_dim
            room = hidden.new_zeros(rows, self._window + longest + capacity, values)
            self._module_latents.append(room)
            seen = longest - number - 1
            if seen < 1:  # prompts too short for this module
                continue
            joined = module.joined(hidden[:, :seen], model.embed_tokens(input_ids[:, number + 1 :]))
            slots = room[:, self._window : self._window + seen]
            self._module_layers[number].fill(joined, slots, *(part[:seen] for part in self._rotary))
            if number + 1 < self.depth:
                hidden = read_ahead(self._model, module, joined)
