"""A command with a time limit, and the GPU memory that was in use meanwhile."""

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass


@dataclass
class Outcome:
    """What a command printed, however it ended; `fault` is why it did not end well."""

    stdout: str
    stderr: str
    fault: str | None
    gpu_gb: float | None


class Clock:
    """The time that is left to all rows together."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        return self.end - time.monotonic()


def run(command, limit_secs, environment=None):
    """Runs a command; it and all that it started are ended at the limit."""
    limit_secs = int(limit_secs)
    if limit_secs < 1:
        return Outcome("", "", "no time was left", None)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, MemorySampler() as memory:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, start_new_session=True
            )
        except OSError as fault:
            return Outcome("", "", f"cannot be started: {fault}", None)
        fault = ended(process, limit_secs)
        texts = [text_of(out), text_of(err)]
    if fault == "failed":
        fault = reason(texts[1]) or f"exit code {process.returncode}"
    return Outcome(*texts, fault, memory.most_gb)


def ended(process, limit_secs):
    """Waits for a command, and ends its group at the limit; `None` if all went well."""
    try:
        return "failed" if process.wait(limit_secs) else None
    except subprocess.TimeoutExpired:
        return f"not done within {limit_secs} s"
    finally:
        # What it left behind would disturb the next row.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        process.wait()


def text_of(file):
    file.seek(0)
    return file.read().decode(errors="replace")


def reason(stderr):
    """The line that says why: of a panic the one after its place, else the last one."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("note: run with", "stack backtrace"))]
    for number, line in enumerate(lines[:-1]):
        if "panicked at" in line:
            return lines[number + 1][:300]
    return lines[-1][:300] if lines else None


class MemorySampler:
    """The most memory that the driver had given out, sampled by nvidia-smi; `None` without it."""

    def __init__(self):
        self.most_gb = None

    def __enter__(self):
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "50"]
        self.samples = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen(query, stdout=self.samples, stderr=subprocess.DEVNULL)
        except OSError:
            self.process = None
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        numbers = [int(line) for line in text_of(self.samples).split() if line.isdigit()]
        self.samples.close()
        if numbers:
            self.most_gb = max(numbers) * 2**20 / 1e9


def first_line(command):
    """The first line that a command prints, or nothing."""
    lines = run(command, 20).stdout.splitlines()
    return lines[0].strip() if lines else ""
