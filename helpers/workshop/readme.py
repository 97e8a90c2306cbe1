"""Write the README's tables and picture, and the notebooks' times: ``python -m helpers.workshop.readme``.

A table stands between ``<!-- NAME -->`` and ``<!-- end NAME -->`` and is written
by the function of that name below. Nothing between the two is typed by hand.
"""

import math
import re
from collections.abc import Callable

import nbformat

from helpers import benchmark, chapter
from helpers.plumbing import paths
from helpers.plumbing.measured import read

from . import address, gpu, speedrun

README = paths.ROOT / "README.md"
TEACHING = paths.ROOT / "notebooks/teaching.md"
READING = "| **Reading** |"
TIMES = (READING, "| **It takes** |")
"""How the lines about time begin in the table of a notebook's head."""
ROAD = paths.ROOT / "notebooks" / "road.png"
STOPS = [
    ("1", "train", "ten classes"),
    ("2", "save", "alexnet.pth"),
    ("3", "export", "alexnet.onnx"),
    ("4", "convert", "AlexNet.mlpackage"),
    ("", "run", "on the phone"),
]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def the_map() -> str:
    """Every notebook, and how long it took in each mode."""
    measured = read("notebooks")
    modes = [name for name in ("quick", "full") if name in measured]
    rows = []
    for notebook, purpose in chapter.NOTEBOOKS.items():
        times = [measured[name]["seconds"].get(notebook) for name in modes]
        rows.append([f"[`{notebook}`](notebooks/{notebook}.ipynb)", purpose])
        rows[-1] += ["–" if time is None else chapter.in_words(time) for time in times]
    head = ["notebook", "you learn to", *(f"CPU, {name}" for name in modes)]
    machines = chapter.measured_on(measured).items()
    words = "; ".join(f"{machine} ({where})" if where else machine for machine, where in machines)
    return _table(head, rows) + f"\n\nMeasured on: {words}. Not yet measured on a GPU.{_the_start(measured)}"


def _the_start(measured: dict) -> str:
    """What starting the kernels and importing took of a whole run, where that was measured."""
    parts = [
        f"`{name}` {one['starting']:.0f} s for starting the kernels and {one['importing']:.0f} s for importing"
        for name, one in measured.items()
        if "starting" in one
    ]
    return f" Of this took, in all notebooks together: {'; '.join(parts)}." if parts else ""


def the_numbers() -> str:
    """The accuracy of both modes, and how closely every file agrees with PyTorch."""
    measured = read("notebooks")
    rows = []
    for name in ("quick", "full"):
        if name in measured:
            one = measured[name]
            seconds = chapter.in_words(one["seconds"]["01_train_alexnet"])
            rows.append([f"`{name}`", f"{one['test_accuracy']:.2%}", seconds])
    text = _table(["mode", f"right, of 10,000 test images ({one['source']})", "all of notebook 01"], rows)
    rows = []
    for file, agreement in measured.get("full", {}).get("parity", {}).items():
        rows.append([file, f"{agreement['max_abs_diff']:.1e}", f"{agreement['same_labels']:,} of 10,000"])
    return (
        text
        + "\n\n"
        + _table(["file", "largest difference of a probability", "same answer as PyTorch"], rows)
    )


def the_book() -> str:
    """How large the book is and how long it takes to build; nothing while nobody has measured it."""
    found = read("book")
    if not found:
        return "Nobody has measured yet how long it takes."
    return (
        f"{found['pages']} pages, {found['megabytes']} MB, built in {found['seconds']} seconds "
        f"({found['machine']}; languages: {', '.join(found['languages'])})."
    )


BENCH = """### Against a beginner's loop

`make bench` trains one network with the loop of a first tutorial (`DataLoader`, PIL pictures, 32-bit numbers, Adam at 0.001, the same rate all the time) and with the `quick` recipe. Then it takes every trick of the recipe away, one at a time. All learn from the same 45,000 images and are judged by the 5,000 held out; the test images are asked once, at the end. What is compared in time takes turns, on a part of the pictures and with the machine to itself, because a machine's speed drifts; the clock stands during validation."""
"""What stands above the benchmark's tables."""

