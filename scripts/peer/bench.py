"""What the benches share: made-up inputs, and the settings and the peak of the process."""

import ctypes
import math
import resource

import torch

from .decoder import PROJECTIONS, Sequence

HEAD_HIDDEN = 128


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


def random_weights(shape, dtype, biases):
    """Weights in `dtype`: matrices normal with deviation 1/√in, the branches' last ones less by √(2 layers); gains 1, biases 0."""
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
            if biases and projection.startswith("self_attn") and not ends_branch:
                weights[f"{name}{projection}.bias"] = torch.zeros(rows)
    return {name: weight.to(dtype) for name, weight in weights.items()}


def made_up(length, loss_from, seed, below=150_000):
    tokens = [(i * 7919 + seed * 104_729 + 17) % below for i in range(length)]
    return Sequence(torch.tensor(tokens), loss_from)


def keep_freed_pages():
    """Has glibc reuse freed memory; the page faults of fresh memory cost about 4% of a product."""
    trim_threshold, mmap_threshold, large = -1, -3, 1 << 30
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, large)
        libc.mallopt(trim_threshold, large)
    except (OSError, AttributeError, TypeError):
        pass  # Another C library: its own settings stand.


def peak_gb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
