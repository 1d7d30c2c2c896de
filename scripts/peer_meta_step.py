#!/usr/bin/env python3
"""The work of `cargo bench --bench cost` in PyTorch, tuned by hand: one meta-step, or one encode.

    peer_meta_step.py --tokens 512 --differentiated 2
    peer_meta_step.py --check [FOLDER]       compares with golden files in f64; default tests/golden

Shapes of Qwen2.5-0.5B with random weights in f32, LoRA on all seven projections, AdamW inside with a rate
for every tensor and step, token weights from a head, the meta-gradient through the last T of N steps.

What makes it a fair opponent: the inner steps keep no graph; the meta-gradient is swept backwards over them,
and each step's Hessian-vector product is a double backward through the graph of one segment at a time; the
cross entropy keeps one matrix of probabilities, and its two derivatives are written by hand.
"""

import argparse
import math
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.autograd import Function, grad
from torch.autograd.function import once_differentiable

PROJECTIONS = [
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
]
HEAD_HIDDEN = 128
HEAD_BETA = 3.0
BETA1, BETA2, EPS, WEIGHT_DECAY = 0.9, 0.95, 1e-8, 0.01
# Rows of logits that are in work at once: 78 MB in f32.
LOGIT_ROWS = 128


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


# ---------------------------------------------------------------------------------------------- the decoder


class CrossEntropy(Function):
    """h (R, D), matrix (V, D), targets (R) -> cross entropies (R); keeps softmax(h matrixᵀ), (R, V)."""

    @staticmethod
    def forward(ctx, h, matrix, targets):
        probabilities = h.new_empty(len(h), len(matrix))
        losses = []
        for rows, labels, out in zip(*(x.split(LOGIT_ROWS) for x in (h, targets, probabilities))):
            log_p = F.log_softmax(rows @ matrix.t(), 1)
            losses.append(-log_p.gather(1, labels[:, None])[:, 0])
            torch.exp(log_p, out=out)
        ctx.save_for_backward(h, matrix, targets, probabilities)
        return torch.cat(losses)

    @staticmethod
    def backward(ctx, d_loss):
        return CrossEntropyGradient.apply(d_loss, *ctx.saved_tensors), None, None


class CrossEntropyGradient(Function):
    """d_loss ⊙ G with G = (p − onehot) matrix, as a function of d_loss (R) and, through p, of h (R, D)."""

    @staticmethod
    def forward(ctx, d_loss, h, matrix, targets, probabilities):
        gradient = probabilities @ matrix
        gradient -= matrix[targets]
        ctx.save_for_backward(d_loss, matrix, probabilities, gradient)
        return d_loss[:, None] * gradient

    @staticmethod
    @once_differentiable
    def backward(ctx, direction):
        d_loss, matrix, probabilities, gradient = ctx.saved_tensors
        parts = []
        for rows, p in zip(direction.split(LOGIT_ROWS), probabilities.split(LOGIT_ROWS)):
            u = rows @ matrix.t()
            u -= torch.bmm(p[:, None, :], u[:, :, None])[:, 0]
            parts.append(u.mul_(p) @ matrix)
        return (direction * gradient).sum(1), d_loss[:, None] * torch.cat(parts), None, None, None


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
        weight = self.weights[name + ".weight"]
        return x * (x.square().mean(-1, keepdim=True) + self.shape.rms_norm_eps).rsqrt() * weight

    def linear(self, x, name, projection, adapters):
        a, b = adapters[projection]
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
        attended = masked.softmax(-1).view_as(scores) @ heads("v")
        attended = attended.view(shape.num_attention_heads, len(x), -1).transpose(0, 1)
        return self.linear(attended.reshape(len(x), -1), name, "self_attn.o_proj", adapters)

    def mlp(self, x, name, adapters):
        gate = F.silu(self.linear(x, name, "mlp.gate_proj", adapters))
        return self.linear(gate * self.linear(x, name, "mlp.up_proj", adapters), name, "mlp.down_proj", adapters)


# ---------------------------------------------------------------------------------------------- the method


