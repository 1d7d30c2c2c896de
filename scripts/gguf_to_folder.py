#!/usr/bin/env python3
"""Turns a GGUF file of the Qwen2 or Llama family into a Hugging Face folder.

    gguf_to_folder.py model.gguf FOLDER [--tokenizer FOLDER] [--dtype float32]

transformers' own reader dequantises the weights and undoes llama.cpp's order of Llama's query and key rows. A
GGUF may hold the matrix that the base ties twice, with different precision: where both copies say nearly the
same, FOLDER holds it once, in the copy with more bits. Without --tokenizer the GGUF's own one is taken.
"""

import argparse
import shutil
from pathlib import Path

import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"

# Two roundings of one matrix differ by a few hundredths of its norm; two matrices by about √2.
NEARLY_THE_SAME = 0.1

ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def tie(model, reader):
    """Ties the two copies of one matrix, keeping the one with more bits a weight."""
    sizes = {tensor.name: int(tensor.n_bytes) for tensor in reader.tensors}
    if OUTPUT not in sizes:
        return
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    distance = (embedding.weight - output.weight).norm() / output.weight.norm()
    print(f"{OUTPUT} is {distance:.3f} away from {EMBEDDING}", end=": ")
    if distance > NEARLY_THE_SAME:
        print("a matrix of its own")
        return
    name, better = max((OUTPUT, output), (EMBEDDING, embedding), key=lambda copy: sizes[copy[0]])
    print(f"one matrix, taken from {name}")
    embedding.weight = better.weight
    model.config.tie_word_embeddings = True
    model.tie_weights()


def copy_tokenizer(folder, out):
    """Copies tokenizer.json and its companions."""
    for file in {*folder.glob("*token*.json"), *folder.glob("vocab.json"), *folder.glob("merges.txt")}:
        shutil.copyfile(file, out / file.name)


def write_tokenizer(gguf, reader, out):
    """The GGUF's own tokenizer, with the special tokens that it names: transformers guesses some."""

    def field(name):
        found = reader.get_field(f"tokenizer.{name}")
        return found and found.contents()

    adds_start = field("ggml.add_bos_token") or False
    read = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, add_bos_token=adds_start)
    ids = {role: field(f"ggml.{gguf_role}_token_id") for role, gguf_role in ROLES.items()}
    special = {f"{role}_token": read.convert_ids_to_tokens(i) for role, i in ids.items() if i is not None}
    inputs = ["input_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=read.backend_tokenizer, model_input_names=inputs, **special
    )
    tokenizer.chat_template = field("chat_template")
    tokenizer.save_pretrained(out)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("gguf", type=Path, metavar="GGUF", help="file to read")
    parser.add_argument("out", type=Path, metavar="FOLDER", help="folder to write")
    parser.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="copy its tokenizer files")
    dtypes = ["float32", "bfloat16", "float16"]
    parser.add_argument("--dtype", choices=dtypes, default="float32", help="of the written weights")
    arguments = parser.parse_args()
    gguf, out, tokenizer = arguments.gguf, arguments.out, arguments.tokenizer
    if not gguf.is_file():
        parser.error(f"{gguf} is not a file")
    if tokenizer and not (tokenizer / "tokenizer.json").is_file():
        parser.error(f"{tokenizer} has no tokenizer.json")
    reader = GGUFReader(gguf)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, torch_dtype=torch.float32)
    tie(model, reader)
    if not getattr(model.config, "use_sliding_window", True):
        model.config.sliding_window = None  # Else a window that the GGUF does not name.
    model.to(getattr(torch, arguments.dtype)).save_pretrained(out)
    if tokenizer:
        copy_tokenizer(tokenizer, out)
    else:
        write_tokenizer(gguf, reader, out)


if __name__ == "__main__":
    main()
