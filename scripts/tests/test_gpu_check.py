"""What must hold of the check on a GPU, with made-up programs and a made-up driver in its place."""

import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SCRIPTS))

from gpu.rows import ROWS, Programs, compared, step_numbers  # noqa: E402
from gpu.running import run  # noqa: E402
from gpu.suites import by_kernel, counted  # noqa: E402

COST = {"load_secs": 1.0, "micro_batch": 8, "seconds": 0.5, "tflops": 250.0, "repeats": 3}
DRIVER = """case "$*" in
  *name*) echo "Some Card, 580.1" ;;
  *) while true; do echo 2000; sleep 0.05; done ;;
esac"""
METRICS = '{{"kind": "step", "secs": {}}}'


def program(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


class Machine(tempfile.TemporaryDirectory):
    """A folder of made-up programs, and what the check found with them."""

    def __enter__(self):
        self.folder = Path(super().__enter__())
        program(self.folder, "nvidia-smi", DRIVER)
        for suite in ("lib", "golden", "model"):
            program(self.folder, suite, "echo 'test a ... ok'")
        program(self.folder, "rate", "echo 51.5")
        program(self.folder, "ask", "echo 'prompt'; echo '32 128 0.0100 251.00 1.00'")
        program(self.folder, "perk", "echo 'no such key' >&2; exit 2")
        program(self.folder, "cost", f"echo '{json.dumps(COST)}'")
        return self

    def check(self, *arguments):
        command = [sys.executable, str(SCRIPTS / "gpu_check.py"), "--room", str(self.folder), *arguments]
        command += ["--carried", str(self.folder / "carried"), "--out", str(self.folder / "result.json")]
        path = f"{self.folder}:{os.environ['PATH']}"
        done = subprocess.run(command, env=dict(os.environ, PATH=path), capture_output=True, text=True)
        self.printed, self.code = done.stdout + done.stderr, done.returncode
        return json.loads((self.folder / "result.json").read_text())


class TheCheck(unittest.TestCase):
    def test_a_row_that_fails_stops_no_other(self):
        with Machine() as machine:
            program(machine.folder, "cost", f"case \"$*\" in *highest*) echo \"panicked at a.rs:1:\" >&2; echo 'no memory' >&2; exit 101 ;; esac\necho '{json.dumps(COST)}'")  # fmt: skip
            found = machine.check("--table", "--rows", "^(meta|decode|quickstart|torch-meta-8)")
            rows = {row["key"]: row for row in found["rows"]}
            self.assertEqual(rows["meta-highest"]["fault"], "failed: no memory")
            self.assertEqual(rows["meta-high"]["seconds"], 0.5)
            self.assertAlmostEqual(rows["meta-high"]["gpu_gb"], 2000 * 2**20 / 1e9)
            self.assertEqual(rows["decode"]["tokens_per_sec"], 251.0)
            self.assertEqual(rows["quickstart-gpu"]["fault"], "failed: no such key")
            self.assertIn("PyTorch", rows["torch-meta-8"]["fault"])
            self.assertEqual(found["rate_bf16_tflops"], 51.5)
            self.assertIn("failed: no memory", machine.printed)

    def test_calls_with_one_file_add_up(self):
        with Machine() as machine:
            machine.check("--tests")
            program(machine.folder, "cost", "exit 1")
            found = machine.check("--table", "--rows", "^meta-high$")
            self.assertEqual([suite["passed"] for suite in found["tests"]], [1, 1, 1])
            self.assertEqual(len(found["rows"]), 1)
            program(machine.folder, "cost", f"echo '{json.dumps(COST)}'")
            found = machine.check("--table", "--rows", "^meta-high$")
            self.assertEqual([row.get("seconds") for row in found["rows"]], [0.5])

    def test_a_torn_file_is_replaced(self):
        with Machine() as machine:
            (machine.folder / "result.json").write_text('{"card": "So')
            self.assertEqual(machine.check("--table", "--rows", "decode")["card"], "Some Card")

    def test_failing_tests_are_named(self):
        with Machine() as machine:
            program(machine.folder, "lib", "printf 'test a ... ok\\ntest b ... FAILED\\n\\nfailures:\\n\\nb: 1 is not 2\\n'; exit 101")  # fmt: skip
            suite = machine.check("--tests")["tests"][0]
            self.assertEqual([suite["passed"], suite["failed"]], [1, 1])
            self.assertEqual(suite["first_failures"], ["b"])
            self.assertIn("1 is not 2", suite["messages"])
            self.assertEqual(machine.code, 1)

    def test_no_row_begins_when_no_time_is_left(self):
        with Machine() as machine:
            found = machine.check("--table", "--rows", "meta-high$", "--within", "0")
            self.assertIn("no time", found["rows"][0]["fault"])

    def test_rows_have_keys_of_their_own(self):
        self.assertEqual(len({row.key for row in ROWS}), len(ROWS))


class ACommand(unittest.TestCase):
    def test_is_ended_at_its_limit_with_what_it_started(self):
        began = time.monotonic()
        outcome = run(["sh", "-c", "echo begun; sleep 60 & sleep 60"], 1)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual((outcome.stdout, outcome.fault), ("begun\n", "not done within 1 s"))

    def test_that_is_missing_is_a_fault(self):
        self.assertIn("cannot be started", run(["/no/such/program"], 5).fault)


class Readings(unittest.TestCase):
    def test_a_suite_that_was_ended_keeps_its_counts(self):
        outcome = run(["sh", "-c", "echo 'test a ... ok'; sleep 60"], 1)
        self.assertEqual(counted(outcome), {"passed": 1, "failed": 0, "fault": "not done within 1 s"})
        self.assertEqual(counted(run(["true"], 5))["fault"], "ran no test")

    def test_steps_are_read_from_a_torn_journal(self):
        with tempfile.TemporaryDirectory() as folder:
            journal = Path(folder, "metrics.jsonl")
            with self.assertRaises(ValueError):
                step_numbers(journal)
            lines = [METRICS.format(secs) for secs in [9, 9, 9, 9, 9, 1, 2, 3]]
            journal.write_text("\n".join([*lines, '{"kind": "st']))
            self.assertEqual(step_numbers(journal), {"seconds": 2, "note": "median of 3 steps"})

    def test_kernels_are_summed_by_name(self):
        found = by_kernel("\t3000000000\t6000000000\nadd\t3\t1500\ngemm\t6\t3000000\n")
        self.assertEqual(found["kernels"], [["gemm", 2, 1000.0], ["add", 1, 0.5]])
        self.assertEqual((found["busy_secs"], found["secs"], found["launches"]), (1, 2, 3))

    def test_rank_256_is_said_in_multiples_of_rank_16(self):
        rows = [{"key": "meta-medium", "seconds": 2.0}, {"key": "meta-rank-256", "seconds": 3.0}]
        self.assertEqual(compared(rows)[1]["note"], "1.5 × rank 16")
        self.assertNotIn("note", compared([{"key": "meta-rank-256", "seconds": 3.0}])[0])

    def test_what_is_run_has_limits(self):
        programs = Programs(Path("room"), "python3", "cuda", 8)
        for row in ROWS:
            if row.kind in ("cost", "torch"):
                self.assertIn("--budget-secs", programs.command(row))


if __name__ == "__main__":
    unittest.main()
