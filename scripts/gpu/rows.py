"""The rows of the table: what is run for each, and how its numbers are read."""

import json
import shutil
import statistics
from dataclasses import dataclass
from pathlib import Path

# What a repetition may be begun within, so that one slow row still gives a number before its limit.
BUDGET_SECS = 25
QUICKSTART_STEPS, QUICKSTART_WARM_UP = 25, 5


@dataclass(frozen=True)
class Row:
    """A line of the table. `target` is what it is hoped to be at most; `flags` are those of the program `kind`."""

    key: str
    who: str
    what: str
    target: str
    kind: str
    flags: str
    limit_secs: int = 60


def meta(key, what, target, flags):
    return Row(key, "perk", what, target, "cost", f"{flags} --repeat 3")


def torch(key, what, flags):
    return Row(f"torch-{key}", "PyTorch", what, "", "torch", f"{flags} --repeat 3")


LONG = "--tokens {} --encode --repeat 1"
SHORT_EPISODES = "--shape smollm2-135m --tokens 192 --segment 48 --episodes 24"
MEDIUM = "--matmul-precision medium"

ROWS = [
    meta("meta-medium", "meta-step 8,192 tokens, medium", "0.8 s, 12 GB", f"{MEDIUM} --tokens 8192"),
    meta("meta-medium-32", "meta-step 8,192 tokens, medium, all 32 segments at once", "", f"{MEDIUM} --tokens 8192 --micro-batch 32"),
    meta("meta-episodes", "meta-step 8 episodes of 1,024 tokens, medium", "0.9 s", f"{MEDIUM} --tokens 1024 --episodes 8"),
    meta("meta-smollm2", "meta-step SmolLM2-135M, 24 episodes of 4 × 48 tokens, medium", "0.3 s", f"{MEDIUM} {SHORT_EPISODES}"),
    Row("encode-65536", "perk", "encode 65,536 tokens, medium", "4 s", "cost", f"{MEDIUM} {LONG.format(65536)}"),
    Row("encode-131072", "perk", "encode 131,072 tokens, medium", "8 s, memory as at 8,192", "cost", f"{MEDIUM} {LONG.format(131072)}"),
    Row("decode", "perk", "answer one question, bf16", "250 tokens/s", "ask", f"{MEDIUM} --prompt-tokens 32 --new-tokens 128 --repeat 3"),
    meta("meta-high", "meta-step 8,192 tokens, high", "1.4 s", "--matmul-precision high --tokens 8192"),
    meta("meta-rank-256", "meta-step 8,192 tokens, medium, rank 256", "2 × rank 16", f"{MEDIUM} --tokens 8192 --rank 256"),
    Row("quickstart-gpu", "perk", "outer step of the quickstart, on the card", "", "quickstart", "cuda"),
    Row("quickstart-cpu", "perk", "outer step of the quickstart, on its CPU", "", "quickstart", "cpu"),
    meta("encode-8192", "encode 8,192 tokens, medium", "", f"{MEDIUM} --tokens 8192 --encode"),
    meta("meta-highest", "meta-step 8,192 tokens, highest", "", "--matmul-precision highest --tokens 8192"),
    torch("meta-32", "meta-step 8,192 tokens, bf16, 32 segments at once", "--tokens 8192 --micro-batch 32"),
    torch("meta-8", "meta-step 8,192 tokens, bf16, 8 segments at once", "--tokens 8192 --micro-batch 8"),
    torch("meta-1024", "meta-step 1,024 tokens, bf16, 4 segments at once", "--tokens 1024 --micro-batch 4"),
    torch("smollm2", "meta-step SmolLM2-135M, 24 episodes of 4 × 48 tokens, bf16", f"{SHORT_EPISODES} --micro-batch 4"),
    torch("encode-8192", "encode 8,192 tokens, bf16, 8 segments at once", "--tokens 8192 --micro-batch 8 --encode"),
]  # fmt: skip


def chosen(pattern):
    """The rows whose key a regular expression finds."""
    return [row for row in ROWS if pattern.search(row.key)]


@dataclass(frozen=True)
class Programs:
    """Where the programs lie, and with what they run."""

    room: Path
    python: str
    device: str
    micro_batch: int

    def command(self, row):
        """What is run for a row."""
        flags, perk = row.flags.split(), ["--device", self.device, "--storage", "bf16", "--warm-up"]
        if row.kind == "torch":
            peer = Path(__file__).parent.parent / "peer_batched.py"
            budget = ["--budget-secs", str(BUDGET_SECS)]
            return [self.python, str(peer), "--device", self.device, *flags, *budget]
        if row.kind == "quickstart":
            return self.quickstart(*flags)
        if row.kind == "ask":
            return [str(self.room / "ask"), *perk, *flags]
        often = ["--budget-secs", str(BUDGET_SECS), "--json"]
        if "--micro-batch" not in flags:
            often += ["--micro-batch", str(self.micro_batch)]
        return [str(self.room / "cost"), *perk, *often, *flags]

    def quickstart(self, device):
        """Some steps of the embedded default, and the least of its scores at the end."""
        few = ["eval.every=0", "eval.episodes=1", "eval.multiples=[1]", "run.checkpoint_every=0"]
        few += ["eval.no_adaptation=false", "eval.in_context=false", f"outer.steps={QUICKSTART_STEPS}"]
        folder = self.quickstart_folder(device)
        shutil.rmtree(folder, ignore_errors=True)
        command = [str(self.room / "perk"), "meta-train", "--config", "configs/quickstart.toml", "--device", device]
        return [*command, "--out", str(folder), *(part for key in few for part in ("--set", key))]

    def quickstart_folder(self, device):
        return self.room / f"quickstart-{device}"

    def numbers(self, row, outcome):
        """What a row's program found, as columns of the table; raises `ValueError` if it says nothing."""
        if row.kind == "quickstart":
            return step_numbers(self.quickstart_folder(row.flags) / "metrics.jsonl")
        if outcome.fault:
            raise ValueError(outcome.fault)
        lines = outcome.stdout.splitlines()
        if not lines:
            raise ValueError("printed nothing")
        if row.kind == "ask":
            _, _, first, speed, *_ = lines[-1].split()
            return {"seconds": float(first), "tokens_per_sec": float(speed), "note": "to the first of the tokens"}
        return cost_numbers(json.loads(lines[-1]))


def cost_numbers(found):
    """Of the JSON line of the bench `cost` or of its peer."""
    note = f"{found['micro_batch']} segments at once" if "load_secs" in found else ""
    if "gpu_gb" in found:
        note = f"{found['gpu_gb']:.1f} GB in tensors"
    if found["repeats"] > 1:
        note += f"; median of {found['repeats']}"
    return {"seconds": found["seconds"], "tflops": found["tflops"], "note": note.removeprefix("; ")}


def step_numbers(metrics):
    """The median step of a run, from its journal: it may have been ended at its limit."""
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    steps = [record["secs"] for record in whole(lines) if record.get("kind") == "step"][QUICKSTART_WARM_UP:]
    if not steps:
        raise ValueError("no step was done")
    return {"seconds": statistics.median(steps), "note": f"median of {len(steps)} steps"}


def whole(lines):
    """The records of a journal, whose last line may be torn."""
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            return


def compared(rows):
    """Rows with rank 256 said in multiples of rank 16."""
    seconds = {row["key"]: row["seconds"] for row in rows if row.get("seconds")}
    few, many = (seconds.get(key) for key in ("meta-medium", "meta-rank-256"))
    if few and many:
        for row in rows:
            if row["key"] == "meta-rank-256":
                row["note"] = f"{many / few:.1f} × rank 16"
    return rows
