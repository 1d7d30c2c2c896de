"""Functions with both derivatives by hand: fewer passes and fewer kept values than autograd needs.

Each is a pair: the function, whose backward applies the second one, whose backward ends the chain.
"""

import torch
import torch.nn.functional as F
from torch.autograd import Function
from torch.autograd.function import once_differentiable

silu_backward = torch.ops.aten.silu_backward

# Rows of logits that are in work at once: 78 MB in f32.
LOGIT_ROWS = 128


def widened(x):
    """bf16 as f32; any other type as it is."""
    return x.float() if x.dtype == torch.bfloat16 else x


class CrossEntropy(Function):
    """h (R, D), matrix (V, D), targets (R) -> cross entropies (R); keeps softmax(h matrixᵀ), (R, V)."""

    @staticmethod
    def forward(ctx, h, matrix, targets):
        probabilities = h.new_empty(len(h), len(matrix))
        losses = []
        for rows, labels, out in zip(*(x.split(LOGIT_ROWS) for x in (h, targets, probabilities))):
            log_p = F.log_softmax(widened(rows @ matrix.t()), 1)
            losses.append(-log_p.gather(1, labels[:, None])[:, 0])
            out.copy_(log_p.exp_())
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
        return (d_loss[:, None] * gradient).to(h.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, direction):
        d_loss, matrix, probabilities, gradient = ctx.saved_tensors
        parts = []
        for rows, p in zip(direction.split(LOGIT_ROWS), probabilities.split(LOGIT_ROWS)):
            u = rows @ matrix.t()
            u -= torch.bmm(p[:, None, :], u[:, :, None])[:, 0]
            parts.append(u.mul_(p) @ matrix)
        d_d_loss = widened(direction * gradient).sum(1)
        return d_d_loss, (d_loss[:, None] * torch.cat(parts)).to(direction.dtype), None, None, None


class SwiGlu(Function):
    """silu(gate) ⊙ up."""

    @staticmethod
    def forward(ctx, gate, up):
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx, dy):
        return SwiGluGradient.apply(dy, *ctx.saved_tensors)


class SwiGluGradient(Function):
    """Cotangents dy ⊙ up ⊙ silu'(gate) of the gate and dy ⊙ silu(gate) of `up`."""

    @staticmethod
    def forward(ctx, dy, gate, up):
        ctx.save_for_backward(dy, gate, up)
        return silu_backward(dy * up, gate), F.silu(gate).mul_(dy)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_gate, v_up):
        dy, gate, up = ctx.saved_tensors
        s = gate.sigmoid()
        # silu'' = s (1 − s) (2 + x (1 − 2 s))
        curvature = torch.addcmul(gate, gate, s, value=-2).add_(2).mul_(s).mul_(1 - s)
        along = v_gate * dy
        d_up = silu_backward(along, gate)
        d_gate = silu_backward(v_up * dy, gate).addcmul_(along.mul_(up), curvature)
        d_dy = silu_backward(v_gate * up, gate).addcmul_(v_up, s.mul_(gate))
        return d_dy, d_gate, d_up


class RmsNorm(Function):
    """x ⊙ r ⊙ weight with r = (mean(x²) + ε)^(−1/2); the weight is frozen."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        r = mean_product(x, x).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, r)
        return (x * r).mul_(weight)

    @staticmethod
    def backward(ctx, dy):
        return RmsNormGradient.apply(dy, *ctx.saved_tensors), None, None


class RmsNormGradient(Function):
    """J u with u = dy ⊙ weight and the symmetric Jacobian J = r − r³ x xᵀ / D."""

    @staticmethod
    def forward(ctx, dy, x, weight, r):
        u = dy * weight
        c = mean_product(x, u)
        ctx.save_for_backward(u, x, weight, r, c)
        return u.mul(r).addcmul_(x, c * r**3, value=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, v):
        u, x, weight, r, c = ctx.saved_tensors
        cube = r**3
        s, p = mean_product(x, v), mean_product(u, v)
        d_dy = (v * r).addcmul_(x, s * cube, value=-1).mul_(weight)
        # r varies with x too: ∂r/∂x = −r³ x / D.
        dx = x * (3 * s * c * r**5 - p * cube)
        dx.addcmul_(v, c * cube, value=-1).addcmul_(u, s * cube, value=-1)
        return d_dy, dx, None, None


def mean_product(a, b):
    """Mean of a ⊙ b over the last dimension, which stays as 1."""
    return torch.linalg.vecdot(a, b).unsqueeze_(-1).div_(a.shape[-1])
