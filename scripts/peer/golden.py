"""Compares the meta-gradient with the golden files (tests/golden/README.md)."""

import json
import math

import torch
from safetensors.torch import load_file

from .decoder import PROJECTIONS, Decoder, Sequence, Shape
from .learner import Learner

TOLERANCE = 1e-8
HEAD_NAMES = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


def check(folder, on_tape):
    """Prints the largest relative distance from each golden variant with AdamW; 1 if one is too large."""
    manifest = json.loads((folder / "manifest.json").read_text())
    adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    shape = Shape(**{name: manifest["base"][name] for name in Shape.__dataclass_fields__})
    weights = {name: w.double() for name, w in load_file(folder / "model_f64" / "model.safetensors").items()}
    rank = config["r"]
    scale = config["lora_alpha"] / (math.sqrt(rank) if config["use_rslora"] else rank)
    decoder = Decoder(shape, weights, scale)
    batch = load_file(folder / "batch.safetensors")
    episode = golden_sequences(batch, "inner"), golden_sequences(batch, "outer")
    compared, wrong = 0, 0
    for variant in manifest["variants"]:
        skipped = variant["optimizer"] != "adamw" or variant["weights_normalized"]
        if skipped or not variant["name"].endswith(".f64"):
            continue
        expected = load_file(folder / variant["file"])
        found = golden_run(folder, variant, decoder, adapter, episode, on_tape)
        # Where no step is differentiated the golden files have no gradient of the head.
        wanted = [name for name in expected if name.startswith(("meta.", "inner_losses", "outer_loss"))]
        distances = {name: distance(found[name], expected[name]) for name in wanted}
        name, largest = max(distances.items(), key=lambda item: item[1])
        compared += 1
        wrong += not all(d <= TOLERANCE for d in distances.values())
        print(f"{variant['name']}: {len(wanted)} tensors, at most {largest:.1e} away ({name})")
    print(f"{compared - wrong} of {compared} variants agree to {TOLERANCE:.0e}")
    return int(wrong > 0 or compared == 0)


def golden_sequences(batch, which):
    """Rows without their padding on the left, which only moves the positions."""
    sequences = []
    for ids, mask, labels in zip(*(batch[f"{which}.{x}"] for x in ("input_ids", "attention_mask", "labels"))):
        first, loss_from = mask.tolist().index(1), int((labels < 0).sum())
        sequences.append(Sequence(ids[first:], loss_from - first, first))
    return sequences


def golden_run(folder, variant, decoder, adapter, episode, on_tape):
    """What this file computes for a variant, by the names of its golden file."""
    names = [
        f"base_model.model.model.layers.{layer}.{projection}.lora_{which}.weight"
        for layer in range(decoder.shape.num_hidden_layers)
        for projection in PROJECTIONS
        for which in "AB"
    ]
    phi0 = [adapter[name].double() for name in names]
    if variant["lora_b_zeroed"]:
        phi0 = [p * float("lora_A" in name) for p, name in zip(phi0, names)]
    rates = variant["learning_rates"]
    if isinstance(rates, float):
        lrs = [[rates] * variant["n_inner"] for _ in names]
    else:
        rates = load_file(folder / rates)
        lrs = [rates[name.replace(".weight", ".default.weight")].tolist() for name in names]
    head = variant["head"] and load_file(folder / variant["head"])
    head = head and [head[name].double() for name in HEAD_NAMES]
    learner = Learner(decoder, variant["n_inner"], variant["differentiated"])
    meta_gradient = learner.meta_gradient_on_tape if on_tape else learner.meta_gradient
    outer_loss, inner_losses, d_phi0, d_lrs, d_head = meta_gradient(phi0, lrs, head, *episode)
    found = {"outer_loss": doubles(outer_loss), "inner_losses": doubles(inner_losses)}
    found |= {f"meta.phi0.{name}": d for name, d in zip(names, d_phi0)}
    if isinstance(rates, dict):
        found |= {f"meta.lr.{name}": doubles(d + [0.0]) for name, d in zip(names, d_lrs)}
    return found | {f"meta.head.{name}": d for name, d in zip(HEAD_NAMES, d_head)}


def distance(found, expected):
    expected = expected.double().flatten()
    return ((found.double().flatten() - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def doubles(numbers):
    return torch.tensor(numbers, dtype=torch.float64)
