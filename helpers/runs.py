"""Experiments: every run is kept, loaded when it is asked for again, and compared with the others.

A run lies in ``artifacts/runs/NAME/``. ``run.pth`` holds all of it: recipe,
history, weights, and while it is unfinished what it needs to go on. ``run.json``
is its history once more, for reading. ``again.pth`` is a run that will take the
place of ``run.pth`` when it is finished. NAME is made from everything that decides
how a run ends: the recipe, the data, and the code that trains.
"""

import ast
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from helpers.checkpoints import read_state
from helpers.data import Images
from helpers.history import LARGEST_HISTORY, NOT_A_HISTORY, History
from helpers.plumbing import paths
from helpers.plumbing.device import pick_device
from helpers.plumbing.files import check_file
from helpers.plumbing.interrupts import torch_modes
from helpers.plumbing.language import columns, padded
from helpers.recipe import Recipe
from helpers.training import fit

CODE = [
    paths.ROOT / f"helpers/{name}.py"
    for name in ("batches", "camera", "evaluation", "model", "muon", "recipe", "training")
]
"""The files that decide how a run ends. A run made by other code is another run."""


@dataclass
class Run:
    """One training run.

    Attributes:
        history: see ``helpers.history.History``.
        model: the network in evaluation mode, on the CPU.
        folder: where it lies.
    """

    history: History
    model: torch.nn.Module = field(repr=False)
    folder: Path = field(repr=False)


def code_checksum(files: Iterable[str | Path] | None = None) -> str:
    """A text that changes with the code of these files, but not with their comments, docstrings and layout."""
    digest = hashlib.blake2b(digest_size=8)
    for file in files or CODE:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                vars(node)["body"] = [line for line in body if not _is_text(line)]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def _is_text(line) -> bool:
    return isinstance(line, ast.Expr) and isinstance(getattr(line.value, "value", None), str)


def _name(recipe: Recipe, data) -> str:
    # What a recipe is called does not change what it does.
    what = {"recipe": asdict(replace(recipe, name="")), "data": data.checksum(), "code": code_checksum()}
    return hashlib.blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=4).hexdigest()


def default_folder() -> Path:
    """``artifacts/runs``."""
    return paths.artifacts_dir() / "runs"


