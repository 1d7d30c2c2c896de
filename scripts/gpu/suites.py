"""The numerical tests on the card, and where the time of a meta-step goes."""

import csv
import re
import shutil
from collections import Counter

from .running import run

ENGINE = ["autodiff::", "optim::", "meta::tests", "model::backbone", "model::generate", "device::"]
# Those that start a process of their own are about forms for the CPU, or take the time of all others again.
SKIPPED = ["--skip", "by_composition", "--skip", "for_a_card_too", "--skip", "composed_too"]
# Program, filters, limit in seconds.
SUITES = [("lib", ENGINE + SKIPPED, 150), ("golden", SKIPPED, 90), ("model", SKIPPED, 90)]
FIRST_FAILURES = 10
# Characters of what failing tests said.
MESSAGES = 4000

PROFILED_LAUNCHES = 1500
PROFILE_SECS = 120


def tests(programs, environment, clock):
    """What each suite came to: counts, the first failures and what they said."""
    for name, filters, limit_secs in SUITES:
        command = [str(programs.room / name), *filters]
        outcome = run(command, min(limit_secs, clock.left()), environment)
        yield {"suite": name, **counted(outcome)}


def counted(outcome):
    """Counts of a suite, from its lines: it may have been ended before it counted itself."""
    ends = re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", outcome.stdout, re.MULTILINE)
    failed = [name for name, end in ends if end == "FAILED"]
    count = {"passed": sum(end == "ok" for _, end in ends), "failed": len(failed)}
    if failed:
        count["first_failures"] = failed[:FIRST_FAILURES]
        count["messages"] = outcome.stdout.partition("\nfailures:\n")[2][:MESSAGES]
    if outcome.fault and not failed:
        count["fault"] = outcome.fault
    if not ends and not outcome.fault:
        count["fault"] = "ran no test"
    return count


def profile(programs, environment, clock):
    """Launches and time by kernel of a short meta-step, from NVIDIA's Nsight Compute; says why if there is none."""
    if not shutil.which("ncu"):
        return {"fault": "ncu is missing"}
    count = str(PROFILED_LAUNCHES)
    watched = ["ncu", "--metrics", "gpu__time_duration.sum", "--clock-control", "none", "--csv"]
    watched += ["--launch-count", count, "--kill", "yes"]
    work = ["--device", programs.device, "--storage", "bf16", "--matmul-precision", "medium", "--tokens", "2048"]
    work += ["--steps", "1", "--differentiated", "1", "--micro-batch", "8", "--json"]
    limit_secs = min(PROFILE_SECS, clock.left())
    outcome = run([*watched, str(programs.room / "cost"), *work], limit_secs, environment)
    kernels = by_kernel(outcome.stdout)
    return {"kernels": kernels} if kernels else {"fault": outcome.fault or "ncu named no kernel"}


def by_kernel(text):
    """The kernels of ncu's table, those that took longest first: [name, launches, microseconds]."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    launches, micros = Counter(), Counter()
    scale = {"ns": 1e-3, "nsecond": 1e-3, "us": 1.0, "usecond": 1.0, "ms": 1e3, "msecond": 1e3}
    for row in csv.DictReader(lines):
        unit, value = row.get("Metric Unit"), row.get("Metric Value")
        if unit in scale and value:
            name = row["Kernel Name"][:120]
            launches[name] += 1
            micros[name] += float(value.replace(",", "")) * scale[unit]
    return [[name, launches[name], round(time, 1)] for name, time in micros.most_common(40)]