SPEED = (
    "Times of ONNX Runtime's processor time for the same network in 32 bits, on {threads} thread: the median of "
    "{turns} turns, with the lowest and the highest. float16 is computed in 32 bits, and each result rounded."
)
"""What stands above the table of the runtime's speed."""


def the_badges() -> str:
    """How to open the series without installing it."""
    return address.badges(address.address())


def the_bench() -> str:
    """Our training against a beginner's loop, each kind of processor for itself."""
    parts = [BENCH]
    found = read("bench")
    for kind, results in found.items():
        figure = (
            f"![Left: validation accuracy by seconds of the training loops, {benchmark.KINDS[kind].lower()}. "
            f"Right: points of accuracy lost without each trick.](helpers/measured/bench-{kind}.png)"
        )
        tables = [_table(head, rows) for head, rows in benchmark.tables(results)]
        parts += [f"#### {benchmark.KINDS[kind]}", figure, benchmark.in_words(results), *tables]
    return "\n\n".join(parts if found else [BENCH, "Not measured yet."])


def the_speedrun() -> str:
    """The race to 80 % and to 90 %, a row for each processor, fastest first."""
    rows = read("speedrun").values()
    if not rows:
        return "Nobody has run it yet: be the first."
    last = [
        math.inf if one["seconds"] is None else one["seconds"]
        for row in rows
        for one in [*row["races"].values()][-1:]
    ]
    order = sorted(zip(last, map(speedrun.cells, rows), strict=True))
    return _table(speedrun.HEAD, [cells for _, cells in order])


def the_gpu() -> str:
    """The recipes for a GPU, on every GPU that was measured."""
    rows = [gpu.cells(name, row) for name, recipes in read("gpu").items() for row in recipes.values()]
    return _table(gpu.HEAD, rows) if rows else "Nobody has run it yet: be the first."


def the_proofs() -> str:
    """What `make proof` proves at length, one line each."""
    zoo, nodes, fuzz, speed = (read(name) for name in ("zoo", "onnx_nodes", "fuzz", "runtime"))
    found = list(zoo["rows"].values())
    agree = [row for row in found if row["outcome"] == "agrees"]
    networks = len({row["network"] for row in found})
    roads = len({row["road"] for row in found})
    furthest = max(row["difference"] for row in agree)
    files = (
        f"{len(agree)} of {len(found)} files ({networks} networks, {roads} roads, both formats): "
        f"largest difference {furthest:.0e}"
    )
    if len(agree) < len(found):
        files += f"; the other {len(found) - len(agree)} are refused by name"
    rows = [["networks that are not ours, random weights, 32 bits", files]]
    for name, one in nodes["formats"].items():
        refused = sum(one["refused"].values())
        result = f"{one['passed']} of {one['tests']} give the expected output, {refused} are refused with a reason, {one['failed']} give a wrong one"
        rows.append([f"the official tests of the ONNX operators, as {name}", result])
    for name, one in fuzz["readers"].items():
        result = (
            f"{one['files']:,} files: {one['opened']:,} opened, {one['refused']:,} refused with a named error; at most "
            f"{one['largest_memory_mib']:.0f} MiB more memory than before and {one['longest_seconds']:.2f} s of the processor for one"
        )
        rows.append([f"damaged and forged files, `{name}`", result])
    phone = read("phone")
    for name, one in phone.get("photos", {}).items():
        result = f"{one['median_ms']} ms ({one['lowest_ms']} to {one['highest_ms']}; {phone['machine']}, {phone['turns']} times)"
        rows.append([f"from a phone's page to its answer, without the Wi-Fi: {name}", result])
    for one in read("interrupts").values():
        result = (
            f"{one['equal']} of {one['tried']} runs that went on equal the run without a stop, bit by bit"
        )
        rows.append([f"Ctrl-C at random instants of a training ({one['machine']})", result])
    parts = [
        _table(["proof", "result"], rows),
        _folded("the time of our Core ML runtime beside ONNX Runtime's", _the_speed(speed)),
        _folded("network by network", _the_zoo(found)),
        _folded("why an operator test is refused", _the_refusals(nodes["formats"])),
    ]
    return "\n\n".join(parts)