@dataclass(frozen=True)
class Learner:
    """A decoder and the inner loop: N `steps`, of which the last T are `differentiated`."""

    decoder: Decoder
    steps: int
    differentiated: int

    def loss(self, phi, head, sequence, divisor):
        """One segment's part of `Σ ω_{t+1} CE_t / divisor`; ω = 1 without a head."""
        h = self.decoder.hidden(phi, sequence)
        first = sequence.loss_from
        ce = CrossEntropy.apply(h[first - 1 : -1], self.decoder.embeddings, sequence.tokens[first:])
        if head is not None:
            fc1, fc1_bias, fc2, fc2_bias = head
            out = F.linear(F.gelu(F.linear(h[first:], fc1, fc1_bias)), fc2, fc2_bias)
            ce = F.softplus(out[:, 0], beta=HEAD_BETA) * ce
        return ce.sum() / divisor

    def gradient(self, phi, head, sequences, divisor):
        """The loss and its gradient at φ, a segment at a time."""
        phi = leaves(phi)
        total, sums = 0.0, [torch.zeros_like(p) for p in phi]
        for sequence in sequences:
            loss = self.loss(phi, head, sequence, divisor)
            torch._foreach_add_(sums, grad(loss, phi))
            total += loss.item()
        return total, sums

    def product(self, phi, head, sequences, divisor, direction):
        """The gradient of ⟨∇_φ L, direction⟩ with respect to φ and the head, a segment at a time."""
        phi, head = leaves(phi), head and leaves(head)
        inputs = phi + (head or [])
        sums = [torch.zeros_like(x) for x in inputs]
        for sequence in sequences:
            gradient = grad(self.loss(phi, head, sequence, divisor), phi, create_graph=True)
            torch._foreach_add_(sums, grad(gradient, inputs, direction))
            del gradient
        return sums[: len(phi)], sums[len(phi) :]

    def adapt(self, phi, lrs, head, segments):
        """φ_N, the gradients on the way there, and the loss before each step."""
        divisor, gradients, losses = divisor_of(segments, head), [], []
        states = start(phi)
        for step in range(self.steps):
            loss, gradient = self.gradient([state[0] for state in states], head, segments, divisor)
            states = advance(states, gradient, lrs, step)
            gradients.append(gradient)
            losses.append(loss)
        return [state[0] for state in states], gradients, losses

    def meta_gradient(self, phi0, lrs, head, segments, queries):
        """The outer loss after the inner steps and its gradient by φ₀, the rates [tensor][step], the head."""
        phi, gradients, inner_losses = self.adapt(phi0, lrs, head, segments)
        outer_loss, cotangent = self.gradient(phi, None, queries, divisor_of(queries, None))
        cotangents = start(cotangent)
        d_lrs = [[0.0] * self.steps for _ in phi0]
        d_head = [torch.zeros_like(x) for x in head or []]
        for step in reversed(range(self.steps)):
            # Only the gradients were kept: the states before the step are had again from them.
            states = start(phi0)
            for n in range(step):
                states = advance(states, gradients[n], lrs, n)
            gradient, direction = gradients.pop(), []
            for i, state in enumerate(states):
                *cotangents[i], d_g, d_lr = adamw_vjp(state, gradient[i], lrs[i][step], step, cotangents[i])
                d_lrs[i][step] = d_lr.item()
                direction.append(d_g)
            if step < self.steps - self.differentiated:
                continue  # This step's gradient, and so its moments, count as constants.
            phi, states = [state[0] for state in states], None
            parts, head_parts = self.product(phi, head, segments, divisor_of(segments, head), direction)
            for state, part in zip(cotangents, parts):
                state[0] = state[0] + part
            d_head = [a + b for a, b in zip(d_head, head_parts)]
        return outer_loss, inner_losses, [state[0] for state in cotangents], d_lrs, d_head


def leaves(tensors):
    return [x.detach().requires_grad_() for x in tensors]


def start(tensors):
    """Tensors with moments (or cotangents of moments) of zero."""
    return [[x, torch.zeros_like(x), torch.zeros_like(x)] for x in tensors]


def divisor_of(sequences, head):
    """All B × (S − 1) positions, padding included, of a weighted loss; else the predicted tokens."""
    if head is None:
        return sum(len(s.tokens) - s.loss_from for s in sequences)
    return len(sequences) * (max(s.position + len(s.tokens) for s in sequences) - 1)


def adamw(phi, m, v, g, lr, step):
    m = BETA1 * m + (1 - BETA1) * g
    v = BETA2 * v + (1 - BETA2) * g * g
    # Below the clamp the root's derivative counts as zero: no gradient has ever reached such a number.
    root = (v / (1 - BETA2 ** (step + 1))).clamp_min(1e-36).sqrt()
    return (1 - lr * WEIGHT_DECAY) * phi - lr * (m / (1 - BETA1 ** (step + 1))) / (root + EPS), m, v


def advance(states, gradient, lrs, step):
    return [list(adamw(*state, g, lr[step], step)) for state, g, lr in zip(states, gradient, lrs)]


