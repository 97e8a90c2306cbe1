"""One style for every figure, and the figures that more than one cell would need to draw.

Every function saves an alternative text with its figure, for readers who hear the
notebook. Programs that know it (nbconvert's classic template, for one) pass it on;
JupyterLab does not yet. In grey print lines are told apart by dashes and marks, and every
text has the contrast that WCAG 2 asks for, 4.5. Long because each figure is drawn in one piece,
and they share the style.
"""

import itertools
import math
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from IPython.display import display

INK, SOFT, ACCENT, QUIET = "#1b3a57", "#9db4c8", "#bf4f1a", "#566878"
"""For what matters, for areas and lines in the background, for what is compared with it, and for notes."""

PAIR: tuple[dict, dict] = (
    {"color": INK, "ls": "-", "marker": "o"},
    {"color": ACCENT, "ls": "--", "marker": "s"},
)
"""How two lines in one plot are drawn."""

STYLE: dict = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "text.parse_math": False,  # a dollar in the name of a class is a dollar
}

MOST_CLASSES = 30
"""With more, a figure shows the classes that matter most in it, and says so."""

SHOWN_CLASSES = 20
"""How many it then shows."""


def show(figure: Any, alt: str) -> None:
    """Display a figure with its alternative text, and close it.

    Args:
        figure: a matplotlib figure.
        alt: what a reader should see in it, in a sentence.
    """
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def _nothing(why: str) -> None:
    """Say that there is nothing to draw."""
    print(f"Nothing to draw: {why}.")


def _whole(name: str, value, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number, at least {least}.")


def _short(name: object, width: int = 24) -> str:
    """A class name on one line, not too long for its place."""
    text = " ".join(str(name).split())
    if len(text) <= width:
        return text
    end = (width - 1) // 2  # numbered names differ at their end
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def _pictures(given: Any) -> torch.Tensor:
    """Pictures as N×H×W×3 or N×H×W (grey), as matplotlib draws them.

    Raises:
        ValueError: they have another shape or kind.
    """
    try:
        found = torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"The pictures are {type(given).__name__}. Give one tensor or array, N×3×H×W; torch.stack makes one of a list."
        ) from error
    if found.ndim != 4 or found.shape[1] not in (1, 3) or found.is_complex():
        raise ValueError(
            f"The pictures have the shape {tuple(found.shape)}, and N×3×H×W or N×1×H×W is needed. For a single one use "
            "picture[None], for channels last pictures.permute(0, 3, 1, 2)."
        )
    if found.dtype != torch.uint8:
        found = (
            found.float().clamp(0, 1) if found.is_floating_point() else found.clamp(0, 255).to(torch.uint8)
        )
    return found[:, 0] if found.shape[1] == 1 else found.permute(0, 2, 3, 1)


def _named(count: int, classes) -> None:
    """Each of ``count`` classes has a name."""
    if len(classes) != count or not count:
        raise ValueError(
            f"These are {len(classes)} class names for {count} classes. Give one name for each, in order, e.g. data.classes."
        )


def _known(labels, classes) -> None:
    """Each label is the place of a class name."""
    if labels.is_floating_point() or (len(labels) and not 0 <= labels.min() <= labels.max() < len(classes)):
        raise ValueError(
            f"The labels of {len(classes)} classes are whole numbers from 0 to {len(classes) - 1}, and here are others. "
            "Give one name for each class, in order, e.g. data.classes."
        )


def _grid(count: int, columns: int, side: float):
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * side, rows * (side + 0.22)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    return figure, list(axes.flat)


