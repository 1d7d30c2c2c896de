#!/usr/bin/env python3
"""Draws the scores that evidence.sh asked for: a row for each name, a mark for each length of the context at the mean of the
seeds, a line from the lowest to the highest.

    scripts/evidence_chart.py DIR FILE.svg NAME...
"""

import html
import json
import statistics
import sys
from pathlib import Path

LEFT, WIDTH, ROW, TOP, RIGHT = 250, 560, 26, 58, 24
# One hue from pale to dark: the longer the context, the darker.
COLOURS = ["#8fb8de", "#3f7fbf", "#1b3a5c", "#08131f"]
MARKS = ["circle", "square", "diamond", "triangle"]


def scores_of(folder, name):
    """Percents by length, a list of seeds each."""
    found = {}
    for path in sorted((folder / "asked").glob(f"{name}-[0-9]*-*/results.json")):
        for row in json.loads(path.read_text())["rows"]:
            found.setdefault(int(row["cell"]["length"][:-1]), []).append(100 * row["score"])
    return found


def mark(shape, x, y, colour):
    match shape:
        case "circle":
            return f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{colour}"/>'
        case "square":
            return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5}" width="9" height="9" fill="{colour}"/>'
        case "diamond":
            return f'<path d="M{x:.1f} {y - 6} l6 6 l-6 6 l-6 -6z" fill="{colour}"/>'
        case _:
            return f'<path d="M{x:.1f} {y - 6} l6 10 h-12z" fill="{colour}"/>'


def text(x, y, words, anchor="start", weight="normal"):
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{html.escape(words)}</text>'


def chart(names, scores):
    lengths = sorted({length for found in scores.values() for length in found})
    place = lambda percent: LEFT + WIDTH * percent / 100
    height = TOP + ROW * len(names) + 34
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" '
        'font-family="sans-serif" font-size="13" fill="#222">',
        f'<rect width="{LEFT + WIDTH + RIGHT}" height="{height}" fill="#fff"/>',
    ]
    for nth, length in enumerate(lengths):
        lines.append(mark(MARKS[nth % 4], LEFT + 6 + 110 * nth, 22, COLOURS[nth % 4]))
        lines.append(text(LEFT + 18 + 110 * nth, 27, f"{length}× the length"))
    for percent in range(0, 101, 20):
        x = place(percent)
        lines.append(f'<path d="M{x:.1f} {TOP - 14} V{height - 30}" stroke="#ddd"/>')
        lines.append(text(x, height - 12, f"{percent}%", "middle"))
    for row, name in enumerate(names):
        y = TOP + ROW * row
        lines.append(text(LEFT - 14, y + 4, name, "end"))
        for nth, length in enumerate(lengths):
            found, colour = scores[name].get(length), COLOURS[nth % 4]
            if not found:
                continue
            # Beside each other, so that none hides another.
            own = y + 4 * (nth - (len(lengths) - 1) / 2)
            low, high = place(min(found)), place(max(found))
            lines.append(f'<path d="M{low:.1f} {own} H{high:.1f}" stroke="{colour}" stroke-width="2"/>')
            lines.append(mark(MARKS[nth % 4], place(statistics.mean(found)), own, colour))
    return "\n".join([*lines, "</svg>", ""])


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    folder, file, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    scores = {name: scores_of(folder, name) for name in names}
    if missing := [name for name in names if not scores[name]]:
        sys.exit(f"error: {folder}/asked has no scores of {', '.join(missing)}: run scripts/evidence.sh first")
    new = file.with_name(file.name + ".new")
    new.write_text(chart(names, scores))
    new.replace(file)


if __name__ == "__main__":
    main()