def _the_speed(speed: dict) -> str:
    """How long opening a file, one picture and a batch take, in times of ONNX Runtime's time."""

    def words(found):
        return f"{found['ratio']:.2f} ({found['lowest']:.2f} to {found['highest']:.2f})"

    rows = [
        [f"{name}, {network['size']}×{network['size']}", kind]
        + [words(found[what]) for what in ("load", "one", "batch")]
        + [str(network["images"])]
        for name, network in speed["networks"].items()
        for kind, found in network["formats"].items()
    ]
    head = ["network", "format", "opening", "one picture", "a batch", "pictures in it"]
    return f"{SPEED.format(**speed)}\n\n{_table(head, rows)}"


def the_settings() -> str:
    """The verdict of the tests under every setting, as far as they have been run."""
    found = read("settings")
    if not found:
        return "None of them has been run to its end yet."
    rows = []
    for row in found["rows"].values():
        numbers = [str(row.get(count, "–")) for count in ("passed", "failed", "skipped")]
        reason = row.get("not_here")
        rows.append([row["words"], f"not possible here: {reason}" if reason else row["tests"], *numbers])
    return _table(["setting", "tests", "passed", "failed", "skipped"], rows)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _the_zoo(found: list[dict]) -> str:
    """The largest difference of each network over all roads."""
    formats = ("neural network", "ML program")
    rows = []
    for network in sorted({row["network"] for row in found}):
        mine = [row for row in found if row["network"] == network]
        rows.append([network, f"{mine[0]['size']}×{mine[0]['size']}"])
        for name in formats:
            one = [row for row in mine if row["format"] == name]
            agree = [row["difference"] for row in one if row["outcome"] == "agrees"]
            refused = f", {len(one) - len(agree)} refused" if len(agree) < len(one) else ""
            rows[-1].append((f"{max(agree):.1e}" if agree else "–") + refused)
        rows[-1].append(f"{max(row.get('float16', 0) for row in mine):.1e}")
    return _table(["network", "pictures", *formats, "rounded to 16 bits"], rows)


def _the_refusals(formats: dict) -> str:
    """How many operator tests are refused for which reason, most frequent first."""
    reasons = {reason for one in formats.values() for reason in one["refused"]}
    counts = {reason: [one["refused"].get(reason, 0) for one in formats.values()] for reason in reasons}
    rows = sorted(counts.items(), key=lambda pair: (-sum(pair[1]), pair[0]))
    return _table(["reason", *formats], [[reason, *map(str, numbers)] for reason, numbers in rows])


def the_photos() -> str:
    """What each road costs on real photos, and what the repair gives back."""
    measured = read("photos")

    def row(name, one):
        accuracy = f"{one['value']:.1%} ({one['low']:.1%} to {one['high']:.1%})"
        gain = one["gain"]
        difference = f"{100 * gain['value']:+.1f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
        return [name, accuracy, "" if gain["low"] == gain["high"] else difference]

    shapes, files, clean, spoilt, test = (
        measured[name] for name in ("shapes", "files", "clean", "under_faults", "test_images")
    )
    best = "camera network, several views"
    rows = [
        row(f"{measured['photos']} photos, the shipped network", shapes["centre crop, antialiased"]),
        *(row(f"… {name}", one) for name, one in files.items()),
        row("… made small by leaving pixels out (nearest)", shapes["centre crop, nearest"]),
        row("… with bars (letterbox)", shapes["letterbox, antialiased"]),
        row("photos by way of 128×128, the shipped network", clean["plain network"]),
        row("… the repaired road", clean[best]),
        row("the same with corruptions of a camera, the shipped network", spoilt["plain network"]),
        row("… the repaired road", spoilt[best]),
        row("test images, the shipped network", test["plain network"]),
        row("… the repaired road", test[best]),
    ]
    return _table(["pictures and road", "right (95 % interval)", "difference in points"], rows)