def images(pictures: torch.Tensor, titles: Sequence[str], *, columns: int = 10, alt: str) -> None:
    """A grid of pictures with a title above each.

    Args:
        pictures: N×3×H×W or N×1×H×W (grey), uint8 (0 to 255) or float (0 to 1), a tensor or an array.
        titles: N texts.
        columns: pictures per row.
        alt: what the reader should see.

    Raises:
        ValueError: ``columns`` is no whole number of 1 or more, or the pictures have another shape.
    """
    _whole("columns", columns)
    found = _pictures(pictures)
    if not len(found):
        return _nothing("there is no picture")
    if isinstance(titles, str) or len(titles) < len(found):
        raise ValueError(
            f"These are {len(found)} pictures and {titles!r:.60} as titles. Give a list with a text for each."
        )
    largest = 255 if found.dtype == torch.uint8 else 1
    with plt.rc_context(STYLE):
        figure, axes = _grid(len(found), columns, 0.88)
        for axis, picture, title in zip(axes, found, titles, strict=False):
            axis.imshow(picture.numpy(), interpolation="nearest", cmap="gray", vmin=0, vmax=largest)
            axis.set_title(title, fontsize=8, loc="center", pad=2)
        show(figure, alt)


def one_of_each(
    pictures: torch.Tensor, labels: torch.Tensor, classes: Sequence[str], *, rows: int = 4
) -> None:
    """A column of example pictures for every class, or for the first ones of many.

    Args:
        pictures: N×C×H×W, uint8 or float. labels: N, int64. classes: their names.

    Raises:
        ValueError: a label without a name, or ``rows`` is no whole number of 1 or more.
    """
    _known(labels, classes)
    _whole("rows", rows)
    names = list(classes) if len(classes) <= MOST_CLASSES else list(classes[:SHOWN_CLASSES])
    blank = torch.ones_like(pictures[:1]) * (255 if pictures.dtype == torch.uint8 else 1)
    shown = blank.repeat(rows * len(names), 1, 1, 1)
    for column in range(len(names)):
        found = pictures[labels == column][:rows]
        shown[column :: len(names)][: len(found)] = found  # a class with fewer pictures leaves white places
    of = "each class" if len(names) == len(classes) else f"the first {len(names)} of {len(classes):,} classes"
    alt = f"{rows} example images of {of}, one column per class: {', '.join(map(str, names))}."
    titles = [_short(name, 12) for name in names] + [""] * (len(shown) - len(names))
    images(shown, titles, columns=len(names), alt=alt)
    if len(names) < len(classes):
        print(f"These are {of}.")


def class_counts(splits: dict, classes: Sequence[str]) -> None:
    """Bars: how many images each class has.

    Args:
        splits: name → labels (N, int64), e.g. ``{"train": …, "test": …}``.
        classes: the names of the classes.

    Raises:
        ValueError: a label without a name.
    """
    if not splits:
        return _nothing("there are no labels")
    for labels in splits.values():
        _known(labels, classes)
    with plt.rc_context(STYLE):
        long = len(classes) * max(map(len, map(str, classes))) > 110  # their names would run into each other
        figure, axis = plt.subplots(figsize=(7.6, 3.2 if long and len(classes) <= MOST_CLASSES else 2.2))
        for place, (name, labels) in enumerate(splits.items()):
            counts = labels.bincount(minlength=len(classes))
            at = torch.arange(len(classes)) + 0.8 * ((place + 0.5) / len(splits) - 0.5)
            axis.bar(
                at.tolist(),
                counts.tolist(),
                width=0.76 / len(splits),
                color=(INK, SOFT)[place % 2],
                label=f"{name} ({len(labels):,})",
            )
        if len(classes) <= MOST_CLASSES:
            turned: dict = {"rotation": 45, "ha": "right"} if long else {}
            axis.set_xticks(range(len(classes)), [_short(name) for name in classes], fontsize=8, **turned)
        else:
            axis.set_xlabel(f"{len(classes):,} classes, by their number")
        axis.grid(axis="x", visible=False)
        axis.set_ylabel("images")
        axis.margins(y=0.25)
        axis.legend(frameon=False, ncols=2, loc="upper left")
        low = min(labels.bincount(minlength=len(classes)).min().item() for labels in splits.values())
        show(figure, f"Bar chart of the number of images per class; the smallest bar has {low:,}.")


