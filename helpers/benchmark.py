"""What ``make bench`` measured: our training against a beginner's loop, and what each trick is worth.

Notebook 01 shows it, and the README does.
"""

import textwrap

import torch

from helpers import figures
from helpers.plumbing.device import pick_device, pick_precision
from helpers.plumbing.measured import read

TARGET = 0.80
"""The accuracy on the images held out for validation that the loops race to."""

LOOPS = {
    "a": "a beginner's loop: PIL, float32, Adam",
    "b": "a beginner's loop, two workers",
    "c": "ours, the quick recipe",
}


def _number(value, form: str, unit: str = "", before: str = "") -> str:
    return "–" if value is None else f"{before}{value:{form}}{unit}"


def _in_turns(one: dict) -> str:
    text = _number(one["times_as_long"], ".2f", before="×")
    return text + (f" ({min(one['rounds']):.2f} to {max(one['rounds']):.2f})" if one["rounds"] else "")


def _to_target(one: dict) -> str:
    if one["time_to_80_s"] or not one["gave_up_s"]:
        return _number(one["time_to_80_s"], ".0f", " s")
    return f"not in {one['gave_up_s']:.0f} s, {one['gave_up_epochs']} epochs"


def _loop(name: str, one: dict) -> list[str]:
    return [
        name,
        _number(one["seconds_per_epoch"], ".1f", " s"),
        _in_turns(one),
        _to_target(one),
        f"{one['reached_80']} of {one['seeds']}",
        _number(one["images_per_s"], ",.0f"),
        _number(one["peak_memory"] and one["peak_memory"] / 1e6, ",.0f", " MB"),
    ]


def _spread(one: dict | None) -> str:
    """The median with the lowest and the highest."""
    return "–" if one is None else f"{one['median']:.2%} ({one['lowest']:.2%} to {one['highest']:.2%})"


def _recipe(name: str, one: dict) -> list[str]:
    return [
        f"`{name}`",
        _number(one["seconds"], ".0f", " s"),
        *(_spread(one[images]) for images in ("test", "mirrored", "validation")),
        _number(one["validation_share"], ".1%", before="+"),
        str(one["seeds"]),
    ]


def _trick(one: dict) -> list[str]:
    accuracies = [f"{one[how]['accuracy']:.1%}" for how in ("with", "without")]
    return [one["name"], *accuracies, _in_turns(one), one["why"], one["source"]]


def tables(results: dict) -> list[tuple[list[str], list[list[str]]]]:
    """The results as tables: a head and rows of texts each. A table with no rows is left out."""
    loops = ["the same network, trained by", "an epoch", "in turns", f"to {TARGET:.0%}"]
    loops += ["seeds that got there", "images per second", "memory at most"]
    recipes = ["recipe", "training", "test images: median", "with their mirror images", "validation"]
    recipes += ["validating adds", "seeds"]
    tricks = ["trick", "validation with", "without", "time without", "what it does", "source"]
    found = [
        (loops, [_loop(LOOPS[key], one) for key, one in results["loops"].items() if one]),
        (recipes, [_recipe(name, one) for name, one in results["recipes"].items() if one]),
        (tricks, [_trick(one) for one in results["tricks"]]),
    ]
    return [(head, rows) for head, rows in found if rows]


def in_words(results: dict) -> str:
    """Where it was measured, what the ratios are, how near the machine's limit a step comes, what loading costs, what is missing."""
    text = f"Measured on: {results['machine']}, {results['cores']} cores, torch {results['versions']['torch']}, {results['date']}."
    if ratio := results["ratio_per_epoch"]:
        text += f" In turns with ours, an epoch of the beginner's loop takes {ratio:.2f} times as long as the mean of ours"
        if to_target := results["ratio_to_80"]:
            least = "at least " if results["ratio_to_80_is_a_lower_bound"] else ""
            text += f", and the way to {TARGET:.0%}, counted in such epochs, {least}{to_target:.1f} times"
        text += "."
    if one := results["limit"]:
        slow, fast = one["loading"]["DataLoader"], one["loading"]["in memory"]
        text += (
            f" A step of the quick recipe computes {one['step_flops'] / 1e9:.0f} GFLOP in "
            f"{1000 * one['step_seconds']:.0f} ms on average, at {one['share']:.0%} of the rate of a large matrix product. "
            f"Only handing out the batches of an epoch takes {slow:.0f} s with a DataLoader and {fast:.1f} s from memory."
        )
    missing = [LOOPS[key] for key, one in results["loops"].items() if not one]
    missing += [f"`{name}`" for name in ("quick", "full") if not results["recipes"][name]]
    return text + (f" Not benchmarked yet: {'; '.join(missing)}." if missing else "")


WIDTH = 96
"""Characters that fit into a line of a notebook's output."""


def fitting(widths: list[int]) -> int:
    """How many columns, two characters apart, fit into a line."""
    ends = [sum(widths[:count]) + 2 * (count - 1) for count in range(1, len(widths) + 1)]
    return sum(end <= WIDTH for end in ends)


def kind(device: torch.device | None = None) -> str:
    """Of the processor at hand, by what it multiplies fast: ``"float32"``, ``"bfloat16"`` or ``"gpu"``."""
    device = device or pick_device()
    return "gpu" if device.type != "cpu" else str(pick_precision(device)).removeprefix("torch.")


KINDS = {
    "bfloat16": "A processor with bfloat16",
    "float32": "A processor without bfloat16",
    "gpu": "A GPU",
}
"""The kinds of processors, each of which has its own tables."""


def of_each_kind(own: str = "") -> dict[str, dict]:
    """The shipped results of each kind that was measured, by the words for it; the reader's own kind first."""
    results = read("bench")
    kinds = sorted(KINDS, key=lambda one: one != own)
    return {KINDS[one]: results[one] for one in kinds if results.get(one)}


def show() -> None:
    """Print the shipped results as tables and draw them, each kind of processor for itself; say so when there are none.

    Columns at the end that a notebook's line has no room for are left out: the README has them.
    """
    found = of_each_kind(kind())
    if not found:
        print("Not measured yet. On a machine that has nothing else to do, `make bench` measures it.")
        return
    for title, results in found.items():
        print(f"{title}\n")
        print("\n".join(textwrap.wrap(in_words(results).replace("`", ""), WIDTH)))  # the README's marks
        for head, rows in tables(results):
            _print(head, rows)
        figures.benchmark(results, target=TARGET)


def _print(head: list[str], rows: list[list[str]]) -> None:
    rows = [[cell.replace("`", "") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    columns = fitting(widths)
    print()
    for row in (head, *rows):
        cells = list(zip(row, widths, strict=True))[:columns]
        print("  ".join(f"{cell:<{width}}" for cell, width in cells).rstrip())
