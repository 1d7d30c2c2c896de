#!/usr/bin/env python3
"""Makes the tables of docs/benchmarks.md from docs/gpu-results.jsonl, newest first.

    gpu_table.py RESULT.json     adds what scripts/gpu-check.sh found, and makes the tables
    gpu_table.py                 makes the tables
    gpu_table.py --check         says whether the page is what the record gives

`--log FILE` and `--page FILE` name other files. A second result of a day, card and commit takes the place of the first.
"""

import argparse
import json
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- gpu-results: begin -->", "<!-- gpu-results: end -->"
HEAD = """| who | what | time | GPU memory | TFLOP/s counted | target | note |
|---|---|---|---|---|---|---|"""
# What of a result is recorded; of its rows, all but what failing programs printed.
KEPT = ["date", "card", "driver", "commit", "pytorch", "note", "rate_f32_tflops", "rate_bf16_tflops"]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("result", type=Path, nargs="?")
    options.add_argument("--log", type=Path, default=DOCS / "gpu-results.jsonl")
    options.add_argument("--page", type=Path, default=DOCS / "benchmarks.md")
    options.add_argument("--check", action="store_true")
    arguments = options.parse_args()
    try:
        if arguments.result:
            add(arguments.log, json.loads(arguments.result.read_text()))
        return make(arguments.page, entries(arguments.log), arguments.check)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        print(f"error: {type(fault).__name__}: {fault}", file=sys.stderr)
        return 1


def entries(log):
    """The record, oldest first."""
    found = []
    for number, line in enumerate(log.read_text().splitlines() if log.exists() else [], 1):
        try:
            found.append(json.loads(line))
        except ValueError as fault:
            raise ValueError(f"{log}, line {number}: {fault}") from fault
    return found


def add(log, result):
    """Puts a result at the end of the record."""
    if not result["card"]:
        raise ValueError("this result was not found on a GPU, so there is nothing to record")
    entry = {key: result[key] for key in KEPT if result.get(key)}
    suites = result.get("tests", [])
    if suites:
        entry["tests"] = {end: sum(suite[end] for suite in suites) for end in ("passed", "failed")}
        faults = [f"{suite['suite']}: {suite['fault']}" for suite in suites if "fault" in suite]
        entry["tests"] |= {"faults": faults} if faults else {}
    entry["rows"] = [{k: v for k, v in row.items() if k != "stderr"} for row in result.get("rows", [])]
    same = [entry.get(key) for key in ("date", "card", "commit")]
    others = [old for old in entries(log) if [old.get(key) for key in ("date", "card", "commit")] != same]
    lines = [json.dumps(one, ensure_ascii=False) for one in [*others, entry]]
    log.write_text("\n".join(lines) + "\n")


def make(page, record, check):
    """Writes the tables between the page's marks, or compares; 1 if they differ."""
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} must hold one line `{BEGIN}` and one `{END}`")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    made = f"{before}{BEGIN}\n\n{tables(record)}\n{END}{after}"
    if check:
        if made != text:
            print(f"error: {page} is not what its record gives: run scripts/gpu_table.py", file=sys.stderr)
        return int(made != text)
    page.write_text(made)
    return 0


def tables(record):
    """A section an entry, newest first."""
    newest = sorted(enumerate(record), key=lambda item: (item[1]["date"], item[0]), reverse=True)
    return "\n".join(section(entry) for _, entry in newest) or "Nothing is recorded yet.\n"


def section(entry):
    facts = [entry["card"]]
    facts += [f"driver {entry['driver']}"] if entry.get("driver") else []
    facts.append(f"commit {entry['commit']}" if entry.get("commit") else "commit not recorded")
    facts += [f"PyTorch {entry['pytorch']}"] if entry.get("pytorch") else []
    rates = [f"{entry[key]:g} TFLOP/s in {key.split('_')[1]}" for key in KEPT[-2:] if entry.get(key)]
    sentences = ["; ".join(facts) + "."]
    sentences += [f"A product of 8,192 rows: {', '.join(rates)}."] if rates else []
    sentences += [tests(entry["tests"])] if "tests" in entry else []
    sentences += [entry["note"]] if entry.get("note") else []
    rows = "\n".join(row(one) for one in entry["rows"])
    table = f"\n{HEAD}\n{rows}\n" if rows else ""
    return f"### {entry['date']}\n\n{' '.join(sentences)}\n{table}"


def tests(counts):
    faults = "".join(f"; {fault}" for fault in counts.get("faults", []))
    return f"Tests on the card: {counts['passed']} passed, {counts['failed']} failed{faults}."


def row(one):
    note = one.get("note", "")
    if "tokens_per_sec" in one:
        note = f"{one['tokens_per_sec']:.0f} tokens/s; {note}".removesuffix("; ")
    if "fault" in one:
        note = one["fault"]
    memory = f"{one['gpu_gb']:.1f} GB" if one.get("gpu_gb") else "–"
    rate = f"{one['tflops']:.3g}" if one.get("tflops") else "–"
    cells = [one["who"], one["what"], duration(one.get("seconds")), memory, rate, one.get("target") or "–", note]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def duration(seconds):
    """Three digits, in milliseconds below a tenth of a second."""
    if not seconds:
        return "–"
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{seconds * 1000:.3g} ms"


if __name__ == "__main__":
    sys.exit(main())