def filters(before: torch.Tensor, after: torch.Tensor) -> None:
    """The kernels of the first convolution as small pictures, before and after training.

    Args:
        before, after: N×3×height×width or N×1×height×width (grey), float. Each kernel is stretched to the full
            range of colours on its own.

    Raises:
        ValueError: they are no such kernels.
    """
    tiles = [_tiles(kernels) for kernels in (before, after)]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7, 2.1))
        for axis, picture, title in zip(axes, tiles, ("before training", "after training"), strict=True):
            axis.imshow(picture.numpy(), interpolation="nearest")
            axis.set_title(title)
            axis.axis("off")
        show(
            figure,
            "The kernels of the first convolution: random colours before training; after it, "
            "many are grey with a dark and a light side, others are of one colour.",
        )


def _tiles(kernels: Any) -> torch.Tensor:
    """Kernels side by side as one picture, rows×columns×3, up to eight in a row (more only if eight do not divide them)."""
    if (
        not isinstance(kernels, torch.Tensor)
        or kernels.ndim != 4
        or kernels.shape[1] not in (1, 3)
        or not kernels.numel()
    ):
        found = tuple(kernels.shape) if isinstance(kernels, torch.Tensor) else type(kernels).__name__
        raise ValueError(
            f"The kernels are {found}, and N×3×height×width or N×1×height×width is needed. Give the weight of the first "
            "convolution, as model.features[0].weight."
        )
    flat = kernels.detach().float().cpu().flatten(1)
    low, high = flat.min(1).values[:, None], flat.max(1).values[:, None]
    tiles = ((flat - low) / (high - low + 1e-9)).view_as(kernels).expand(-1, 3, -1, -1)
    tiles = torch.nn.functional.pad(tiles, (0, 1, 0, 1), value=1.0)
    columns = len(tiles) if len(tiles) % 8 and len(tiles) < 16 else 8
    tiles = torch.cat([tiles, tiles.new_ones(-len(tiles) % columns, *tiles.shape[1:])])
    *_, tall, wide = tiles.shape
    rows = tiles.view(-1, columns, 3, tall, wide).permute(0, 3, 1, 4, 2)
    return rows.reshape(-1, columns * wide, 3)


def _accuracies(axis, history: Any) -> tuple[str, list[float]]:
    """The training accuracy by epoch and, where it was measured, the validation accuracy; returns the one that counts."""
    epochs, train = history.column("epoch"), history.column("train_accuracy")
    axis.plot(epochs, train, **PAIR[0], ms=3)
    validation = history.column("validation_accuracy")
    if None in validation:
        axis.annotate("train", (epochs[-1], train[-1]), (-7, 0), textcoords="offset points", ha="right")
        return "training", train
    axis.plot(epochs, validation, **PAIR[1], ms=3)
    # The names stand where the curves are furthest apart, but not at an end, where they would be cut off.
    inner = range(1, len(epochs) - 1) if len(epochs) > 2 else range(len(epochs))
    middle = max(inner, key=lambda place: abs(train[place] - validation[place]))
    for name, line, other, color in (
        ("train", train, validation, INK),
        ("validation", validation, train, ACCENT),
    ):
        away = 7 if line[middle] > other[middle] else -15
        beside = {"xytext": (0, away), "textcoords": "offset points", "ha": "center"}
        axis.annotate(name, (epochs[middle], line[middle]), color=color, **beside)
    return "validation", validation


