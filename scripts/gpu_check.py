#!/usr/bin/env python3
"""The run of `gpu-check.sh`: its help is what to read. Python's own library alone; every finding is kept at once."""

import argparse
import datetime
import importlib.util
import json
import os
import re
import sys
import tarfile
from pathlib import Path

from gpu.rows import Programs, chosen, compared
from gpu.running import Clock, first_line, run
from gpu.suites import profile, tests

PROGRAMS = ["lib", "golden", "model", "cost", "ask", "rate", "perk"]
SECTIONS = ["tests", "table", "profile"]


def main():
    options = argparse.ArgumentParser(description=__doc__)
    for section in SECTIONS:
        options.add_argument(f"--{section}", action="store_true")
    options.add_argument("--out", type=Path)
    options.add_argument("--room", type=Path, default=Path("target/gpu-run"))
    options.add_argument("--carried", type=Path, default=Path("target/gpu-check"))
    options.add_argument("--rows", type=re.compile, default=re.compile(""))
    options.add_argument("--micro-batch", type=int, default=8)
    options.add_argument("--within", type=float, default=540)
    arguments = options.parse_args()
    unpack(arguments.carried / "programs.tar.xz", arguments.room)
    out = arguments.out or arguments.room / "result.json"
    return check(arguments, Record(out, found_here(arguments.carried / "commit")))


def check(arguments, record):
    """Runs the sections that were asked for, or all; 1 if a test failed."""
    wanted = [section for section in SECTIONS if getattr(arguments, section)] or SECTIONS
    clock, environment = Clock(arguments.within), environment_of(record.found["card"])
    device = "cuda" if record.found["card"] else "cpu"
    programs = Programs(arguments.room, sys.executable, device, arguments.micro_batch)
    print(f"card: {record.found['card'] or 'none: the tests run on the CPU by the operations that a GPU would get'}")
    print(f"driver: {record.found['driver']}; PyTorch: {record.found['pytorch']}; commit: {record.found['commit']}")
    failed = 0
    if "tests" in wanted:
        failed = tested(record, programs, environment, clock)
    if "table" in wanted:
        measured(record, programs, environment, clock, chosen(arguments.rows))
    if "profile" in wanted and device == "cuda":
        record.set("profile", profile(programs, environment, clock))
        print(profile_text(record.found["profile"]), flush=True)
    print(record.path)
    return int(failed > 0)


def unpack(archive, room):
    """The programs from the archive in which they travel."""
    marker, size = room / "unpacked", str(archive.stat().st_size) if archive.exists() else ""
    if archive.exists() and not (marker.exists() and marker.read_text() == size):
        room.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as packed:
            packed.extractall(room, filter="data")
        marker.write_text(size)
    missing = [name for name in PROGRAMS if not os.access(room / name, os.X_OK)]
    if len(missing) == len(PROGRAMS):
        sys.exit(f"error: {room} holds no program: run scripts/gpu-check.sh --prepare first")
    if missing:
        print(f"missing in {room}, so their rows fail: {', '.join(missing)}")


def found_here(commit):
    """Card, driver, PyTorch, commit and day."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    card, _, driver = first_line(query).partition(", ")
    torch = "import torch; print(torch.__version__ if torch.cuda.is_available() else '')"
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "card": card if driver else "",
        "driver": driver,
        "commit": commit.read_text().strip() if commit.exists() else "",
        "pytorch": first_line([sys.executable, "-c", torch]) if importlib.util.find_spec("torch") else "",
    }


def environment_of(card):
    """NVIDIA's libraries may come with a Python environment; without a card the operations that it would get."""
    environment = dict(os.environ, PERK_GOLDEN_DIR=str(Path("tests/golden").resolve()))
    spec = importlib.util.find_spec("nvidia")
    folders = [f"{folder}/cu13/lib" for folder in (spec.submodule_search_locations or [] if spec else [])]
    folders += filter(None, [environment.get("LD_LIBRARY_PATH")])
    environment["LD_LIBRARY_PATH"] = ":".join(folders)
    environment |= {"PERK_TEST_DEVICE": "cuda"} if card else {"PERK_COMPOSED": "1"}
    return environment