def train(
    recipe: Recipe,
    data: Images,
    *,
    again: bool = False,
    folder: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Run:
    """Train this recipe on this data, unless that has been done: then load it.

    The run is kept after every epoch, and when it is interrupted; the same call
    then goes on. A damaged run is said to be damaged, and trained again.

    Args:
        recipe: how to train.
        data: as ``load_cifar10()`` returns, or a part of it.
        again: train even if the finished run is there; it is replaced when the new one is finished.
        folder: where runs are kept; default ``artifacts/runs``.
        device: default: the fastest there is.
        progress: print what is trained or loaded, and a line per epoch.

    Raises:
        KeyboardInterrupt: the run was interrupted; what it has is kept.
        ValueError, FloatingPointError, MemoryError: see ``helpers.training.fit``.
    """
    own = Path(folder or default_folder()) / _name(recipe, data)
    put_back = torch_modes(pick_device(device))
    try:
        return _train(own, recipe, data, again, device, progress)
    except KeyboardInterrupt:
        put_back()
        raise


def _train(own: Path, recipe: Recipe, data, again: bool, device, progress: bool) -> Run:
    path, network = own / "run.pth", recipe.model(len(data.classes))
    history = _load(path, recipe, network)
    if history and history.finished:
        if not again:
            if progress:
                print(
                    f"{paths.shorten(own)} is there already: loaded, not trained. train(…, again=True) repeats it."
                )
            return Run(history, network.eval(), own)
        path, network = own / "again.pth", recipe.model(len(data.classes))
        history = _load(path, recipe, network)
    own.mkdir(parents=True, exist_ok=True)
    history, kept = history or History(recipe), []

    def keep(now: History) -> None:
        _save(path, network, now, data)
        kept.append(now.finished)

    if progress and history.steps:
        print(f"{paths.shorten(own)} was interrupted after {len(history.rows)} epochs and goes on.")
    fit(network, data, recipe, device=device, resume=history, progress=progress, after_epoch=keep)
    if not any(kept):
        keep(history)
        raise KeyboardInterrupt(f"{paths.shorten(own)} is kept; the same call goes on.")
    return Run(history, network.cpu().eval(), own)


def _save(path: Path, network, history: History, data) -> None:
    readable = {
        "recipe": asdict(history.recipe),
        "data": data.source,
        "images": len(data.train_images),
        "device": history.device,
        "steps": history.steps,
        "finished": history.finished,
        "rows": history.rows,
        "sizes": history.sizes,
        "saved": datetime.now(UTC).isoformat(timespec="microseconds"),  # two short runs may end in one second
    }
    state = history.state or {"model": network.state_dict()}
    content = {"run": readable, "weights": state["model"]}
    content["state"] = state | {"model": None} if history.state and not history.finished else None
    final = path.with_name("run.pth") if history.finished else path
    if final.name == "run.pth":
        # First: if the second file is not written, the run goes on from the one before and writes both.
        with paths.replacing(path.with_name("run.json")) as temporary:
            temporary.write_text(json.dumps(readable, indent=1), encoding="utf-8")
    with paths.replacing(final) as temporary:
        torch.save(content, temporary)
    if final != path:
        path.unlink(missing_ok=True)


def _load(path: Path, recipe: Recipe, network) -> History | None:
    """The run in this file, its weights put into ``network``; None when there is none that can be used."""
    if not path.exists():
        return None
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    try:
        content = read_state(path)
        network.load_state_dict(content["weights"])
        state = content["state"] and content["state"] | {"model": content["weights"]}
        return History.of(content["run"], recipe, state)
    except Exception as error:  # what is in it may be anything
        network.load_state_dict(fresh)
        print(f"{paths.shorten(path)} is damaged ({type(error).__name__}): the run is trained again.")
        return None


def read(folder: str | Path) -> Run:
    """The finished run in this folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged or unfinished.
    """
    path = Path(folder) / "run.pth"
    try:
        content = read_state(path)
        history = History.of(content["run"])
        network = history.recipe.model(classes=len(content["weights"]["classifier.3.bias"]))
        network.load_state_dict(content["weights"])
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no run in {paths.shorten(folder)}. Train it again.") from error
    except Exception as error:
        raise ValueError(
            f"{paths.shorten(path)} is damaged ({type(error).__name__}). Train it again."
        ) from error
    if not history.finished:
        raise ValueError(f"{paths.shorten(folder)} holds an interrupted run. Train it to its end.")
    return Run(history, network.eval(), Path(folder))


def histories(folder: str | Path | None = None) -> dict[str, History]:
    """The kept runs, oldest first: what is special about each → its history.

    "Special" is what differs from the oldest run; that one goes by its recipe's name.
    Runs whose ``run.json`` is damaged are named and left out.
    """
    found = []
    for path in Path(folder or default_folder()).glob("*/run.json"):
        try:
            check_file(path, "", LARGEST_HISTORY)
            kept = json.loads(path.read_text(encoding="utf-8"))
            found.append((str(kept["saved"]), path.parent.name, History.of(kept)))
        except (OSError, *NOT_A_HISTORY) as error:
            print(
                f"{paths.shorten(path)} is damaged ({type(error).__name__}: {error}) and left out. Delete its folder, "
                "or train the run again."
            )
    return named([history for _, _, history in sorted(found, key=lambda one: one[:2])])


def named(found: list[History]) -> dict[str, History]:
    """These histories by what differs from the first of them, e.g. ``"width=2.0"``."""
    result: dict[str, History] = {}
    for history in found:
        first, own = asdict(found[0].recipe), asdict(history.recipe)
        changes = [f"{name}={own[name]!r}" for name in own if name != "name" and own[name] != first[name]]
        name = ", ".join(changes) or history.recipe.name
        while name in result:  # the same recipe on other data, or made by other code
            name += " *"
        result[name] = history
    return result


def table(found: dict[str, History] | None = None) -> None:
    """Print one row per run: what is special about its recipe, accuracy, seconds, seed.

    Args:
        found: as ``histories()`` returns, which is the default.
    """
    found = histories() if found is None else found
    if not found:
        print(f"No run is kept in {paths.shorten(default_folder())} yet: runs.train(recipe, data) makes one.")
        return
    width = max(len("recipe"), *map(columns, found))
    print(f"{'recipe':<{width}} {'epochs':>7} {'validation accuracy':>20} {'seconds':>8} {'seed':>5}")
    for name, history in found.items():
        print(
            f"{padded(name, width)} {len(history.rows):>7} {_share(history.validation_accuracy):>20} {history.seconds:>8.1f} "
            f"{history.recipe.seed:>5}" + ("" if history.finished else "   interrupted")
        )


def _share(accuracy: float) -> str:
    return "–" if math.isnan(accuracy) else f"{accuracy:.1%}"