def curves(history: Any) -> None:
    """Loss and accuracy by epoch, from a ``History``; dotted lines where the training images get larger.

    Without a validation set there is one curve of accuracy.
    """
    epochs = history.column("epoch")
    if not epochs:
        return _nothing("no epoch has ended yet")
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6))
        left.plot(epochs, history.column("train_loss"), color=INK, marker="o", ms=3)
        left.set(title="training loss", xlabel="epoch")
        judged, accuracy = _accuracies(right, history)
        right.margins(y=0.12)
        right.set(title="accuracy", xlabel="epoch")
        right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        sizes, changes = history.sizes, []
        for place, (size, larger) in enumerate(itertools.pairwise(sizes), start=1):
            at = history.recipe.epochs * place / len(sizes)
            to = "×".join(map(str, larger))
            if size != larger and at <= epochs[-1]:
                changes.append(f"{to} after {at:g} of {history.recipe.epochs} epochs")
                for axis in (left, right):
                    axis.axvline(at, color=QUIET, ls=":", zorder=0)
                note = {"xytext": (-3, 3), "textcoords": "offset points", "rotation": 90, "ha": "right"}
                across = left.get_xaxis_transform()  # below a falling curve there is room
                left.annotate(f"to {to}", (at, 0), xycoords=across, color=QUIET, fontsize=8, **note)
        for axis in (left, right):
            axis.margins(x=0.08)
            axis.xaxis.get_major_locator().set_params(integer=True)
        show(
            figure,
            f"Curves by epoch: the training loss falls from {history.column('train_loss')[0]:.2f} to "
            f"{history.column('train_loss')[-1]:.2f}; the {judged} accuracy goes from {accuracy[0]:.1%} to {accuracy[-1]:.1%}."
            + (f" The training images grow to {', to '.join(changes)}." if changes else ""),
        )


MARKS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")


def overlay(histories: dict) -> None:
    """The curves of several runs on top of each other, each with its name at its end.

    Args:
        histories: name → ``History``, as ``helpers.runs.named`` returns.
    """
    histories = {name: history for name, history in histories.items() if history.rows}
    if not histories:
        return _nothing("no run has ended an epoch yet")
    colours = plt.get_cmap("cividis")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.0), sharex=True)
        ends = []
        for place, (name, history) in enumerate(histories.items()):
            look = {
                "color": ACCENT if place == 0 else colours(0.9 * (place - 1) / max(1, len(histories) - 2)),
                "marker": MARKS[place % len(MARKS)],
                "ls": LINES[place % len(LINES)],
                "ms": 3.5,
            }
            epochs = history.column("epoch")
            axes[0].plot(epochs, history.column("train_loss"), **look)
            accuracy = history.column("validation_accuracy")
            axes[1].plot(epochs, [math.nan if one is None else one for one in accuracy], label=name, **look)
            ends += [(history.validation_accuracy, name)] if None not in accuracy else []
        axes[0].set(title="training loss", xlabel="epoch")
        axes[1].set(title="validation accuracy", xlabel="epoch")
        axes[1].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        for axis in axes:
            axis.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside right upper", frameon=False)
        text = f"Training loss and validation accuracy of {len(histories)} runs by epoch."
        if ends:
            best, worst = max(ends), min(ends)
            text += (
                f" Highest at the end: {best[1]} with {best[0]:.1%}; lowest: {worst[1]} with {worst[0]:.1%}."
            )
        show(figure, text)


LOOPS = {
    "a": ("beginner's loop", SOFT, "o"),
    "b": ("with two workers", INK, "s"),
    "c": ("ours", ACCENT, "D"),
}
"""The training loops of the benchmark: name, colour and mark of each."""


def benchmark(results: dict, *, target: float, path: str | Path | None = None) -> None:
    """What ``helpers.workshop.bench`` measured: three training loops against the clock, and what each trick is worth.

    Args:
        results: as ``helpers.workshop.bench.summarise`` returns.
        target: the accuracy to which the loops are timed, 0 to 1.
        path: save it there (PNG) and show nothing.
    """
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
        left.axhline(target, color=QUIET, ls=":")
        _by_time(left, results["loops"])
        _without_each(right, results["tricks"])
        if path:
            figure.savefig(path, dpi=120, metadata={"Software": None})
            plt.close(figure)
            return
        times = []
        for key, (name, *_) in LOOPS.items():
            loop = results["loops"][key] or {}
            if loop.get("time_to_80_s"):
                times.append(f"{name} after {loop['time_to_80_s']:.0f} s")
            elif loop.get("gave_up_s"):
                times.append(f"{name} not within {loop['gave_up_s']:.0f} s")
        show(
            figure,
            f"Left: validation accuracy by seconds of the training loops; {target:.0%} is reached: "
            f"{', '.join(times) or 'not measured'}. Right: how many points of accuracy are lost "
            f"without each of {len(results['tricks'])} tricks.",
        )


