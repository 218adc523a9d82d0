"""Medians, spread, ratios, a table for people and one flat JSON object."""

import json
import statistics
import sys


class Results:
    """Numbers by system and key, one for each round in which they were measured."""

    def __init__(self):
        self.rounds = {}
        self.reasons = {}

    def add(self, system, round_number, values):
        """Keeps what a figure returned."""
        for key, value in values.items():
            self.rounds.setdefault((system, key), {})[round_number] = value

    def fail(self, system, key, reason):
        """Keeps why a number is missing; the last reason stands."""
        self.reasons[system, key] = " ".join(str(reason).split())

    def has(self, system):
        """Returns whether anything was measured of a system."""
        return any(name == system for name, _ in self.rounds)

    def median(self, system, key):
        """Returns the median over the rounds, None where nothing was measured."""
        values = self.rounds.get((system, key))
        return statistics.median(values.values()) if values else None

    def ratio(self, system, other, key):
        """Returns the median over the rounds of `system` divided by `other` in the same round."""
        mine, theirs = (self.rounds.get((name, key), {}) for name in (system, other))
        shared = [mine[n] / theirs[n] for n in mine if theirs.get(n)]
        return statistics.median(shared) if shared else None

    def cell(self, system, key):
        """Returns `median (minimum-maximum)` for a table, `-` where nothing was measured."""
        values = self.rounds.get((system, key))
        if not values:
            return "-"
        numbers = list(values.values())
        text = short(statistics.median(numbers))
        if len(numbers) > 1:
            text += f" ({short(min(numbers))}-{short(max(numbers))})"
        return text


def short(number):
    """Returns a number with three digits that count, thousands with a letter."""
    if abs(number) >= 1e6:
        return f"{number / 1e6:.3g}M"
    if abs(number) >= 10_000:
        return f"{number / 1e3:.3g}k"
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def table(header, rows):
    """Returns lines of a Markdown table with aligned columns; the first is left-aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    ruler = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    lines = []
    for row in [header, ruler, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write_json(path, values):
    """Writes one flat object; numbers keep four significant digits."""
    rounded = {key: None if value is None else float(f"{value:.4g}")
               for key, value in values.items()}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(rounded, file, indent=2)
        file.write("\n")


def explain_missing(reasons):
    """Prints each distinct reason once, with what it concerns."""
    grouped = {}
    for name, reason in reasons.items():
        grouped.setdefault(reason, []).append(name)
    for reason, names in grouped.items():
        print(f"not measured: {', '.join(names)}: {reason}", file=sys.stderr)
