"""Compares PEFT's memory with the learner that is checked against the golden files, on a tiny base in f64."""

import torch
import torch.nn.functional as F

from .bench import made_up, random_start
from .decoder import Decoder, Sequence, Shape
from .learner import Learner
from .peft_memory import Memory, lora_scale, random_base

TOLERANCE = 1e-9

SHAPE = Shape(97, 32, 48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, rope_theta=1e4)
RANK, STEPS, SEGMENTS, SEGMENT, LOSS_FROM, NEW_TOKENS = 4, 4, 5, 24, 4, 12


def check():
    """Prints how far losses, adapter and answer are apart; 1 if too far."""
    torch.set_default_dtype(torch.float64)
    base = random_base(SHAPE)
    for name, parameter in base.named_parameters():
        torch.nn.init.normal_(parameter, float("norm" in name), 0.3)
    in_doubles(base)
    decoder = Decoder(SHAPE, {name: w.clone() for name, w in base.state_dict().items()}, lora_scale(RANK))
    phi0, lrs, head = random_start(SHAPE, RANK, STEPS)
    lrs = [[1e-3 * (1 + (i + 2 * step) % 5) for step in range(STEPS)] for i in range(len(lrs))]
    head = [torch.randn_like(x) / x.shape[-1] ** 0.5 for x in head]
    segments = [made_up(SEGMENT, LOSS_FROM, seed, SHAPE.vocab_size) for seed in range(SEGMENTS)]
    phi, _, losses = Learner(decoder, STEPS, 0).adapt(phi0, lrs, head, segments)
    memory = Memory(base, RANK, head)
    tokens = torch.stack([segment.tokens for segment in segments])
    wrong = 0
    for micro_batch in (1, 2, None):
        memory.start(phi0)
        found = memory.encode(lrs, tokens, LOSS_FROM, micro_batch)
        apart, moved = farthest(memory.phi, phi), farthest(phi0, phi)
        apart_losses = max(abs(a - b) for a, b in zip(found, losses, strict=True))
        print(f"micro-batch {micro_batch or 'all'}: losses {apart_losses:.1e} apart, the adapter", end=" ")
        print(f"{apart:.1e} apart after moving {moved:.1e}")
        wrong += not max(apart, apart_losses) <= TOLERANCE
    answer, _ = memory.ask(segments[0].tokens, NEW_TOKENS)
    same = answer == greedy(decoder, phi, segments[0].tokens)
    print(f"answer of {NEW_TOKENS} tokens: {'the same' if same else 'another'}")
    return int(wrong > 0 or not same)


def farthest(ones, others):
    """The largest difference of two lists of tensors."""
    return max((a - b).abs().max().item() for a, b in zip(ones, others, strict=True))


@torch.no_grad()
def greedy(decoder, phi, tokens):
    """The same answer without a cache."""
    for _ in range(NEW_TOKENS):
        h = decoder.hidden(phi, Sequence(tokens, 1))
        tokens = torch.cat([tokens, (decoder.embeddings @ h[-1]).argmax()[None]])
    return tokens[-NEW_TOKENS:].tolist()


def in_doubles(base):
    """transformers takes norms and angles in f32 whatever the weights are; here they are taken in f64."""
    for module in base.modules():
        if type(module).__name__ == "Qwen2RMSNorm":
            gain, eps = module.weight, module.variance_epsilon
            module.forward = lambda x, gain=gain, eps=eps: F.rms_norm(x, gain.shape, gain, eps)
    frequencies = SHAPE.rope_theta ** (-torch.arange(0, SHAPE.head_dim, 2).double() / SHAPE.head_dim)

    def tables(_, position_ids):
        angles = (position_ids[..., None] * frequencies).repeat(1, 1, 2)
        return angles.cos(), angles.sin()

    base.model.rotary_emb.forward = tables