def _by_time(axis, loops: dict) -> None:
    """The validation accuracy of each loop over the seconds that passed."""
    for key, (name, colour, mark) in LOOPS.items():
        if loops[key] and (rows := loops[key]["rows"]):
            passed = torch.tensor([row["seconds"] for row in rows]).cumsum(0).tolist()
            accuracy = [row["validation_accuracy"] for row in rows]
            axis.plot(passed, accuracy, color=colour, marker=mark, ms=4, label=name)
    axis.set(title="validation accuracy by time", xlabel="seconds")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, loc="lower right")


def _without_each(axis, tricks: list) -> None:
    """A bar for each trick: the points of accuracy that are lost without it."""
    for place, trick in enumerate(reversed(tricks)):
        loss = 100 * (trick["without"]["accuracy"] - trick["with"]["accuracy"])
        points = "0.0" if abs(loss) < 0.05 else f"{loss:+.1f}".replace("-", "−")
        slower = f", time ×{trick['times_as_long']:.2f}" if trick["times_as_long"] else ""
        axis.barh(place, loss, color=INK, height=0.6)
        beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        axis.annotate(f"{points}{slower}", (max(loss, 0), place), **beside)
    axis.set_yticks(range(len(tricks)), [trick["name"] for trick in reversed(tricks)])
    # One trick may be worth more than all others; its bar is cut off so that theirs can be seen.
    axis.set(title="what is lost without it", xlabel="points of accuracy", xlim=(-6, 3))
    axis.grid(axis="y", visible=False)


def confusion(matrix: torch.Tensor, classes: Sequence[str]) -> None:
    """The confusion matrix in per cent of each row; of many classes those with the most frequent mistakes.

    Args:
        matrix: classes×classes counts; row = the right class, column = the answer.
        classes: their names.

    Raises:
        ValueError: it is no such matrix, or there are more or fewer names than classes.
    """
    matrix = _counts(matrix, classes)
    share = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    off = share.clone().fill_diagonal_(0)
    kept = _most_confused(off) if len(classes) > MOST_CLASSES else range(len(classes))
    which = f"the {len(kept)} most confused of {len(classes):,} classes" if len(kept) < len(classes) else ""
    title = f"{which}{', ' if which else ''}in per cent of each row"
    with plt.rc_context(STYLE | {"axes.grid": False}):
        side = max(1.0, len(kept) / 14)
        figure, axis = plt.subplots(figsize=(5.2 * side, 4.6 * side))
        axis.imshow(share[kept][:, kept].numpy(), cmap="Blues", vmin=0, vmax=1)
        for row, right in enumerate(kept):
            for column, answer in enumerate(kept):
                value = share[right, answer].item()
                if value >= 0.005:
                    colour = "white" if value > 0.5 else INK
                    axis.text(
                        column, row, f"{value:.0%}"[:-1], ha="center", va="center", color=colour, fontsize=8
                    )
        names = [_short(classes[place]) for place in kept]
        axis.set_xticks(range(len(kept)), names, rotation=45, ha="right")
        axis.set_yticks(range(len(kept)), names)
        axis.set(xlabel="the model's answer", ylabel="the right class", title=title)
        axis.spines[:].set_visible(False)
        row, column = divmod(int(off.argmax()), len(classes))
        worst = (
            f"The most frequent mistake: {classes[row]} taken for {classes[column]}, {off[row, column]:.0%} of all "
            f"{classes[row]} images."
        )
        show(
            figure,
            f"Confusion matrix{' of ' if which else ''}{which}, dark on the diagonal. {worst if off.any() else 'There is no mistake.'}",
        )


