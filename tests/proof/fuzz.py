"""Damaged and forged Core ML files, ten thousand of them: ``python -m tests.proof.fuzz``.

``helpers.coreml_runtime`` opens files from strangers. Whatever they hold, it answers with a model or with
one of the errors that its docstring names: it does not crash, hang, leave the package, or take memory
without bound. hypothesis chooses the damage, and would reduce a failure to its smallest form.
"""

import collections
import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers import coreml, coreml_runtime, paths
from helpers.quiet import coremltools, quiet

TABLE = paths.MEASURED / "fuzz.json"
INPUTS = 10_000
SECONDS = 120
"""An input that takes longer counts as a hang, on however busy a machine."""

MEMORY = 2**30
"""What the reader may take beyond what the imported packages have; every file here is under 10 kB."""

NUMBERS = (0, 1, 2, 3, 5, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
FLOATS = (0.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "x", "image", "../../outside", "@model_path/../../../outside", "/etc/passwd", "\0", "a" * 5000)


# The files that are damaged


MODELS = ("network.mlmodel", "quantised.mlmodel", "plain.mlpackage", "palette.mlpackage", "sparse.mlpackage")


def make_models(folder: Path, names=MODELS) -> list[Path]:
    """Small models of every kind that the reader knows: both formats, whole and compressed weights."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval()
    with quiet():
        return [coreml.save(_make_model(network, Path(name).stem), folder / name) for name in names]


def _make_model(network, kind):
    ct = coremltools()
    optimize = ct.optimize.coreml
    quantize = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    palette = optimize.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)
    prune = optimize.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0)
    ios = {"network": "13", "quantised": "13", "plain": "15", "palette": "16", "sparse": "18"}[kind]
    model = coreml.from_torch(
        network,
        shape=(1, 3, 8, 8),
        class_labels=["a", "b", "c"],
        exporter="trace",
        minimum_ios_deployment_target=ios,
        verify=False,
    )
    if kind == "quantised":
        small = ct.models.neural_network.quantization_utils.quantize_weights(model, 8)
        # On a Mac it is a model, elsewhere its specification.
        return small if hasattr(small, "get_spec") else ct.models.MLModel(small, skip_model_load=True)
    if kind == "palette":
        config = optimize.OptimizationConfig(global_config=palette)
        return optimize.palettize_weights(model, config)
    if kind == "sparse":
        model = optimize.prune_weights(model, optimize.OptimizationConfig(global_config=prune))
        config = optimize.OptimizationConfig(global_config=quantize)
        return optimize.linear_quantize_weights(model, config, joint_compression=True)
    return model


# The damage. Each kind takes a random generator and the path of a copy, and changes the copy.


def specification_of(path):
    return path / "Data/com.apple.CoreML/model.mlmodel" if path.is_dir() else path


def files_of(path):
    return [f for f in sorted([path, *path.rglob("*")]) if f.is_file()]


def truncate(dice, path):
    file = dice.choice(files_of(path))
    file.write_bytes(file.read_bytes()[: dice.randrange(file.stat().st_size)])


def flip(dice, path):
    file = dice.choice(files_of(path))
    content = bytearray(file.read_bytes())
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        content[dice.randrange(len(content))] ^= dice.randrange(1, 256)
    file.write_bytes(content)


def splice(dice, path):
    """A piece of the file removed, doubled, or put somewhere else."""
    file = dice.choice(files_of(path))
    content = file.read_bytes()
    a, b = sorted(dice.randrange(len(content) + 1) for _ in range(2))
    piece = dice.choice((b"", content[a:b] * 2, dice.randbytes(min(64, b - a)), b"\xff" * 9))
    file.write_bytes(content[:a] + piece + content[b:])


def forge(dice, path):
    """Fields of the specification set to numbers, names and lists that no converter writes."""
    specification = coremltools().proto.Model_pb2.Model()
    specification.ParseFromString(specification_of(path).read_bytes())
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        _forge_one(dice, specification)
    specification_of(path).write_bytes(specification.SerializePartialToString())


def _forge_one(dice, message):
    """Walk down to some field that is set, and change it."""
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = dice.choice(fields)
        if field.message_type and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is None:
                return
            message = value[dice.choice(list(value))]
            continue
        repeated = hasattr(value, "extend")
        if repeated and dice.random() < 0.15:
            if dice.random() < 0.5:
                del value[dice.randrange(len(value))]
            else:
                value.extend([value[dice.randrange(len(value))]] * dice.choice((1, 2, 50)))
            return
        if dice.random() < 0.02:
            message.ClearField(field.name)
            return
        if field.message_type:
            message = dice.choice(value) if repeated else value
            continue
        new = _strange(dice, field, value)
        try:
            if repeated:
                value[dice.randrange(len(value))] = new
            else:
                setattr(message, field.name, new)
        except (ValueError, TypeError, OverflowError):
            pass  # the field has no room for this value
        return


def _strange(dice, field, value):
    if field.type == field.TYPE_STRING:
        return dice.choice(TEXTS)
    if field.type == field.TYPE_BYTES:
        return value[: dice.randrange(len(value) + 1)]
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return dice.choice(FLOATS)
    if field.type == field.TYPE_BOOL:
        return dice.random() < 0.5
    if field.type == field.TYPE_ENUM:
        return dice.choice([*(v.number for v in field.enum_type.values), 99, -1])
    return dice.choice(NUMBERS) * dice.choice((1, 1, -1))


def manifest(dice, path):
    """A package's table of contents that says something else, or is something else."""
    if not path.is_dir():
        return forge(dice, path)
    file = path / "Manifest.json"
    content = json.loads(file.read_text())
    entry = content["itemInfoEntries"][content["rootModelIdentifier"]]
    entry["path"] = dice.choice((*TEXTS, "..", ".", "com.apple.CoreML", 7, None, [], {}, "a/" * 3000))
    texts = (
        json.dumps(content),
        "[" * dice.choice((10, 100_000)),
        "null",
        "{}",
        '{"itemInfoEntries": {"a": {}}, "rootModelIdentifier": []}',
        '{"itemInfoEntries": [], "rootModelIdentifier": 0}',
        "1" * 5000,
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        " " * 2**21,
    )
    file.write_text(dice.choice((texts[0], texts[0], *texts)), encoding="latin-1", errors="replace")


def replace(dice, path):
    """A file that is a link, a folder, a pipe, or missing."""
    file = dice.choice(files_of(path))
    outside = path.parent / "outside"
    outside.write_bytes(file.read_bytes())
    file.unlink()
    kind = dice.choice(("link", "folder", "pipe", "device", "loop", "missing", "link to a folder"))
    if kind == "link":
        file.symlink_to(outside)
    elif kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "link to a folder":
        file.symlink_to("/")


DAMAGE = {f.__name__: f for f in (truncate, flip, splice, forge, manifest, replace)}


# The run


class Hang(BaseException):
    """Raised by the alarm; no reader's ``except Exception`` catches it."""


def _ring(*_):
    raise Hang(f"an input took longer than {SECONDS} s")


def answer_to(path) -> str:
    """Open a file and, if that works, ask for one prediction.

    Returns:
        "opened", or the name of a documented error.

    Raises:
        Exception: any error that is not documented.
    """
    signal.alarm(SECONDS)
    try:
        model = coreml_runtime.load(path)
        inputs = {}
        for name, feature in model.inputs.items():
            if isinstance(feature, coreml_runtime.ImageInput):
                channels = () if feature.colour == "greyscale" else (3,)
                inputs[name] = np.zeros((feature.height, feature.width, *channels), np.uint8)
            else:
                inputs[name] = np.zeros(feature.shape, np.float32)
        if sum(value.size for value in inputs.values()) < 2**20:
            model.predict(inputs)
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        assert type(error) in (ValueError, FileNotFoundError), f"{type(error).__name__}: {text}"
        assert path.name in text, f"the error does not name the file: {text}"
        return type(error).__name__
    finally:
        signal.alarm(0)
    return "opened"


def attack(models, count, seed=0) -> dict:
    """Damage ``count`` copies of the models and open each.

    Args:
        models: paths of whole models.
        seed: other seeds give other damage.

    Returns:
        For each kind of damage how often each answer came.

    Raises:
        AssertionError, Hang, MemoryError or whatever the reader raised: the first input that broke it.
    """
    answers = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)

        @settings(
            max_examples=count,
            derandomize=seed == 0,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            st.sampled_from(models),
            st.lists(st.sampled_from(sorted(DAMAGE)), min_size=1, max_size=2),
            st.integers(0, 2**64 - 1),
        )
        def one(model, kinds, number):
            copy = target / f"damaged{model.suffix}"
            for leftover in target.iterdir():
                folder = leftover.is_dir() and not leftover.is_symlink()
                shutil.rmtree(leftover) if folder else leftover.unlink()
            shutil.copytree(model, copy) if model.is_dir() else shutil.copy(model, copy)
            dice = random.Random(number + seed)
            # A pipe in the place of a file would stop the other kinds of damage: it comes last.
            for kind in sorted(kinds, key=lambda kind: kind == "replace"):
                try:
                    DAMAGE[kind](dice, copy)
                except Exception:
                    break  # the first damage left nothing for the second
            answers[" + ".join(kinds)][answer_to(copy)] += 1

        before = signal.signal(signal.SIGALRM, _ring)
        try:
            one()
        finally:
            signal.signal(signal.SIGALRM, before)
    return {kind: dict(counts) for kind, counts in sorted(answers.items())}


def used() -> int:
    """Bytes of address space that this process has taken."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> int:
    faulthandler.enable()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = make_models(Path(folder))
        attack(models, 50, seed=1)  # whatever is imported late is imported now
        resource.setrlimit(resource.RLIMIT_AS, (used() + MEMORY,) * 2)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.monotonic()
        answers = attack(models, INPUTS)
        seconds = time.monotonic() - start
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    total = collections.Counter()
    for counts in answers.values():
        total.update(counts)
    table = {
        "inputs": sum(total.values()),
        "answers": dict(total),
        "damage": answers,
        "memory_limit_mib": MEMORY // 2**20,
        "largest_memory_mib": round(largest / 1024, 1),
    }
    with paths.replacing(TABLE) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(
        f"{table['inputs']:,} inputs in {seconds:.0f} s: {table['answers']}, {table['largest_memory_mib']} MiB more"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
