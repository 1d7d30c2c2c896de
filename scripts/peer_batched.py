#!/usr/bin/env python3
"""The work of `cargo bench --bench cost` as PyTorch does it best on one GPU: a JSON line for one meta-step or encode.

    peer_batched.py --tokens 8192 --dtype bf16 --micro-batch 32
    peer_batched.py --layers 2 --vocab 500 --tokens 512 --device cpu      tries it without a GPU
    peer_batched.py --check      compares with the PyTorch that the golden files check, in f64

Random weights, LoRA on all seven projections, AdamW inside with learned rates, token weights, the meta-gradient swept back
over the steps, a double backward a micro-batch at a time. Segments and episodes run in batches, all adapters are one
vector, cross entropy, SwiGLU and RMSNorm have both derivatives by hand, and attention is PyTorch's fused one where
nothing is differentiated twice. Memory is the most that PyTorch's tensors took.
"""

import argparse
import json
import math
import statistics
import sys
import time
from dataclasses import replace

import torch
from peer.batched import Batch, BatchedDecoder, BatchedLearner, take_large_products
from peer.bench import made_up, random_start, random_weights
from peer.decoder import Shape

SHAPES = {
    "qwen2.5-0.5b": Shape(),
    "smollm2-135m": Shape(49_152, 576, 1_536, 30, 9, 3, rope_theta=1e5, rms_norm_eps=1e-5),
}
QUERY, ANSWER_FROM = 24, 20


def made_up_batch(episodes, segments, length, loss_from, seed, vocab_size):
    below = min(vocab_size, 150_000)
    rows = [made_up(length, loss_from, seed + i, below).tokens for i in range(episodes * segments)]
    return Batch(torch.stack(rows).view(episodes, segments, length), loss_from)


def learner_of(arguments, shape):
    dtype = torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    weights = random_weights(shape, dtype, biases=arguments.shape.startswith("qwen"))
    # The fused kernels are for bf16; in f32 attention is written out.
    fused = arguments.dtype == "bf16"
    scale = 16.0 / math.sqrt(arguments.rank)
    decoder = BatchedDecoder(shape, weights, scale, arguments.rank, arguments.episodes, fused)
    return BatchedLearner(decoder, arguments.steps, arguments.differentiated, arguments.micro_batch)


def timed(arguments, learner):
    """Seconds of each repetition after one that is not timed."""
    shape, on_gpu = learner.decoder.shape, arguments.device != "cpu"
    phi0, lrs, head = random_start(shape, arguments.rank, arguments.steps)
    segments = arguments.tokens // arguments.segment
    context = made_up_batch(arguments.episodes, segments, arguments.segment, 4, 0, shape.vocab_size)
    queries = made_up_batch(arguments.episodes, 1, QUERY, ANSWER_FROM, 9_999, shape.vocab_size)
    started, seconds = time.perf_counter(), []
    for number in range(arguments.repeat + 1):
        if number > 1 and time.perf_counter() - started > arguments.budget_secs:
            break
        began = time.perf_counter()
        if arguments.encode:
            learner.adapt(phi0, lrs, head, context)
        else:
            learner.meta_gradient(phi0, lrs, head, context, queries)
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def bench(arguments):
    shape = SHAPES[arguments.shape]
    shape = replace(
        shape,
        num_hidden_layers=arguments.layers or shape.num_hidden_layers,
        vocab_size=arguments.vocab or shape.vocab_size,
    )
    take_large_products()
    torch.set_float32_matmul_precision("highest" if arguments.dtype == "f32" else "high")
    learner = learner_of(arguments, shape)
    seconds = timed(arguments, learner)
    median = statistics.median(seconds)
    passes = 2 * arguments.steps + (0 if arguments.encode else 4 * arguments.differentiated)
    weights = sum(weight.numel() for weight in learner.decoder.weights.values())
    operations = 2 * weights * arguments.tokens * arguments.episodes * passes
    names = "shape tokens episodes segment steps differentiated rank dtype micro_batch device"
    row = {"what": "encode" if arguments.encode else "meta"}
    row |= {name: getattr(arguments, name) for name in names.split()}
    row |= {"seconds": median, "repeats": len(seconds), "tflops": operations / median / 1e12}
    if arguments.device != "cpu":
        row["gpu_gb"] = torch.cuda.max_memory_allocated() / 1e9
    print(json.dumps(row | {"torch": torch.__version__}))
    return 0


def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=8192, help="context tokens of an episode")
    parser.add_argument("--episodes", type=int, default=1, help="episodes, taken together")
    parser.add_argument("--segment", type=int, default=256, help="tokens a segment")
    parser.add_argument("--micro-batch", type=int, default=8, help="segments of an episode at once")
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b", help="shape of the random weights")
    parser.add_argument("--layers", type=int, help="layers, if not the shape's")
    parser.add_argument("--vocab", type=int, help="tokens of the vocabulary, if not the shape's")
    parser.add_argument("--rank", type=int, default=16, help="LoRA rank")
    parser.add_argument("--steps", type=int, default=4, help="inner steps N")
    parser.add_argument("--differentiated", type=int, default=2, help="differentiated inner steps T")
    dtype_help = "bf16: base and activations in bf16, adapter, norms, softmax and losses in f32"
    parser.add_argument("--dtype", choices=["bf16", "tf32", "f32"], default="bf16", help=dtype_help)
    parser.add_argument("--encode", action="store_true", help="the inner loop alone")
    parser.add_argument("--device", default="cuda", help="cpu, cuda or cuda:N")
    parser.add_argument("--repeat", type=int, default=3, help="times to repeat; the median is printed")
    parser.add_argument(
        "--budget-secs", type=float, default=math.inf, help="begin no other repetition after these"
    )
    parser.add_argument("--check", action="store_true", help="compare with the checked PyTorch")
    return parser


def main():
    options = parser()
    arguments = options.parse_args()
    torch.manual_seed(7)
    if arguments.check:
        from peer.batched_check import check

        return check()
    if not 4 < arguments.segment <= arguments.tokens:
        options.error("--segment must be above 4 and at most --tokens")
    if not 0 <= arguments.differentiated <= arguments.steps:
        options.error("--differentiated must be at most --steps")
    if min(arguments.episodes, arguments.micro_batch, arguments.repeat, arguments.rank) < 1:
        options.error("--episodes, --micro-batch, --repeat and --rank must be at least 1")
    torch.set_default_device(arguments.device)
    return bench(arguments)


if __name__ == "__main__":
    sys.exit(main())