class Record:
    """The file of findings: whole at any moment. What an earlier call found on the same commit and card is kept."""

    def __init__(self, path, found):
        self.path, self.found = path, found
        try:
            earlier = json.loads(path.read_text())
            if all(earlier.get(key) == found[key] for key in ("card", "commit")):
                self.found = earlier | found
        except (OSError, ValueError, AttributeError):
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write()

    def set(self, key, value):
        self.found[key] = value
        self.write()

    def add_row(self, row):
        others = [other for other in self.found.get("rows", []) if other["key"] != row["key"]]
        self.set("rows", compared([*others, row]))

    def write(self):
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(json.dumps(self.found, indent=1, ensure_ascii=False) + "\n")
        new.replace(self.path)


def tested(record, programs, environment, clock):
    """Runs the tests; how many suites did not pass."""
    suites = []
    for suite in tests(programs, environment, clock):
        suites.append(suite)
        record.set("tests", suites)
        print(f"tests {suite['suite']}: {suite['passed']} passed, {suite['failed']} failed", flush=True)
        for text in suite.get("first_failures", []) or filter(None, [suite.get("fault")]):
            print(f"  {text}", flush=True)
    return sum(bool(suite["failed"] or suite.get("fault")) for suite in suites)


def measured(record, programs, environment, clock, rows):
    """Runs the rows; one that fails says why and stops no other."""
    for dtype in ("f32", "bf16"):
        command = [str(programs.room / "rate"), "--device", programs.device, "--size", "8192", "--dtype", dtype]
        rate = run(command, min(30, clock.left()), environment) if record.found["card"] else None
        if rate and not rate.fault:
            record.set(f"rate_{dtype}_tflops", float(rate.stdout.split()[-1]))
            print(f"a product of 8,192 rows in {dtype}: {rate.stdout.strip()} TFLOP/s", flush=True)
    print(line("who", "what", "seconds", "GPU GB", "TFLOP/s", "target", "note"), flush=True)
    for row in rows:
        found = {"key": row.key, "who": row.who, "what": row.what, "target": row.target}
        found |= row_numbers(row, record.found, programs, environment, clock)
        record.add_row(found)
        texts = [found.get("seconds", ""), found.get("gpu_gb", ""), found.get("tflops", "")]
        texts = [f"{number:.4g}" if number != "" else "-" for number in texts]
        print(line(row.who, row.what, *texts, row.target, note_of(found)), flush=True)


def row_numbers(row, here, programs, environment, clock):
    """The numbers of a row, or its fault."""
    if not here["card"]:
        return {"fault": "not measured: no GPU"}
    if row.kind == "torch" and not here["pytorch"]:
        return {"fault": "not measured: no PyTorch that sees the GPU"}
    outcome = run(programs.command(row), min(row.limit_secs, clock.left()), environment)
    try:
        numbers = programs.numbers(row, outcome)
    except (ValueError, KeyError, TypeError, IndexError, OSError) as fault:
        return {"fault": f"failed: {outcome.fault or fault}", "stderr": outcome.stderr[-2000:]}
    if outcome.gpu_gb and row.key != "quickstart-cpu":
        numbers["gpu_gb"] = outcome.gpu_gb
    return numbers


def note_of(row):
    speed = f"{row['tokens_per_sec']:.0f} tokens/s; " if "tokens_per_sec" in row else ""
    return row["fault"] if "fault" in row else speed + row.get("note", "")


def line(who, what, seconds, memory, tflops, target, note):
    return f"{who:<8} {what:<62} {seconds:>9} {memory:>7} {tflops:>8}  {target:<24} {note}"


def profile_text(found):
    """The kernels that took longest."""
    if "fault" in found:
        return f"no profile: {found['fault']}"
    lines = [f"{micros:>10.0f} µs {launches:>8.0f} launches  {name}" for name, launches, micros in found["kernels"]]
    busy, secs, launches = found["busy_secs"], found["secs"], found["launches"]
    head = f"profile of a meta-step of 8,192 tokens: kernels ran for {busy:.3f} of {secs:.3f} s, {launches:.0f} launches"
    return "\n".join([head, *lines])


if __name__ == "__main__":
    sys.exit(main())
