#!/usr/bin/env python3
"""The work of perk's `encode` and `ask` in PyTorch with transformers and PEFT.

    peer_peft.py encode --tokens 1024 [--micro-batch all]
    peer_peft.py ask --prompt-tokens 32 --new-tokens 64
    peer_peft.py --check                     compares with peer/learner.py in f64 on a tiny base

Shapes of Qwen2.5-0.5B with random weights in f32, LoRA on all seven projections. `encode` writes a context
into the adapter by a few steps of AdamW with a rate for every tensor and step, the loss weighted token by
token; `ask` decodes greedily with the cache of keys and values and the adapter unmerged.

What makes it a fair opponent: the libraries as their users have them, with scaled_dot_product_attention and
the fused AdamW; logits only where they are used; gradients summed over micro-batches, with no layer computed
twice; freed memory is kept. `--micro-batch all` is one batch of all segments with every layer recomputed, as
the authors' code has it. OpenMP's threads wait by spinning: on a busy machine the time says nothing.
"""

import argparse
import statistics
import sys
import time

import torch
from peer.bench import keep_freed_pages, made_up, peak_gb, random_start
from peer.decoder import Shape
from peer.peft_memory import Memory, random_base

LOSS_FROM = 4


def encode(memory, phi0, lrs, arguments):
    segments = [
        made_up(arguments.segment, LOSS_FROM, s) for s in range(arguments.tokens // arguments.segment)
    ]
    tokens = torch.stack([segment.tokens for segment in segments])
    seconds = []
    for _ in range(arguments.repeat):
        memory.start(phi0)
        began = time.perf_counter()
        memory.encode(lrs, tokens, LOSS_FROM, arguments.micro_batch)
        seconds.append(time.perf_counter() - began)
    print(f"{'tokens':>7} {'N':>3} {'micro-batch':>11} {'seconds':>9} {'peak GB':>10}")
    print(
        f"{arguments.tokens:>7} {arguments.steps:>3} {arguments.micro_batch or len(tokens):>11} "
        f"{statistics.median(seconds):>9.1f} {peak_gb():>10.2f}"
    )


def ask(memory, phi0, arguments):
    memory.start(phi0)
    prompt = made_up(arguments.prompt_tokens, 1, 0).tokens
    first_seconds, rates = [], []
    for _ in range(arguments.repeat):
        _, (began, first, *later) = memory.ask(prompt, arguments.new_tokens)
        first_seconds.append(first - began)
        rates.append(len(later) / (later[-1] - first))
    print(f"{'prompt':>7} {'new':>4} {'first s':>9} {'tokens/s':>9} {'peak GB':>10}")
    print(
        f"{arguments.prompt_tokens:>7} {arguments.new_tokens:>4} {statistics.median(first_seconds):>9.3f} "
        f"{statistics.median(rates):>9.2f} {peak_gb():>10.2f}"
    )


def segments_of_a_batch(text):
    return None if text == "all" else int(text)


def parsed():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["encode", "ask"], nargs="?", default="encode", help="default encode")
    parser.add_argument("--tokens", type=int, default=512, help="context tokens")
    parser.add_argument("--segment", type=int, default=256, help="tokens a segment")
    parser.add_argument("--steps", type=int, default=4, help="inner steps N")
    parser.add_argument(
        "--micro-batch", type=segments_of_a_batch, default=1, help="segments in one pass, or `all`"
    )
    parser.add_argument("--prompt-tokens", type=int, default=32, help="tokens of the question")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens of the answer")
    parser.add_argument("--rank", type=int, default=16, help="LoRA rank")
    parser.add_argument("--layers", type=int, default=24, help="layers of the decoder")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    repeat_help = "times to repeat, and print the median; default 1, `ask` 3, as perk's benches"
    parser.add_argument("--repeat", type=int, help=repeat_help)
    parser.add_argument("--check", action="store_true", help="compare with peer/learner.py in f64")
    arguments = parser.parse_args()
    if not LOSS_FROM < arguments.segment <= arguments.tokens:
        parser.error(f"--segment must be above {LOSS_FROM} and at most --tokens")
    if arguments.micro_batch is not None and arguments.micro_batch < 1:
        parser.error("--micro-batch must be at least 1, or `all`")
    if arguments.prompt_tokens < 1 or arguments.new_tokens < 2:
        parser.error("--prompt-tokens must be at least 1 and --new-tokens at least 2")
    arguments.repeat = arguments.repeat or (3 if arguments.what == "ask" else 1)
    return arguments


def main():
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(7)
    if arguments.check:
        from peer.peft_check import check

        return check()
    keep_freed_pages()
    shape = Shape(num_hidden_layers=arguments.layers)
    phi0, lrs, head = random_start(shape, arguments.rank, arguments.steps)
    memory = Memory(random_base(shape), arguments.rank, head)
    if arguments.what == "encode":
        encode(memory, phi0, lrs, arguments)
    else:
        ask(memory, phi0, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
