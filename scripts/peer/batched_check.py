"""Compares the batched learner with the one that is checked against the golden files, on a tiny base in f64."""

import torch

from .batched import Batch, BatchedDecoder, BatchedLearner
from .bench import made_up, random_start, random_weights
from .decoder import Decoder, Shape
from .learner import Learner

TOLERANCE = 1e-9

SHAPE = Shape(97, 32, 48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, rope_theta=1e4)
RANK, SCALE, STEPS, SEGMENTS, SEGMENT, LOSS_FROM = 4, 2.0, 3, 3, 24, 4


def check():
    """Prints how far losses and meta-gradients are apart; 1 if too far."""
    torch.set_default_dtype(torch.float64)
    weights = random_weights(SHAPE, torch.float64, biases=True)
    phi0, lrs, head = random_start(SHAPE, RANK, STEPS)
    lrs = [[1e-3 * (1 + (i + 2 * step) % 5) for step in range(STEPS)] for i in range(len(lrs))]
    head = [torch.randn_like(x) / x.shape[-1] ** 0.5 for x in head]
    wrong = 0
    for episodes, differentiated, fused in [(1, 2, False), (2, 2, True), (3, 3, False), (2, 0, True)]:
        contexts = [made_up_batch(SEGMENTS, SEGMENT, LOSS_FROM, e * SEGMENTS) for e in range(episodes)]
        queries = [made_up_batch(1, 12, 9, 100 + e) for e in range(episodes)]
        single = Learner(Decoder(SHAPE, weights, SCALE), STEPS, differentiated)
        expected = [single.meta_gradient(phi0, lrs, head, c, q) for c, q in zip(contexts, queries)]
        decoder = BatchedDecoder(SHAPE, weights, SCALE, RANK, episodes, fused)
        learner = BatchedLearner(decoder, STEPS, differentiated, micro_batch=2)
        found = learner.meta_gradient(phi0, lrs, head, together(contexts), together(queries))
        apart = {name: distance(*pair) for name, pair in pairs(expected, found)}
        name, largest = max(apart.items(), key=lambda item: item[1])
        print(f"{episodes} episodes, T = {differentiated}: at most {largest:.1e} apart ({name})")
        wrong += not largest <= TOLERANCE
    return int(wrong > 0)


def made_up_batch(count, length, loss_from, seed):
    """Sequences of one episode."""
    return [made_up(length, loss_from, seed + i, SHAPE.vocab_size) for i in range(count)]


def together(contexts):
    """The sequences of several episodes as one batch."""
    tokens = torch.stack([torch.stack([sequence.tokens for sequence in context]) for context in contexts])
    return Batch(tokens, contexts[0][0].loss_from)


def pairs(expected, found):
    """What both computed, by name; that of single episodes is summed."""
    losses, _, d_phi0, d_lrs, d_head = zip(*expected)
    loss, batched_phi0, batched_lrs, batched_head = found
    yield "loss", (torch.tensor(sum(losses)), loss)
    yield "rates", (torch.tensor(d_lrs).sum(0), batched_lrs)
    yield "adapter", (joined(d_phi0), torch.cat([x.flatten() for x in batched_phi0]))
    yield "head", (joined(d_head), torch.cat([x.flatten() for x in batched_head]))


def joined(episodes):
    """The sum over episodes of lists of tensors, as one vector."""
    return torch.stack([torch.cat([x.flatten() for x in tensors]) for tensors in episodes]).sum(0)


def distance(expected, found):
    """Relative distance; how large `found` is where zero is expected."""
    size = expected.norm()
    return ((found - expected).norm() / (size if size > 0 else 1)).item()