def the_times() -> str:
    """For a teacher: how long a notebook is read, and how long the machine works on it."""
    measured = read("notebooks")
    modes = [name for name in ("quick", "full") if name in measured]
    rows, minutes = [], []
    for name in chapter.NOTEBOOKS:
        minutes.append(reading_minutes(_notebook(name)))
        seconds = [measured[one]["seconds"].get(name) for one in modes]
        times = ["–" if one is None else chapter.in_words(one) for one in seconds]
        rows.append([f"[{name}]({name}.ipynb)", f"{minutes[-1]} minutes", *times])
    totals = [chapter.in_words(sum(measured[one]["seconds"].values())) for one in modes]
    rows.append(["all", f"{sum(minutes)} minutes", *totals])
    head = ["notebook", "to read", *(f"the machine, `{one}`" for one in modes)]
    machines = ", ".join(chapter.measured_on(measured))
    return _table(head, rows) + f"\n\nMachine times: {machines}."


TABLES = {
    "badges": the_badges,
    "map": the_map,
    "numbers": the_numbers,
    "proofs": the_proofs,
    "settings": the_settings,
    "photos": the_photos,
    "bench": the_bench,
    "speedrun": the_speedrun,
    "gpu": the_gpu,
    "book": the_book,
}


TEACHING_TABLES = {"times": the_times}


def filled(text: str, tables: dict[str, Callable[[], str]] = TABLES) -> str:
    """``text`` with every table written anew.

    Raises:
        ValueError: a table's place is missing.
    """
    for name, write in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not place.search(text):
            raise ValueError(
                f"The text has no place for the table {name!r}: <!-- {name} --> … <!-- end {name} -->."
            )
        table = write()
        text = place.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)
    return text


WORDS_PER_MINUTE, LINES_PER_MINUTE, SECONDS_PER_FIGURE = 238, 500 / 60, 12
"""How fast a notebook is read. Words: adults, silently, in English that is no fiction (Brysbaert, How many words do we
read per minute?, Journal of Memory and Language 109, 2019). Code: 500 lines an hour, the pace above which reviewers
overlook more (Cohen, Best Kept Secrets of Peer Code Review, SmartBear 2006). Figures: the 12 seconds that Medium gives
the first picture of an article."""
FOREIGN = 1.5
"""How much longer those need who read English as a foreign language: an estimate."""


def reading_minutes(notebook) -> int:
    """Estimate the minutes that it takes to read a notebook, its code and its figures, without running it.

    The lines about time in its head are not counted: they are written from the result.
    """
    words = lines = figures = 0
    for cell in notebook.cells:
        text = [line for line in cell.source.splitlines() if line.strip() and not line.startswith(TIMES)]
        if cell.cell_type == "markdown":
            words += len(re.findall(r"\w[\w.,'’-]*", "\n".join(text)))
        else:
            lines += len(text)
            figures += sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    minutes = words / WORDS_PER_MINUTE + lines / LINES_PER_MINUTE + figures * SECONDS_PER_FIGURE / 60
    return max(1, round(minutes))


def with_reading_time(source: str, notebook) -> str:
    """The first cell of a notebook with the line that says how long it is read, above that of the machine's time."""
    minutes = reading_minutes(notebook)
    line = f"{READING} about {minutes} minutes; {round(FOREIGN * minutes)} for those to whom English is foreign |"
    lines = [one for one in source.splitlines() if not one.startswith(READING)]
    tables = [place for place, one in enumerate(lines) if one.startswith("|")]
    before = [place for place in tables if lines[place].startswith(TIMES)] or [tables[-1] + 1]
    return "\n".join([*lines[: before[0]], line, *lines[before[0] :]])


