#!/usr/bin/env python3
"""The work of `cargo bench --bench cost` in PyTorch, tuned by hand: one meta-step, or one encode.

    peer_meta_step.py --tokens 512 --differentiated 2
    peer_meta_step.py --check [FOLDER]       compares with golden files in f64; default tests/golden

Shapes of Qwen2.5-0.5B with random weights, LoRA on all seven projections, AdamW inside with a rate
for every tensor and step, token weights from a head, the meta-gradient through the last T of N steps.

What makes it a fair opponent: the inner steps keep no graph; the meta-gradient is swept backwards over them,
and each step's Hessian-vector product is a double backward through the graph of one segment at a time; cross
entropy, SwiGLU and RMSNorm have both derivatives written by hand; freed memory is kept. With --tape autograd
goes through the unrolled steps instead, as libraries for meta-learning have it. OpenMP's threads wait
by spinning: on a busy machine the time says nothing.
"""

import argparse
import math
import statistics
import sys
import time
from pathlib import Path

import torch
from peer.bench import keep_freed_pages, made_up, peak_gb, random_start, random_weights
from peer.decoder import Decoder, Shape
from peer.learner import Learner


def bench(arguments):
    keep_freed_pages()
    shape = Shape(num_hidden_layers=arguments.layers)
    dtype = torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    decoder = Decoder(shape, random_weights(shape, dtype, biases=True), 16.0 / math.sqrt(arguments.rank))
    phi0, lrs, head = random_start(shape, arguments.rank, arguments.steps)
    learner = Learner(decoder, arguments.steps, arguments.differentiated)
    segments = [made_up(arguments.segment, 4, s) for s in range(arguments.tokens // arguments.segment)]
    queries = [made_up(24, 20, 99)]
    seconds = []
    for _ in range(arguments.repeat + arguments.warm_up):
        began = time.perf_counter()
        if arguments.encode:
            learner.adapt(phi0, lrs, head, segments)
        elif arguments.tape:
            learner.meta_gradient_on_tape(phi0, lrs, head, segments, queries)
        else:
            learner.meta_gradient(phi0, lrs, head, segments, queries)
        if arguments.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    if arguments.warm_up:
        del seconds[0]
    what = "encode" if arguments.encode else "meta"
    print(f"{'tokens':>7} {'N':>3} {'T':>3} {'what':>8} {'seconds':>9} {'peak GB':>10}")
    print(
        f"{arguments.tokens:>7} {arguments.steps:>3} {arguments.differentiated:>3} {what:>8} "
        f"{statistics.median(seconds):>9.1f} {peak_gb():>10.2f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=512, help="context tokens")
    parser.add_argument("--differentiated", type=int, default=2, help="differentiated inner steps T")
    parser.add_argument("--steps", type=int, default=4, help="inner steps N")
    parser.add_argument("--rank", type=int, default=16, help="LoRA rank")
    parser.add_argument("--segment", type=int, default=256, help="tokens a segment")
    dtype_help = "bf16: base and activations in bf16; adapter, norms, softmax and losses stay f32"
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help=dtype_help)
    parser.add_argument("--encode", action="store_true", help="the inner loop alone")
    parser.add_argument("--tape", action="store_true", help="autograd through the unrolled steps")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; the peak is the host's memory")
    parser.add_argument("--warm-up", action="store_true", help="run once more at first, untimed")
    parser.add_argument("--layers", type=int, default=24, help="layers of the decoder")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    parser.add_argument("--repeat", type=int, default=1, help="times to repeat; the median is printed")
    golden = Path(__file__).resolve().parent.parent / "tests" / "golden"
    parser.add_argument("--check", type=Path, nargs="?", const=golden, metavar="FOLDER", help="golden files")
    arguments = parser.parse_args()
    if not 4 < arguments.segment <= arguments.tokens:
        parser.error("--segment must be above 4 and at most --tokens")
    if not 0 <= arguments.differentiated <= arguments.steps:
        parser.error("--differentiated must be at most --steps")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(7)
    if arguments.check:
        from peer.golden import check

        return check(arguments.check, arguments.tape)
    torch.set_default_device(arguments.device)
    return bench(arguments)


if __name__ == "__main__":
    sys.exit(main())
