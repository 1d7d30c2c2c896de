#!/usr/bin/env python3
"""Checks that other programs open what perk exports, and compute the same with it.

    check_exports.py FOLDER...

Each FOLDER holds `base/` and `merged/` (config.json, model.safetensors), `adapter/` (PEFT's two files), possibly
`plain/` (the same adapter with rsLoRA folded into its alpha), `adapter.gguf` and `expected.safetensors`: `ids`
(B, S), and the logits (B, S, V) of perk without the adapter, `base_logits`, and with it, `logits`.
`scripts/check_exports.sh` makes such folders and runs this on them.

transformers and PEFT are to give perk's logits; the GGUF file, read by the package `gguf`, is to change each
matrix as PEFT does. The exit code is 1 if anything differs.
"""

import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

LOGITS_TOLERANCE = 1e-4
# Of the largest number in the matrix; alpha is an f32, the products are made in f64.
DELTA_TOLERANCE = 1e-5

GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class Checks:
    """Prints a line for each check, and counts those that fail."""

    def __init__(self):
        self.run = self.failed = 0

    def at_most(self, what: str, found: float, tolerance: float):
        # A NaN is not below anything.
        self.note(f"{what}: largest difference {found:.2e}, allowed {tolerance:.0e}", found < tolerance)

    def equal(self, what: str, found, expected):
        text = f"{what}: {found!r}" if found == expected else f"{what}: {found!r}, expected {expected!r}"
        self.note(text, found == expected)

    def note(self, text: str, passed: bool):
        self.run += 1
        self.failed += not passed
        print(f"{'ok  ' if passed else 'FAIL'} {text}")


def open_model(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)


def difference(model, ids, expected) -> float:
    with torch.no_grad():
        return (model(input_ids=ids).logits - expected).abs().max().item()


def peft_deltas(model: PeftModel) -> dict[str, np.ndarray]:
    """The change (out, in) of each adapted matrix, by its name in the model's own files."""
    deltas = {}
    for name, module in model.named_modules():
        if "default" in getattr(module, "lora_A", {}):
            delta = module.get_delta_weight("default").detach().double().numpy()
            deltas[name.removeprefix("base_model.model.")] = delta
    return deltas


def gguf_name(name: str) -> str:
    """`model.layers.3.mlp.up_proj` -> `blk.3.ffn_up.weight`."""
    _, _, layer, path = name.split(".", 3)
    return f"blk.{layer}.{GGUF_NAMES[path]}.weight"


def halves_apart(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k as Hugging Face orders them, from the order that llama.cpp has for Llama models."""
    width = rows.shape[0] // heads
    order = [head * width + at for head in range(heads) for start in (0, 1) for at in range(start, width, 2)]
    return rows[order]


def check_gguf(checks: Checks, path: Path, config, deltas: dict[str, np.ndarray], label: str):
    reader = gguf.GGUFReader(path)
    field = lambda key: None if reader.get_field(key) is None else reader.get_field(key).contents()
    for key, expected in [
        ("general.type", "adapter"),
        ("general.architecture", config.model_type),
        ("adapter.type", "lora"),
        ("general.quantization_version", gguf.GGML_QUANT_VERSION),
    ]:
        checks.equal(f"{label} {key}", field(key), expected)
    alpha = field("adapter.lora.alpha")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    expected = sorted(f"{gguf_name(name)}.lora_{part}" for name in deltas for part in "ab")
    missing, extra = set(expected) - set(tensors), set(tensors) - set(expected)
    checks.equal(f"{label} tensors missing and extra", (sorted(missing), sorted(extra)), ([], []))
    types = sorted({tensor.tensor_type.name for tensor in reader.tensors})
    checks.equal(f"{label} types", types, ["F32"])
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    worst = {}
    for name, delta in deltas.items():
        stem, projection = gguf_name(name), name.rsplit(".", 1)[1]
        if f"{stem}.lora_a" in missing or f"{stem}.lora_b" in missing:
            continue
        a, b = (tensors[f"{stem}.lora_{part}"].data.astype(np.float64) for part in "ab")
        # llama.cpp divides by the rank that it reads off B.
        found = alpha / b.shape[1] * (b @ a)
        if config.model_type == "llama" and projection in heads:
            found = halves_apart(found, heads[projection])
        relative = float("inf")
        if found.shape == delta.shape:
            relative = float(np.abs(found - delta).max() / np.abs(delta).max())
        # Unlike max(), this keeps a NaN.
        worst[projection] = np.maximum(worst.get(projection, 0.0), relative)
    for projection, relative in worst.items():
        checks.at_most(f"{label} change of {projection}, of its largest number", relative, DELTA_TOLERANCE)


def check_folder(checks: Checks, folder: Path):
    label = folder.name
    expected = load_file(folder / "expected.safetensors")
    ids, base_logits, logits = expected["ids"].long(), expected["base_logits"], expected["logits"]
    changed = (logits - base_logits).abs().max().item()
    checks.note(f"{label} the adapter changes the logits by {changed:.2e}", changed > 100 * LOGITS_TOLERANCE)
    merged = open_model(folder / "merged")
    checks.at_most(f"{label} merged/, logits", difference(merged, ids, logits), LOGITS_TOLERANCE)
    base = open_model(folder / "base")
    checks.at_most(f"{label} base/, logits", difference(base, ids, base_logits), LOGITS_TOLERANCE)
    model = PeftModel.from_pretrained(base, folder / "adapter")
    checks.at_most(f"{label} base/ + adapter/, logits", difference(model, ids, logits), LOGITS_TOLERANCE)
    check_gguf(checks, folder / "adapter.gguf", model.config, peft_deltas(model), f"{label} adapter.gguf")
    if (folder / "plain").exists():
        # PEFT puts its adapters into the model that it is given, so each adapter gets a base of its own.
        model = PeftModel.from_pretrained(open_model(folder / "base"), folder / "plain")
        checks.at_most(f"{label} base/ + plain/, logits", difference(model, ids, logits), LOGITS_TOLERANCE)


def main(folders: list[Path]) -> int:
    checks = Checks()
    for folder in folders:
        check_folder(checks, folder)
    print(f"{checks.run} checks, {checks.failed} failed")
    return int(checks.failed > 0)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    sys.exit(main([Path(folder) for folder in sys.argv[1:]]))