def _notebook(name: str):
    return nbformat.read(paths.ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def takes(notebook: str) -> str:
    """The line in a notebook's head that says how long it takes."""
    measured = read("notebooks")
    times = [
        f"{chapter.in_words(one['seconds'][notebook])} in `{name}` mode"
        for name, one in measured.items()
        if notebook in one["seconds"]
    ]
    machines = {one["machines"][notebook] for one in measured.values() if notebook in one["machines"]}
    return f"| **It takes** | {', '.join(times)} ({'; '.join(sorted(machines))}); not yet measured on a GPU |"


def with_time(source: str, notebook: str) -> str:
    """The first cell of a notebook with that line, as the last one of its table."""
    lines = [line for line in source.splitlines() if not line.startswith("| **It takes**")]
    last = max(place for place, line in enumerate(lines) if line.startswith("|"))
    return "\n".join([*lines[: last + 1], takes(notebook), *lines[last + 1 :]])


def update() -> None:
    """Write the tables of README and teaching.md, and the times in the notebooks' heads, anew."""
    for path, tables in ((README, TABLES), (TEACHING, TEACHING_TABLES)):
        text = filled(path.read_text(encoding="utf-8"), tables)
        with paths.replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for name in chapter.NOTEBOOKS:
        path = paths.ROOT / "notebooks" / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        head = with_time(notebook.cells[0].source, name)
        notebook.cells[0].source = with_reading_time(head, notebook)
        with paths.replacing(path) as temporary:
            nbformat.write(notebook, temporary)


def draw_road(path=ROAD) -> None:
    """Draw the README's picture: the five stops, with pictures drawn by our own code."""
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.patches import FancyBboxPatch, Rectangle

    from helpers.drawings import draw
    from helpers.figures import ACCENT, INK, SOFT

    rng = np.random.default_rng(7)
    with plt.rc_context({"font.size": 10}):
        figure, axis = plt.subplots(figsize=(10, 2.9))
        axis.set(xlim=(0, 10), ylim=(0, 2.9))
        axis.axis("off")
        axis.plot([0.8, 9.2], [0.62, 0.62], color=SOFT, lw=3, zorder=0)
        for place, (number, verb, what) in enumerate(STOPS):
            x = 1 + 2 * place
            axis.plot(x, 0.62, "o", ms=17, color=ACCENT if not number else INK)
            axis.text(x, 0.61, number or "▸", color="white", ha="center", va="center", weight="bold")
            axis.text(x, 0.18, f"{verb}", ha="center", va="center", color=INK, weight="bold")
            axis.text(x, 2.74, what, ha="center", va="center", color=INK)

        for label in range(10):  # the data: ten classes
            row, column = divmod(label, 4)
            left, top = 0.28 + 0.37 * column, 2.16 - 0.39 * row
            axis.imshow(draw(label, rng, 64), extent=(left, left + 0.34, top, top + 0.36), zorder=2)
        for layer, (height, width) in enumerate(
            [(1.15, 0.1), (0.85, 0.16), (0.6, 0.26), (0.6, 0.2), (0.6, 0.2)]
        ):
            axis.add_patch(
                Rectangle((2.3 + 0.3 * layer, 1.78 - height / 2), width, height, color=INK, alpha=0.85)
            )
        axis.plot([5, 5], [1.05, 2.5], color=SOFT, lw=2, zorder=0)
        for line in range(7):  # a file: a chain of operations
            axis.add_patch(FancyBboxPatch((4.86, 1.2 + 0.18 * line), 0.28, 0.09, "round,pad=0.02", color=INK))
        axis.add_patch(FancyBboxPatch((6.6, 1.3), 0.8, 0.95, "round,pad=0.06", fc="white", ec=INK, lw=2))
        axis.text(7, 1.95, "image", ha="center", color=INK, size=9)
        axis.annotate("", (7, 1.68), (7, 1.9), arrowprops={"arrowstyle": "->", "color": ACCENT, "lw": 1.6})
        axis.text(7, 1.48, "classLabel", ha="center", color=INK, size=9)
        axis.add_patch(FancyBboxPatch((8.62, 1.12), 0.76, 1.35, "round,pad=0.06", fc="white", ec=INK, lw=2.5))
        axis.imshow(draw(3, rng, 128), extent=(8.64, 9.36, 1.62, 2.38), zorder=2)
        axis.text(9, 1.32, "cat", ha="center", va="center", color=ACCENT, weight="bold", size=12)
        axis.set_aspect("auto")
        with paths.replacing(path) as temporary:
            figure.savefig(temporary, dpi=120, bbox_inches="tight", metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    update()
    draw_road()