def _most_confused(off: torch.Tensor) -> list[int]:
    """The classes with the largest shares of mistakes: the right class and the wrong answer of each, in order."""
    kept: list[int] = []
    for place in off.flatten().argsort(descending=True, stable=True).tolist():
        kept += [one for one in divmod(place, len(off)) if one not in kept]
        if len(kept) >= SHOWN_CLASSES:
            break
    return sorted(kept[:SHOWN_CLASSES])


def _counts(matrix: Any, classes) -> torch.Tensor:
    """The confusion matrix as a tensor, once it is square and each class has a name."""
    matrix = torch.as_tensor(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"A confusion matrix is classes×classes, and this is {tuple(matrix.shape)}. Give evaluation.confusion()."
        )
    _named(len(matrix), classes)
    return matrix


def per_class(matrix: torch.Tensor, classes: Sequence[str]) -> None:
    """Bars: the accuracy of each class, lowest first; of many classes the lowest.

    Args:
        matrix: the confusion matrix, as in ``confusion``.

    Raises:
        ValueError: as ``confusion``.
    """
    matrix = _counts(matrix, classes)
    right = matrix.diag() / matrix.sum(1).clamp(min=1)
    order = right.argsort()
    some = order if len(order) <= MOST_CLASSES else order[:SHOWN_CLASSES]
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, max(2.6, 0.22 * len(some))))
        bars = axis.barh(
            range(len(some)), right[some].tolist(), color=INK
        )  # two classes may have one short name
        axis.set_yticks(range(len(some)), [_short(classes[k]) for k in some])
        axis.bar_label(bars, [f"{right[k]:.1%}" for k in some], padding=3)
        axis.grid(axis="y", visible=False)
        axis.set_xlim(0, 1.08)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        which = "each class"
        if len(some) < len(order):
            which = f"the {len(some)} lowest of {len(order):,} classes"
            axis.set_title(which)
        show(
            figure,
            f"Accuracy of {which}: lowest {classes[int(order[0])]} with {right[order[0]]:.1%}, highest "
            f"{classes[int(some[-1])]} with {right[some[-1]]:.1%}.",
        )


def mistakes(evaluation: Any, pictures: torch.Tensor, classes: Sequence[str], *, count: int = 20) -> None:
    """The wrong answers that the model was surest of.

    Args:
        evaluation: of these pictures, in this order.
        pictures: N×C×H×W, uint8 or float.

    Raises:
        ValueError: more or fewer names than classes, or pictures than answers; ``count`` is no whole number.
    """
    _named(evaluation.probs.shape[1], classes)
    _whole("count", count, least=0)
    if len(pictures) != len(evaluation.labels):
        raise ValueError(
            f"These are {len(pictures)} pictures and {len(evaluation.labels)} answers. Give the pictures that were evaluated."
        )
    sure = evaluation.probs.max(1).values.clone()
    sure[evaluation.predictions == evaluation.labels] = -1
    worst = sure.argsort(descending=True)[:count]
    worst = worst[sure[worst] > 0]
    if not len(worst):
        return _nothing("there is no wrong answer")
    answers, labels = evaluation.predictions, evaluation.labels
    titles = [f"{_short(classes[answers[i]], 14)}\n({_short(classes[labels[i]], 12)})" for i in worst]
    images(
        pictures[worst],
        titles,
        columns=10,
        alt=f"{len(worst)} test images with a wrong answer that the model was "
        "sure of; above each the answer, and in brackets the label of the data set.",
    )


