#!/usr/bin/env python3
"""Checks that transformers and PEFT open what perk wrote, and compute the same logits.

    check_peft.py FOLDER

FOLDER holds `base/` (config.json, model.safetensors), `adapter/` (PEFT's two files) and
`expected.safetensors` (`ids` (B, S), `base_logits` and `logits` (B, S, V)), as
`PERK_PEFT_DIR=FOLDER cargo test --test lora -- --ignored` writes them.
"""

import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-4


def largest_difference(model, ids, expected):
    with torch.no_grad():
        found = model(input_ids=ids).logits
    return (found - expected).abs().max().item()


def main(folder: Path) -> int:
    expected = load_file(folder / "expected.safetensors")
    ids = expected["ids"].long()
    base = AutoModelForCausalLM.from_pretrained(folder / "base", torch_dtype=torch.float32)
    differences = {"base": largest_difference(base, ids, expected["base_logits"])}
    model = PeftModel.from_pretrained(base, folder / "adapter")
    differences["adapter"] = largest_difference(model, ids, expected["logits"])
    for name, difference in differences.items():
        print(f"{name}: largest difference of the logits {difference:.2e}")
    return int(any(difference > TOLERANCE for difference in differences.values()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
