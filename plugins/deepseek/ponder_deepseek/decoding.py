"""Incremental decoding over the latent cache, with the up-projections absorbed into query and output (DeepSeek-V2, 2.1.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DeepseekV3ForCausalLM, DynamicCache

from ponder_deepseek.latent_layers import LatentLayer, Norm, Places


class LatentDecoder:
    """A static cache of (d_c + d_h^R) values for each token and layer, and attention computed on it directly.

    Rows may have different lengths: each token is written at its own row's end. Equal to the model's own forward up to rounding.
    The weights are those of the last `prefill`.
    """

    def __init__(self, model: DeepseekV3ForCausalLM) -> None:
        self._model = model
        self._norm = Norm(model.model.norm)
        self._layers: list[LatentLayer] = []
        self._latents: list[Tensor] = []
        self._lengths = torch.empty(0, dtype=torch.long)
        self._widest = 0
        self._rotary = (torch.empty(0), torch.empty(0))
        """Cosine and sine [positions, rotary dimensions] of all positions that there is room for."""

    def prefill(self, input_ids: Tensor, lengths: Tensor, capacity: int) -> Tensor:
        """Read prompts [rows, longest], right-padded; returns the logits [rows, vocab] after each row's last token."""
        hidden = self._read_prompts(input_ids, lengths, capacity)
        return self._model.lm_head(hidden[torch.arange(len(lengths)), lengths - 1])

    def _read_prompts(self, input_ids: Tensor, lengths: Tensor, capacity: int) -> Tensor:
        """Fill the cache; returns the hidden states [rows, longest, width] behind the final norm."""
        # What is padded stands behind what counts, where causal attention does not look.
        cache, model = DynamicCache(config=self._model.config), self._model.model
        hidden = model(input_ids=input_ids, past_key_values=cache, use_cache=True).last_hidden_state
        rows, longest = input_ids.shape
        self._latents = []
        for layer in cache.layers:
            latent = torch.cat((layer.keys, layer.values), dim=-1).squeeze(1)
            room = latent.new_zeros(rows, longest + capacity, latent.shape[-1])
            room[:, :longest] = latent
            self._latents.append(room)
        self._layers = [LatentLayer(layer) for layer in model.layers[: len(self._latents)]]
        cosine, sine = model.rotary_emb(hidden, torch.arange(longest + capacity, device=hidden.device)[None])
        self._rotary = cosine[0], sine[0]
        self._lengths = lengths.clone()
        self._widest = longest
        return hidden

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order, repeats allowed."""
        self._latents = [latent.index_select(0, rows) for latent in self._latents]
        self._lengths = self._lengths.index_select(0, rows)
        self._widest = int(self._lengths.max()) if len(rows) else 0

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to each row: [rows] -> logits [rows, vocab]."""
        hidden = self._extend(tokens[:, None])
        self._lengths = self._lengths + 1
        return self._model.lm_head(hidden[:, 0])

    def _extend(self, tokens: Tensor) -> Tensor:
        """Write tokens [rows, new] behind each row's end, which stays where it is; returns their hidden states [rows, new, width]."""
        model = self._model.model
        positions = self._lengths[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        self._widest += tokens.shape[1]
        visible = torch.arange(self._widest, device=tokens.device) <= positions[..., None]
        hidden = model.embed_tokens(tokens.flatten())
        places = self._places(positions, positions, visible, self._latents[0])
        for layer, latent in zip(self._layers, self._latents, strict=True):
            hidden = layer(hidden, latent, places)
        return self._norm(hidden).view(*tokens.shape, -1)

    def _places(self, positions: Tensor, slots: Tensor, visible: Tensor, cache: Tensor) -> Places:
        """Of new tokens, from their positions and slots in their rows [rows, new] and the slots that they see [rows, new, seen]."""
        rows, width = cache.shape[:2]
        firsts = torch.arange(rows, device=slots.device) * width
        mask = torch.zeros(visible.shape, dtype=cache.dtype, device=cache.device).masked_fill_(~visible, float("-inf"))
        heads = self._model.config.num_attention_heads
        cosine, sine = (part.index_select(0, positions.flatten()).unsqueeze(1) for part in self._rotary)
        by_head = mask.unsqueeze(2).expand(-1, -1, heads, -1).flatten(1, 2)
        return Places((slots + firsts[:, None]).flatten(), by_head, cosine, sine)
