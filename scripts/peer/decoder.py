"""A Qwen2 decoder with frozen weights and a LoRA adapter."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .kernels import RmsNorm, SwiGlu, widened

PROJECTIONS = [
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
]


@dataclass(frozen=True)
class Shape:
    """A Qwen2 decoder with tied embeddings."""

    vocab_size: int = 151_936
    hidden_size: int = 896
    intermediate_size: int = 4_864
    num_hidden_layers: int = 24
    num_attention_heads: int = 14
    num_key_value_heads: int = 2
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads

    def matrix(self, projection):
        """(out, in) of a projection."""
        hidden, key_value = self.hidden_size, self.num_key_value_heads * self.head_dim
        return {
            "self_attn.k_proj": (key_value, hidden),
            "self_attn.v_proj": (key_value, hidden),
            "mlp.gate_proj": (self.intermediate_size, hidden),
            "mlp.up_proj": (self.intermediate_size, hidden),
            "mlp.down_proj": (hidden, self.intermediate_size),
        }.get(projection, (hidden, hidden))


@dataclass(frozen=True)
class Sequence:
    """Tokens (S), of which those from `loss_from` on are predicted; `position` is that of the first."""

    tokens: torch.Tensor
    loss_from: int
    position: int = 0


class Decoder:
    """Frozen weights by their names in transformers, one segment (S, D) at a time, and an adapter φ.

    φ is a flat list: for each layer and each of PROJECTIONS its A (r, in), then its B (out, r).
    """

    def __init__(self, shape, weights, lora_scale):
        self.shape, self.weights, self.lora_scale = shape, weights, lora_scale
        self.embeddings = weights["model.embed_tokens.weight"]

    def hidden(self, phi, sequence):
        """Last hidden states (S, D) after the final norm."""
        x = self.embeddings[sequence.tokens]
        tables = self.tables(len(x), sequence.position)
        for layer in range(self.shape.num_hidden_layers):
            name = f"model.layers.{layer}."
            pairs = phi[2 * layer * len(PROJECTIONS) : 2 * (layer + 1) * len(PROJECTIONS)]
            adapters = dict(zip(PROJECTIONS, zip(pairs[::2], pairs[1::2])))
            x = x + self.attention(self.norm(x, name + "input_layernorm"), name, adapters, tables)
            x = x + self.mlp(self.norm(x, name + "post_attention_layernorm"), name, adapters)
        return self.norm(x, "model.norm")

    def tables(self, length, position):
        """cos and sin (S, head_dim / 2), and the causal mask (S, S)."""
        dim, like = self.shape.head_dim, self.embeddings
        frequencies = 1.0 / self.shape.rope_theta ** (torch.arange(0, dim, 2).double() / dim)
        angles = torch.arange(position, position + length).double()[:, None] * frequencies
        mask = like.new_full((length, length), -math.inf).triu(1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype), mask

    def norm(self, x, name):
        gain = widened(self.weights[name + ".weight"])
        return RmsNorm.apply(widened(x), gain, self.shape.rms_norm_eps).to(x.dtype)

    def linear(self, x, name, projection, adapters):
        # The adapter is f32 however the base is kept.
        a, b = (matrix.to(x.dtype) for matrix in adapters[projection])
        weight, bias = (self.weights.get(f"{name}{projection}.{part}") for part in ("weight", "bias"))
        return F.linear(x, weight, bias).addmm_(x @ a.t(), b.t(), alpha=self.lora_scale)

    def attention(self, x, name, adapters, tables):
        shape, (cos, sin, mask) = self.shape, tables

        def heads(which):
            y = self.linear(x, name, f"self_attn.{which}_proj", adapters)
            return y.view(len(x), -1, shape.head_dim).transpose(0, 1)

        def rotated(y):
            first, second = y.chunk(2, -1)
            return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

        # The query heads that share a key head are one matrix, so that no key is copied.
        queries = rotated(heads("q")).reshape(shape.num_key_value_heads, -1, shape.head_dim)
        scores = (queries * shape.head_dim**-0.5) @ rotated(heads("k")).transpose(1, 2)
        masked = scores.view(shape.num_attention_heads, len(x), len(x)) + mask
        attended = widened(masked).softmax(-1).to(x.dtype).view_as(scores) @ heads("v")
        attended = attended.view(shape.num_attention_heads, len(x), -1).transpose(0, 1)
        return self.linear(attended.reshape(len(x), -1), name, "self_attn.o_proj", adapters)

    def mlp(self, x, name, adapters):
        gate, up = (self.linear(x, name, f"mlp.{which}_proj", adapters) for which in ("gate", "up"))
        return self.linear(SwiGlu.apply(gate, up), name, "mlp.down_proj", adapters)
