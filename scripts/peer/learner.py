"""The inner loop, and its meta-gradient by a sweep back over the steps."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.autograd import grad

from .decoder import Decoder
from .kernels import CrossEntropy, widened

# β of the softplus, and the constants of AdamW.
HEAD_BETA = 3.0
BETA1, BETA2, EPS, WEIGHT_DECAY = 0.9, 0.95, 1e-8, 0.01


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
            out = F.linear(F.gelu(F.linear(widened(h[first:]), fc1, fc1_bias)), fc2, fc2_bias)
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
            phi = [state[0] for state in states]
            del states, gradient, state  # Not needed below, where the memory peaks.
            parts, head_parts = self.product(phi, head, segments, divisor_of(segments, head), direction)
            for state, part in zip(cotangents, parts):
                state[0] = state[0] + part
            d_head = [a + b for a, b in zip(d_head, head_parts)]
        return outer_loss, inner_losses, [state[0] for state in cotangents], d_lrs, d_head

    def meta_gradient_on_tape(self, phi0, lrs, head, segments, queries):
        """The same by autograd through the unrolled steps, as libraries for meta-learning do it: the graph of every
        differentiated step, and of every segment in it, is held until the end."""
        scalar = dict(dtype=phi0[0].dtype)
        rates = [leaves(torch.tensor(lr, **scalar) for lr in row[: self.steps]) for row in lrs]
        phi0, head = leaves(phi0), head and leaves(head)
        divisor, states, inner_losses = divisor_of(segments, head), start(phi0), []
        for step in range(self.steps):
            tracked = step >= self.steps - self.differentiated
            phi = [state[0] for state in states] if tracked else leaves([state[0] for state in states])
            loss = sum(self.loss(phi, head, sequence, divisor) for sequence in segments)
            gradient = grad(loss, phi, create_graph=tracked)
            states = advance(states, gradient, rates, step)
            inner_losses.append(loss.item())
        phi = [state[0] for state in states]
        outer = sum(self.loss(phi, None, query, divisor_of(queries, None)) for query in queries)
        flat = [rate for row in rates for rate in row]
        inputs = [*phi0, *flat, *(head or [])]
        found = grad(outer, inputs, allow_unused=True)
        found = [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs)]
        d_phi0, found = found[: len(phi0)], found[len(phi0) :]
        d_lrs, d_head = found[: len(flat)], found[len(flat) :]
        d_lrs = [[g.item() for g in d_lrs[i : i + self.steps]] for i in range(0, len(flat), self.steps)]
        return outer.item(), inner_losses, d_phi0, d_lrs, d_head


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
