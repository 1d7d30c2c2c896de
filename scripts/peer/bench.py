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
