"""The numerical tests on the card, and where the time of a meta-step goes."""

import re

from .running import run

ENGINE = ["autodiff::", "optim::", "meta::tests", "model::backbone", "model::generate", "device::"]
# Those that start a process of their own are about forms for the CPU, or take the time of all others again.
SKIPPED = ["--skip", "by_composition", "--skip", "for_a_card_too", "--skip", "composed_too"]
# Program, filters, limit in seconds.
SUITES = [("lib", ENGINE + SKIPPED, 150), ("golden", SKIPPED, 90), ("model", SKIPPED, 90)]
FIRST_FAILURES = 10
# Characters of what failing tests said.
MESSAGES = 4000

# Meta-steps that are traced, the one of the warm-up included: all of one size.
PROFILED_STEPS = 3
PROFILE_SECS = 60
# Kernels that are named.
KERNELS = 40


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
    """Launches and time by kernel of some meta-steps, and for how much of the time a kernel ran; says why if not known."""
    tracer, found = (programs.room / "libkernel_trace.so").resolve(), (programs.room / "kernels.tsv").resolve()
    if not tracer.exists():
        return {"fault": f"{tracer.name} is missing"}
    found.unlink(missing_ok=True)
    traced = environment | {"CUDA_INJECTION64_PATH": str(tracer), "KERNEL_TRACE": str(found)}
    work = ["--device", programs.device, "--storage", "bf16", "--matmul-precision", "medium", "--tokens", "8192"]
    work += ["--micro-batch", str(programs.micro_batch), "--warm-up", "--repeat", str(PROFILED_STEPS - 1), "--json"]
    outcome = run([str(programs.room / "cost"), *work], min(PROFILE_SECS, clock.left()), traced)
    if outcome.fault or not found.exists():
        return {"fault": outcome.fault or "no kernel was traced"}
    return by_kernel(found.read_text())


def by_kernel(text):
    """A trace for one meta-step: seconds in kernels and altogether, and the kernels that took longest, [name, launches,
    microseconds]."""
    first, *lines = [line.split("\t") for line in text.splitlines()]
    kernels = [[name[:120], int(launches), int(nanoseconds)] for name, launches, nanoseconds in lines]
    kernels.sort(key=lambda kernel: -kernel[2])
    per_step = [[name, count / PROFILED_STEPS, round(time / PROFILED_STEPS / 1e3, 1)] for name, count, time in kernels]
    busy, all_of_it = (int(nanoseconds) / PROFILED_STEPS / 1e9 for nanoseconds in first[1:])
    launches = sum(count for _, count, _ in per_step)
    return {"busy_secs": busy, "secs": all_of_it, "launches": launches, "kernels": per_step[:KERNELS]}