def reliability(evaluation: Any, *, bins: int = 10) -> float:
    """A reliability diagram: how far the model's probabilities can be taken at their word.

    For the answers given with about 70 % probability, 70 % should be right. The
    expected calibration error is the mean distance between the two, weighted by
    the number of images in each bin (Guo et al., 2017, "On Calibration of Modern
    Neural Networks").

    Returns:
        The expected calibration error, 0 to 1.

    Raises:
        ValueError: ``bins`` is no whole number of 1 or more.
    """
    _whole("bins", bins)
    if not len(evaluation.labels):
        _nothing("there is no answer")
        return float("nan")
    if evaluation.probs.isnan().any():
        _nothing("the network answers with NaN; its weights are broken")
        return float("nan")
    sure, answer = evaluation.probs.max(1)
    right = (answer == evaluation.labels).float()
    place = (sure * bins).long().clamp(max=bins - 1)
    count = place.bincount(minlength=bins)
    said = place.bincount(sure, minlength=bins) / count.clamp(min=1)
    true = place.bincount(right, minlength=bins) / count.clamp(min=1)
    error = ((said - true).abs() * count).sum().item() / count.sum().item()
    some = count >= count.max().clamp(max=10)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(3.6, 3.4))
        axis.plot([0, 1], [0, 1], color=SOFT, ls="--")
        axis.plot(said[some], true[some], color=ACCENT, marker="o")
        axis.text(0.01, 0.09, "perfect", color=QUIET, rotation=45)  # no largest of ten is below 0.1
        axis.set(
            xlabel="probability the model gave", ylabel="share that was right", xlim=(0, 1.02), ylim=(0, 1.02)
        )
        axis.set_aspect("equal")
        above = "above" if (true - said)[some].mean() > 0 else "below"
        show(
            figure,
            f"Reliability diagram: the curve runs mostly {above} the diagonal; expected calibration error "
            f"{error:.1%}.",
        )
    return error


def waterfall(steps: Any, *, alt: str) -> None:
    """How an accuracy falls, cause by cause: each bar hangs where the one before it ended.

    Args:
        steps: pairs of a name and the accuracy after it, 0 to 1; the first is where it starts.
        alt: what the reader should see.
    """
    names, values = [name for name, _ in steps], [value for _, value in steps]
    if not names:
        return _nothing("there are no steps")
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, 0.36 * len(steps) + 0.6))
        for place, value in enumerate(values):
            before = values[place - 1] if place else 0.0
            colour = INK if place == 0 else ACCENT if value < before else SOFT
            axis.barh(place, value - before, left=before, color=colour, height=0.62)
            text = f"{value:.1%}" if place == 0 else f"{100 * (value - before):+.1f}".replace("-", "−")
            axis.text(max(value, before) + 0.01, place, text, va="center", fontsize=8)
            if place:
                axis.plot([before, before], [place - 1, place], color=INK, lw=0.7)
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set_xlim(0, 1.06)
        axis.grid(axis="y", visible=False)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        show(figure, alt)


