#!/usr/bin/env python3
"""Compares perk's reading of a GGUF file with that of transformers.

    check_gguf.py MODEL.gguf [--text FILE]... [--tokens 64]

perk (examples/logits.rs, built here with cargo unless --program names it) and transformers each open the file by
itself. Tokens of the texts below and of every --text must be the same, one by one. The logits behind the first
--tokens of them may differ by 1e-3 of the largest. Where the file holds a tied matrix twice, transformers takes
them for two; they are tied here as perk ties them, by the one with more bits.

transformers ignores how a file says that texts are cut into words (tokenizer.ggml.pre); where each digit is a word, that
is added here. --tokenizer FOLDER compares with the model's own tokenizer instead. The exit code is 1 if anything
differs.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from gguf import GGUFReader
from safetensors.torch import load_file
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = {
    "prose": "It was the best of times, it was the worst of times; don't you think he'll say they're 'twas?\n\n  Yes.",
    "code": "fn main() {\n    let x: Vec<u32> = (0..10).map(|i| i * i).collect();\n\tprintln!(\"{x:?}\");\n}\n\n\n# end\r\n",
    "digits": "3.14159 1234567890 1,000,000 0x7f 2024-11-27T13:05:59Z ١٢٣ ½ ²",
    "other scripts": "東京は日本の首都です。我喜欢学习语言。안녕하세요 세계 Здравствуй, мир! مرحبا بالعالم Žluťoučký kůň",
    "emoji": "I \u2764\ufe0f Rust \U0001f980\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1ea\U0001f1fa ok\u200b!",
    "spaces": "   leading,  double,\ttab,\u00a0nbsp, trailing   ",
}
TOLERANCE = 1e-3
# What llama.cpp (llama-vocab.cpp) cuts at every digit, and then as GPT-2 does.
DIGITS_APART = {"smollm", "starcoder", "refact", "command-r", "codeshell"}
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
# Two roundings of one matrix are a small part of its norm apart, two matrices about √2.
NEARLY_THE_SAME = 0.25


def tie(model, reader):
    """Ties the two copies of one matrix, keeping the one with more bits."""
    bits = {tensor.name: tensor.n_bytes / tensor.n_elements for tensor in reader.tensors}
    if OUTPUT not in bits:
        return
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    distance = ((embedding.weight - output.weight).norm() / output.weight.norm()).item()
    if distance > NEARLY_THE_SAME:
        return
    name, better = max((EMBEDDING, embedding), (OUTPUT, output), key=lambda copy: bits[copy[0]])
    print(f"     {EMBEDDING} and {OUTPUT}, {distance:.3f} apart, are taken from {name}")
    embedding.weight = output.weight = torch.nn.Parameter(better.weight.detach().clone())


def perk(program, gguf: Path, texts: list[str], count: int, room: Path):
    """perk's tokens of each text, and its logits behind the first ones."""
    paths = [room / str(nth) for nth in range(len(texts))]
    for path, text in zip(paths, texts):
        path.write_text(text, newline="")
    subprocess.run([*program, gguf, str(count), room / "out", *paths], check=True)
    found = load_file(room / "out")
    return [(found[f"ids.{nth}"].tolist(), found[f"logits.{nth}"]) for nth in range(len(texts))]


def first_difference(tokenizer, ids: list[int], expected: list[int]) -> str:
    pairs = enumerate(zip(ids, expected))
    at = next((nth for nth, (a, b) in pairs if a != b), min(len(ids), len(expected)))
    found, wanted = (tokenizer.convert_ids_to_tokens(tokens[at : at + 8]) for tokens in (ids, expected))
    return f"; from token {at} on {found}, expected {wanted}"


def check(arguments, room: Path) -> bool:
    texts = TEXTS | {path.name: path.read_text() for path in arguments.text}
    gguf = arguments.gguf.resolve()
    theirs = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    own = {"pretrained_model_name_or_path": arguments.tokenizer} if arguments.tokenizer else theirs
    tokenizer = AutoTokenizer.from_pretrained(**own)
    reader = GGUFReader(gguf)
    if not arguments.tokenizer and reader.get_field("tokenizer.ggml.pre").contents() in DIGITS_APART:
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), backend.pre_tokenizer])
    model = AutoModelForCausalLM.from_pretrained(**theirs, torch_dtype=torch.float32).eval()
    tie(model, reader)
    found = perk(arguments.program, gguf, list(texts.values()), arguments.tokens, room)
    failed = False
    for (name, text), (ids, logits) in zip(texts.items(), found):
        # A control token spelled in a text is a word to perk; these texts have none.
        expected = tokenizer(text, add_special_tokens=False)["input_ids"]
        same = ids == expected
        where = "" if same else first_difference(tokenizer, ids, expected)
        print(f"{'ok  ' if same else 'FAIL'} {name}: {len(ids)} tokens{where}")
        with torch.no_grad():
            wanted = model(torch.tensor([ids[: len(logits)]])).logits[0]
        off = ((logits - wanted).abs().max() / wanted.abs().max()).item()
        agree = (logits.argmax(-1) == wanted.argmax(-1)).float().mean().item()
        close = off < TOLERANCE
        print(
            f"{'ok  ' if close else 'FAIL'} {name}: logits behind {len(logits)} tokens differ by at most {off:.1e} of the "
            f"largest, {wanted.abs().max():.1f}; the likeliest token is the same behind {agree:.0%}"
        )
        failed |= not (same and close)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--text", type=Path, action="append", default=[], help="one more text")
    parser.add_argument("--tokens", type=int, default=64, help="how many logits are compared")
    parser.add_argument("--tokenizer", type=Path, help="folder of the model's own tokenizer")
    parser.add_argument("--program", type=lambda path: [path], help="examples/logits.rs, built")
    arguments = parser.parse_args()
    if arguments.program is None:
        arguments.program = ["cargo", "run", "--quiet", "--release", "--example", "logits", "--"]
    with tempfile.TemporaryDirectory() as room:
        return int(check(arguments, Path(room)))


if __name__ == "__main__":
    sys.exit(main())
