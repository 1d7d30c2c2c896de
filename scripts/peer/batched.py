"""Encode and meta-step for one GPU: segments and episodes in batches, the adapters of all episodes in one vector.

The work is that of `learner.Learner`, which is checked against the golden files; `check` compares with it.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch.autograd import grad

from . import kernels
from .decoder import PROJECTIONS, Decoder
from .kernels import CrossEntropy, RmsNorm, SwiGlu, widened
from .learner import HEAD_BETA, adamw, leaves


@dataclass(frozen=True)
class Batch:
    """Tokens (E, B, S), of which those from `loss_from` on are predicted."""

    tokens: torch.Tensor
    loss_from: int

    def split(self, segments):
        """Parts of at most so many segments an episode."""
        return [replace(self, tokens=part) for part in self.tokens.split(segments, 1)]

    def predicted(self):
        """Predicted tokens of an episode."""
        return self.tokens.shape[1] * (self.tokens.shape[2] - self.loss_from)

    def positions(self):
        """Positions of an episode after which a token stands."""
        return self.tokens.shape[1] * (self.tokens.shape[2] - 1)


class BatchedDecoder(Decoder):
    """Frozen weights, and an adapter for each of E episodes.

    φ is one vector: for each layer and each of PROJECTIONS the A of all episodes (E, r, in), then their B (E, out, r).
    So it is lowered to bf16, and stepped, by a handful of kernels and not by hundreds.
    """

    def __init__(self, shape, weights, lora_scale, rank, episodes, fused_attention):
        super().__init__(shape, weights, lora_scale)
        self.rank, self.episodes, self.fused_attention = rank, episodes, fused_attention
        self.forms = []
        for projection in PROJECTIONS * shape.num_hidden_layers:
            rows, columns = shape.matrix(projection)
            self.forms += [(episodes, rank, columns), (episodes, rows, rank)]
        self.sizes = [a * b * c for a, b, c in self.forms]
        self.cached = {}

    def flat(self, phi):
        """φ of one adapter, a tensor a matrix, for every episode."""
        return torch.cat([x.expand(self.episodes, *x.shape).reshape(-1) for x in phi])

    def matrices(self, phi):
        """The tensors in φ."""
        return [part.view(form) for part, form in zip(phi.split(self.sizes), self.forms)]

    def hidden(self, phi, tokens, fused):
        """Last hidden states (E, B, S, D) after the final norm; `fused` where nothing is differentiated twice."""
        x = self.embeddings[tokens]
        if x.shape[2] not in self.cached:
            self.cached[x.shape[2]] = self.tables(x.shape[2], 0)
        tables = (*self.cached[x.shape[2]], fused and self.fused_attention)
        pairs = self.matrices(phi.to(x.dtype))
        for layer in range(self.shape.num_hidden_layers):
            name = f"model.layers.{layer}."
            own = pairs[2 * layer * len(PROJECTIONS) : 2 * (layer + 1) * len(PROJECTIONS)]
            adapters = dict(zip(PROJECTIONS, zip(own[::2], own[1::2])))
            x = x + self.attention(self.norm(x, name + "input_layernorm"), name, adapters, tables)
            x = x + self.mlp(self.norm(x, name + "post_attention_layernorm"), name, adapters)
        return self.norm(x, "model.norm")

    def linear(self, x, name, projection, adapters):
        """The frozen product is of all rows together, the low-rank ones are of each episode's."""
        a, b = adapters[projection]
        weight, bias = (self.weights.get(f"{name}{projection}.{part}") for part in ("weight", "bias"))
        rows = x.reshape(self.episodes, -1, x.shape[-1])
        y = F.linear(rows, weight, bias)
        low = torch.bmm(rows, a.transpose(1, 2))
        y = torch.baddbmm(y, low, b.transpose(1, 2), alpha=self.lora_scale)
        return y.view(*x.shape[:-1], -1)

    def attention(self, x, name, adapters, tables):
        shape, (cos, sin, mask, fused) = self.shape, tables
        length = x.shape[2]

        def heads(which):
            y = self.linear(x, name, f"self_attn.{which}_proj", adapters)
            return y.view(-1, length, y.shape[-1] // shape.head_dim, shape.head_dim).transpose(1, 2)

        def rotated(y):
            first, second = y.chunk(2, -1)
            return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

        queries, keys, values = rotated(heads("q")), rotated(heads("k")), heads("v")
        if fused:
            attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
        else:
            attended = self.attended(queries, keys, values, mask)
        attended = attended.transpose(1, 2).reshape(x.shape[0], x.shape[1], length, -1)
        return self.linear(attended, name, "self_attn.o_proj", adapters)

    def attended(self, queries, keys, values, mask):
        """Attention (batch, heads, S, head_dim) written out: PyTorch's own is differentiated once only."""
        grouped = (len(queries), self.shape.num_key_value_heads, -1, self.shape.head_dim)
        # The query heads that share a key head are one matrix, so that no key is copied.
        scores = (queries * self.shape.head_dim**-0.5).reshape(grouped) @ keys.transpose(2, 3)
        masked = scores.view(*queries.shape[:3], -1) + mask
        probabilities = widened(masked).softmax(-1).to(queries.dtype).view_as(scores)
        return (probabilities @ values).view_as(queries)


@dataclass(frozen=True)
class BatchedLearner:
    """As `Learner`, `micro_batch` segments of every episode at a time."""

    decoder: BatchedDecoder
    steps: int
    differentiated: int
    micro_batch: int

    def loss(self, phi, head, batch, divisor, fused):
        """The sum over episodes of `Σ ω_{t+1} CE_t / divisor`; ω = 1 without a head."""
        first, h = batch.loss_from, self.decoder.hidden(phi, batch.tokens, fused)
        targets = batch.tokens[:, :, first:].flatten()
        ce = CrossEntropy.apply(h[:, :, first - 1 : -1].flatten(0, 2), self.decoder.embeddings, targets)
        if head is not None:
            fc1, fc1_bias, fc2, fc2_bias = head
            features = widened(h[:, :, first:].flatten(0, 2))
            out = F.linear(F.gelu(F.linear(features, fc1, fc1_bias)), fc2, fc2_bias)
            ce = F.softplus(out[:, 0], beta=HEAD_BETA) * ce
        return ce.sum() / divisor

    def gradient(self, phi, head, batch, divisor):
        """The loss and its gradient at φ."""
        (phi,) = leaves([phi])
        total, gradient = 0.0, torch.zeros_like(phi)
        for part in batch.split(self.micro_batch):
            loss = self.loss(phi, head, part, divisor, fused=True)
            gradient += grad(loss, phi)[0]
            total += loss.detach()
        return total, gradient

    def product(self, phi, head, batch, divisor, direction):
        """The gradient of ⟨∇_φ L, direction⟩ with respect to φ and the head."""
        inputs = leaves([phi, *head])
        sums = [torch.zeros_like(x) for x in inputs]
        for part in batch.split(self.micro_batch):
            loss = self.loss(inputs[0], inputs[1:], part, divisor, fused=False)
            (gradient,) = grad(loss, inputs[0], create_graph=True)
            torch._foreach_add_(sums, grad(gradient, inputs, direction))
            del loss, gradient
        return sums[0], sums[1:]

    def rates(self, lrs, step):
        """The rate of every number of φ."""
        rates = torch.tensor([lr[step] for lr in lrs], dtype=torch.get_default_dtype())
        return rates.repeat_interleave(torch.tensor(self.decoder.sizes), output_size=sum(self.decoder.sizes))

    def adapt(self, phi0, lrs, head, context):
        """φ, m, v before every step and after the last, and the steps' gradients."""
        phi = self.decoder.flat(phi0)
        states, gradients = [(phi, torch.zeros_like(phi), torch.zeros_like(phi))], []
        for step in range(self.steps):
            _, gradient = self.gradient(states[-1][0], head, context, context.positions())
            gradients.append(gradient)
            states.append(adamw(*states[-1], gradient, self.rates(lrs, step), step))
        return states, gradients

    def meta_gradient(self, phi0, lrs, head, context, queries):
        """The sum of the episodes' outer losses, and its gradient by φ₀, the rates [tensor][step], the head."""
        states, gradients = self.adapt(phi0, lrs, head, context)
        loss, cotangent = self.gradient(states.pop()[0], None, queries, queries.predicted())
        cotangents = [cotangent, torch.zeros_like(cotangent), torch.zeros_like(cotangent)]
        d_lrs, d_head = [], [torch.zeros_like(x) for x in head]
        for step in reversed(range(self.steps)):
            inputs = leaves([*states.pop(), gradients.pop(), self.rates(lrs, step)])
            *cotangents, direction, d_rates = grad(adamw(*inputs, step), inputs, cotangents)
            d_lrs.append(torch.stack([part.sum() for part in d_rates.split(self.decoder.sizes)]))
            if step < self.steps - self.differentiated:
                continue  # This step's gradient, and so its moments, count as constants.
            part, head_parts = self.product(inputs[0], head, context, context.positions(), direction)
            cotangents[0] = cotangents[0] + part
            torch._foreach_add_(d_head, head_parts)
        d_phi0 = [x.sum(0) for x in self.decoder.matrices(cotangents[0])]
        return loss, d_phi0, torch.stack(d_lrs[::-1], 1), d_head


def take_large_products():
    """Logits of up to 4,096 rows at once: 2.5 GB in f32 at Qwen's vocabulary, and few kernels."""
    kernels.LOGIT_ROWS = 4096