def corruption_curves(curves: dict, *, alt: str) -> None:
    """Accuracy over the strength of a corruption, one small plot for each, with 95 % intervals.

    Args:
        curves: corruption → ``{"strengths": …, "unit": …, name of a network: [Interval, …]}``. The line of the
            second network is dashed.
        alt: what the reader should see.
    """
    if not curves:
        return _nothing("there are no curves")
    with plt.rc_context(STYLE):
        rows = -(-len(curves) // 3)
        figure, axes = plt.subplots(rows, 3, figsize=(7.6, 1.75 * rows), sharey=True, squeeze=False)
        for axis in axes.flat[len(curves) :]:
            axis.axis("off")
        for axis, (corruption, curve) in zip(axes.flat, curves.items(), strict=False):
            networks = [name for name in curve if name not in ("strengths", "unit")]
            for name, look in zip(networks, PAIR, strict=False):
                middle = [100 * measured.value for measured in curve[name]]
                low, high = ([100 * getattr(m, end) for m in curve[name]] for end in ("low", "high"))
                axis.fill_between(curve["strengths"], low, high, color=look["color"], alpha=0.18, lw=0)
                axis.plot(curve["strengths"], middle, **look, ms=3, label=name)
            first, last = curve["strengths"][0], curve["strengths"][-1]
            if first > last:  # JPEG's quality and darkness fall as they get worse
                axis.invert_xaxis()
            axis.set_title(corruption, fontsize=9)
            axis.set_xlabel(curve["unit"], fontsize=7)
            axis.tick_params(labelsize=7)
            axis.set_ylim(0, 100)
        axes[0, 0].legend(frameon=False, fontsize=7, loc="lower left")
        for row in axes:
            row[0].set_ylabel("% right", fontsize=8)
        show(figure, alt)


def coverage(curves: dict, *, alt: str) -> None:
    """How many answers are right, over the share of pictures that get one.

    Args:
        curves: name → ``helpers.calibration.Coverage``; one or two.
        alt: what the reader should see.
    """
    if not curves:
        return _nothing("there are no curves")
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(4.6, 2.6))
        for (name, curve), look in zip(curves.items(), PAIR, strict=False):
            some = curve.share >= 0.05  # of a handful of answers the share means nothing
            axis.plot(curve.share[some], curve.right[some], **look | {"marker": ""}, label=name)
        axis.set(xlabel="share of pictures that get an answer", ylabel="share of answers that are right")
        for formatted in (axis.xaxis, axis.yaxis):
            formatted.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.legend(frameon=False, fontsize=8)
        show(figure, alt)


def settling(right: Sequence[bool], handle: Any = None) -> Any:
    """How the share of right answers and its 95 % interval settle, photo by photo.

    Args:
        right: one True or False per photo, in the order in which they came.
        handle: what the call before returned: its figure is replaced.
    """
    from helpers.intervals import share

    shares = [share(torch.tensor(right[:count])) for count in range(1, len(right) + 1)]
    alt = f"A line, the share of right answers after each of {len(right)} photos, in a band that narrows."
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5.6, 2.6))
        places = range(1, len(right) + 1)
        axis.fill_between(
            places, [one.low for one in shares], [one.high for one in shares], color=SOFT, alpha=0.5
        )
        axis.plot(places, [one.value for one in shares], color=INK, marker=".")
        axis.set(xlabel="photos", ylabel="right", ylim=(0, 1), xlim=(0.5, max(10, len(right)) + 0.5))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.set_title(f"{len(right)} photos: {shares[-1]} right" if right else "no photo yet")
    if handle:
        handle.update(figure, metadata={"image/png": {"alt": alt}})
    else:
        handle = display(figure, metadata={"image/png": {"alt": alt}}, display_id=True)
    plt.close(figure)
    return handle


def threshold(curve: Any, chosen: Any) -> None:
    """What a threshold does: the share of images that get an answer, and the share of answers that are right.

    Args:
        curve: of the images that judge it (``helpers.calibration.Coverage``).
        chosen: the threshold to mark (``helpers.calibration.Threshold``).
    """
    if not len(curve.thresholds):
        return _nothing("there is no answer")
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5.6, 3.0))
        axis.plot(curve.thresholds, curve.share, color=INK, label="images with an answer")
        axis.plot(curve.thresholds, curve.right, color=ACCENT, ls="--", label="of these, right")
        axis.axvline(chosen.value, color=QUIET, ls=":", label=f"threshold {chosen.value:.2f}")
        figure.legend(
            loc="outside upper left", ncols=3, frameon=False
        )  # beside the curves there may be no room
        axis.set(xlabel="an answer needs at least this probability", xlim=(None, 1), ylim=(0, 1.03))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        answered = (curve.thresholds >= chosen.value).nonzero()
        last = answered[-1, 0] if len(answered) else 0
        show(
            figure,
            f"Two curves over the threshold: as it rises, the share of images with an answer falls from 100 % to "
            f"near 0, and the share of right answers rises from {curve.right[-1]:.1%}. At the marked threshold, "
            f"{chosen.value:.2f}, {curve.share[last]:.1%} of the images get an answer and "
            f"{curve.right[last]:.1%} of these are right.",
        )
