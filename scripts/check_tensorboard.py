#!/usr/bin/env python3
"""Checks that TensorBoard's own reader finds in perk's event files what metrics.jsonl says.

    check_tensorboard.py [RUN]

RUN is the folder of a run with `run.tensorboard = true`. Without it a few steps of the quickstart are taken in a folder of
their own, and continued from an earlier checkpoint, which begins another event file and takes back steps of the first; perk
is what PERK names, or built by cargo in the profile that PERK_PROFILE names (`dev`). The exit code is 1 if anything differs.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lib import perk_server

# The names of a step's numbers, and of a score's, in both files.
STEP = {
    "outer/loss": "outer_loss",
    "outer/gradient_norm": "grad_norm",
    "outer/lr_factor": "lr_factor",
    "inner/loss_first": "inner_loss_first",
    "inner/loss_last": "inner_loss_last",
    "step/context_tokens": "context_tokens",
    "step/secs": "secs",
}
EVAL = {"eval/exact_match": "exact_match", "eval/secs": "secs"}


def perk(*arguments):
    command = [perk_server.perk(), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=perk_server.ROOT)


def make_run(folder):
    """A run of four steps, which is then continued from the checkpoint behind its second, as after a crash."""
    settings = ["outer.schedule=constant", "outer.episodes_per_step=1", "eval.every=1", "eval.episodes=1",
                "eval.episodes_during=1", "eval.multiples=[1]", "run.tensorboard=true"]
    settings = [word for setting in settings for word in ("--set", setting)]
    config = ["--quiet", "--config", "configs/quickstart.toml", *settings]
    perk("meta-train", *config, "--set", "outer.steps=2", "--out", str(folder))
    checkpoints, second = folder / "checkpoints", folder.parent / "second"
    shutil.copytree(checkpoints, second)
    perk("meta-train", *config, "--set", "outer.steps=4", "--resume", str(folder))
    shutil.rmtree(checkpoints)
    second.rename(checkpoints)
    perk("meta-train", *config, "--set", "outer.steps=3", "--resume", str(folder))


def expected(folder):
    """Tag to step to number, from metrics.jsonl."""
    numbers = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for tag, key in (STEP if record["kind"] == "step" else EVAL).items():
            numbers.setdefault(tag, {})[record["step"]] = record[key]
    return numbers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    run = parser.parse_args().run
    with tempfile.TemporaryDirectory() as room:
        if run is None:
            run = Path(room) / "run"
            make_run(run)
        reader = EventAccumulator(str(run), size_guidance={"scalars": 0})
        reader.Reload()
        wanted, files = expected(run), len(list(run.glob("events.out.tfevents.*")))
        faults, count = [], 0
        for tag, numbers in wanted.items():
            found = {event.step: event.value for event in reader.Scalars(tag)} if tag in reader.Tags()["scalars"] else {}
            if found.keys() != numbers.keys():
                faults.append(f"{tag}: steps {sorted(found)}, expected {sorted(numbers)}")
                continue
            count += len(numbers)
            wrong = [step for step, number in numbers.items() if abs(found[step] - number) > 1e-6 * max(1, abs(number))]
            faults += [f"{tag} at step {step}: {found[step]}, expected {numbers[step]}" for step in wrong]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    print(f"{count} numbers under {len(wanted)} names, in {files} event files: {'as' if not faults else 'NOT as'} in metrics.jsonl")
    return 1 if faults or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
