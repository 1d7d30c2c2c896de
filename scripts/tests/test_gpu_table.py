"""What must hold of the record of measurements and the page that is made of it."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent / "gpu_table.py"
PAGE = "Before\n\n<!-- gpu-results: begin -->\n<!-- gpu-results: end -->\n\nAfter\n"
RESULT = {
    "date": "2026-12-01",
    "card": "Some Card",
    "driver": "580.1",
    "commit": "abc",
    "tests": [{"suite": "lib", "passed": 3, "failed": 1}, {"suite": "model", "passed": 2, "failed": 0, "fault": "slow"}],
    "rows": [
        {"key": "a", "who": "perk", "what": "x", "target": "1 s", "seconds": 0.5, "gpu_gb": 10.26, "tflops": 250.4},
        {"key": "b", "who": "perk", "what": "y", "fault": "failed: no | memory", "stderr": "long"},
        {"key": "c", "who": "perk", "what": "z", "seconds": 0.0123, "tokens_per_sec": 251.2, "note": "first"},
    ],
}


class TheTable(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.page, self.log = self.folder / "page.md", self.folder / "log.jsonl"
        self.page.write_text(PAGE)

    def run_it(self, *arguments):
        command = [sys.executable, str(SCRIPT), "--page", str(self.page), "--log", str(self.log), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def add(self, **changes):
        result = self.folder / "result.json"
        result.write_text(json.dumps(RESULT | changes))
        return self.run_it(str(result))

    def test_a_result_becomes_a_section(self):
        self.assertEqual(self.add().returncode, 0)
        page = self.page.read_text()
        self.assertTrue(page.startswith("Before\n") and page.endswith("\nAfter\n"))
        for text in [
            "### 2026-12-01\n\nSome Card; driver 580.1; commit abc.",
            "5 passed, 1 failed; model: slow.",
            "| perk | x | 0.5 s | 10.3 GB | 250 | 1 s |  |",
            "| perk | y | – | – | – | – | failed: no \\| memory |",
            "| perk | z | 12.3 ms | – | – | – | 251 tokens/s; first |",
        ]:
            self.assertIn(text, page)

    def test_newest_come_first_and_a_day_s_second_result_replaces_the_first(self):
        self.add()
        self.add(date="2026-11-01")
        self.add(driver="581")
        page = self.page.read_text()
        self.assertLess(page.index("2026-12-01"), page.index("2026-11-01"))
        self.assertEqual(page.count("### 2026-12-01"), 1)
        self.assertIn("driver 581", page)

    def test_a_page_that_was_changed_by_hand_is_refused(self):
        self.add()
        self.assertEqual(self.run_it("--check").returncode, 0)
        self.page.write_text(self.page.read_text().replace("0.5 s", "0.4 s"))
        checked = self.run_it("--check")
        self.assertEqual(checked.returncode, 1)
        self.assertIn("scripts/gpu_table.py", checked.stderr)

    def test_what_was_not_found_on_a_gpu_is_not_recorded(self):
        self.assertEqual(self.add(card="").returncode, 1)
        self.assertFalse(self.log.exists())

    def test_a_record_that_cannot_be_read_is_named_with_its_line(self):
        self.log.write_text("{}\n{torn\n")
        self.assertIn("line 2", self.run_it().stderr)


if __name__ == "__main__":
    unittest.main()