def adamw_vjp(state, g, lr, step, cotangents):
    """Cotangents of φ, m, v, g and the rate of one tensor from those of the new φ, m, v."""
    inputs = leaves([*state, g, torch.tensor(lr, dtype=g.dtype)])
    return grad(adamw(*inputs, step), inputs, cotangents)


# ---------------------------------------------------------------------------------------------- the bench


def random_decoder(shape, lora_scale):
    """Matrices normal with deviation 1/√in, the branches' last ones less by √(2 layers); gains 1, biases 0."""
    deep = math.sqrt(2 * shape.num_hidden_layers)

    def matrix(rows, columns, shrink=1.0):
        return torch.empty(rows, columns).normal_(0, 1 / math.sqrt(columns) / shrink)

    weights = {"model.norm.weight": torch.ones(shape.hidden_size)}
    weights["model.embed_tokens.weight"] = matrix(shape.vocab_size, shape.hidden_size)
    for layer in range(shape.num_hidden_layers):
        name = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{name}{norm}.weight"] = torch.ones(shape.hidden_size)
        for projection in PROJECTIONS:
            rows, columns = shape.matrix(projection)
            ends_branch = projection in ("self_attn.o_proj", "mlp.down_proj")
            weights[f"{name}{projection}.weight"] = matrix(rows, columns, deep if ends_branch else 1.0)
            if projection.startswith("self_attn") and not ends_branch:
                weights[f"{name}{projection}.bias"] = torch.zeros(rows)
    return Decoder(shape, weights, lora_scale)


def random_start(shape, rank, steps):
    """φ₀ with A uniform in ±1/√in and B small, rates of 5e-5, a head whose second layer is zero."""
    phi0 = []
    for projection in PROJECTIONS * shape.num_hidden_layers:
        rows, columns = shape.matrix(projection)
        bound = 1 / math.sqrt(columns)
        phi0 += [torch.empty(rank, columns).uniform_(-bound, bound), torch.empty(rows, rank).normal_(0, 0.01)]
    bound = 1 / math.sqrt(shape.hidden_size)
    fc1 = torch.empty(HEAD_HIDDEN, shape.hidden_size).uniform_(-bound, bound)
    bias = torch.empty(HEAD_HIDDEN).uniform_(-bound, bound)
    return phi0, [[5e-5] * steps for _ in phi0], [fc1, bias, torch.zeros(1, HEAD_HIDDEN), torch.zeros(1)]


def made_up(length, loss_from, seed):
    tokens = [(i * 7919 + seed * 104_729 + 17) % 150_000 for i in range(length)]
    return Sequence(torch.tensor(tokens), loss_from)


def bench(arguments):
    shape = Shape(num_hidden_layers=arguments.layers)
    decoder = random_decoder(shape, 16.0 / math.sqrt(arguments.rank))
    phi0, lrs, head = random_start(shape, arguments.rank, arguments.steps)
    learner = Learner(decoder, arguments.steps, arguments.differentiated)
    segments = [made_up(arguments.segment, 4, s) for s in range(arguments.tokens // arguments.segment)]
    queries = [made_up(24, 20, 99)]
    seconds = []
    for _ in range(arguments.repeat):
        began = time.perf_counter()
        if arguments.encode:
            learner.adapt(phi0, lrs, head, segments)
        else:
            learner.meta_gradient(phi0, lrs, head, segments, queries)
        seconds.append(time.perf_counter() - began)
    what = "encode" if arguments.encode else "meta"
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"{'tokens':>7} {'N':>3} {'T':>3} {'what':>8} {'seconds':>9} {'peak GB':>10}")
    print(
        f"{arguments.tokens:>7} {arguments.steps:>3} {arguments.differentiated:>3} {what:>8} "
        f"{statistics.median(seconds):>9.1f} {peak_gb:>10.2f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=512, help="context tokens")
    parser.add_argument("--differentiated", type=int, default=2, help="differentiated inner steps T")
    parser.add_argument("--steps", type=int, default=4, help="inner steps N")
    parser.add_argument("--rank", type=int, default=16, help="LoRA rank")
    parser.add_argument("--segment", type=int, default=256, help="tokens a segment")
    parser.add_argument("--encode", action="store_true", help="the inner loop alone")
    parser.add_argument("--layers", type=int, default=24, help="layers of the decoder")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    parser.add_argument("--repeat", type=int, default=1, help="times to repeat; the median is printed")
    golden = Path(__file__).resolve().parent.parent / "tests" / "golden"
    parser.add_argument("--check", type=Path, nargs="?", const=golden, metavar="FOLDER", help="golden files")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(7)
    if arguments.check:
        from peer_golden import check

        return check(arguments.check)
    return bench(arguments)


if __name__ == "__main__":
    sys.exit(main())
