"""The benchmark with a tiny network on a few drawings: whether it measures, keeps, goes on and counts right."""

import json
import re
import sys
import time
from dataclasses import replace

import pytest
import torch

from helpers import benchmark, checkpoints, figures, runs, training
from helpers.batches import Batches
from helpers.data import CIFAR10, hold_out
from helpers.evaluation import evaluate
from helpers.history import History
from helpers.plumbing import paths
from helpers.plumbing.device import describe_device, pick_device, pick_precision
from helpers.recipe import Recipe
from helpers.workshop import beginner, bench, limits, measure, readme, speedrun
from helpers.workshop.jobs import TURNS as ALL_TURNS
from helpers.workshop.jobs import Job, beside, jobs, part, steps
from helpers.workshop.limits import step_flops
from helpers.workshop.summary import summarise, validation_accuracy
from helpers.workshop.tricks import TRICKS, without


def tiny(recipe):
    return replace(recipe, width=0.125, batch_size=10, epochs=1)


@pytest.fixture(scope="module")
def small(drawings):
    cut = {"train": 200, "test": 50}
    return CIFAR10(
        *(getattr(drawings, f"{s}_{w}")[: cut[s]] for s in cut for w in ("images", "labels")),
        source="drawings",
    )


@pytest.fixture
def measured(monkeypatch):
    """The names of the jobs that were really done."""
    names, measure = [], bench.measure

    def counted(job, *arguments, **options):
        names.append(job.name)
        return measure(job, *arguments, **options)

    monkeypatch.setattr(bench, "measure", counted)
    return names


def test_all_of_it_and_then_only_what_is_missing(small, measured, scratch_artifacts, capsys):
    assert bench.main(["--seeds", "1"], small, tiny) == 0
    kinds = json.loads((scratch_artifacts / "bench.json").read_text())
    assert list(kinds) == [benchmark.kind()]
    results = kinds[benchmark.kind()]
    every = [job.name for job in jobs(1, tiny)]
    assert measured == every
    assert {"time_to_80_s", "ratio_per_epoch", "ratio_to_80", "quick_accuracy", "full_accuracy"} <= set(
        results
    )
    a, c, beginner_, quick = (
        json.loads((measure.folder() / f"{name}-0.json").read_text())
        for name in ("turn-beginner", "turn-quick-1", "beginner", "quick")
    )
    assert len(a["seconds"]) == len(c["seconds"]) == 1
    assert results["ratio_per_epoch"] == pytest.approx(a["seconds"][0] / c["seconds"][0])
    assert results["ratio_to_80"] is None  # nobody gets there in an epoch of twenty steps
    for trained in (beginner_, quick):
        assert {"test_accuracy", "mirrored", "rows", "peak_memory"} <= trained.keys()
        assert "test_accuracy" not in trained["rows"][0]
    assert quick["run"].startswith("quick-0/")
    limit = results["limit"]
    rate_of_a_step = limit["step_flops"] / limit["step_seconds"]
    assert results["share_of_matmul_rate"] == pytest.approx(rate_of_a_step / limit["matmul_rate"])
    assert results["full_seconds"] > 0
    assert set(limit["loading"]) == {"DataLoader", "in memory"}
    assert all(seconds > 0 for seconds in limit["loading"].values())
    assert len(results["loops"]["a"]["rows"]) == len(results["loops"]["b"]["rows"]) == 2
    assert results["loops"]["c"]["peak_memory"] > 1e8
    names = [row["name"] for row in results["tricks"]]
    assert names == [t.name for t in TRICKS if f"without-{t.name.replace(' ', '-')}-0" in every]
    lines = (scratch_artifacts / "bench.jsonl").read_text().splitlines()
    assert [json.loads(line)["group"] for line in lines].count("quick") == 1
    assert len(lines) == len(every)
    assert (scratch_artifacts / bench.figure_name()).read_bytes().startswith(b"\x89PNG")
    assert len(benchmark.tables(results)) == 3

    (measure.folder() / "quick-0.json").write_text('{"half": ')
    (measure.folder() / "full-0.json").unlink()
    measured.clear()
    capsys.readouterr()
    assert bench.main(["--seeds", "1"], small, tiny) == 0
    assert measured == ["quick-0", "full-0"]
    said = capsys.readouterr().out
    assert "quick-0.json is damaged" in said
    assert json.loads((measure.folder() / "quick-0.json").read_text())["run"] == quick["run"]


def test_a_part_leaves_the_rest_unmeasured(small, measured, scratch_artifacts):
    bench.main(["--only", "full", "--seeds", "2"], small, tiny)
    assert measured == ["turn-full-0", "turn-full-1", "full-0", "full-1"]
    results = json.loads((scratch_artifacts / "bench.json").read_text())[benchmark.kind()]
    assert results["recipes"]["full"]["seeds"] == 2
    assert results["quick_accuracy"] is None
    assert results["loops"]["a"] is None
    assert results["tricks"] == []
    assert len(benchmark.tables(results)) == 1


@pytest.mark.parametrize("arguments", [["--keep"], ["--ship"], ["--only", "nothing"]])
def test_what_cannot_be_done_is_said_before_anything_is_measured(small, measured, arguments, capsys):
    with pytest.raises(SystemExit):
        bench.main(arguments, small, tiny)
    assert measured == []
    assert "CIFAR-10" in (said := capsys.readouterr().err) or "no group starts with nothing" in said


def test_a_training_takes_one_thread_and_a_turn_all(small, monkeypatch):
    usual, seen = torch.get_num_threads(), {}
    torch.set_num_threads(2)
    try:
        for name, job in {job.name: job for job in jobs(1, tiny)}.items():
            if name in ("full-0", "turn-full-0"):
                monkeypatch.setattr(measure, "fit", lambda *a, n=name, **o: watched(n, *a, **o))
                monkeypatch.setattr(runs, "fit", lambda *a, n=name, **o: watched(n, *a, **o))

                def watched(name, *arguments, **options):
                    seen[name] = torch.get_num_threads()
                    return training.fit(*arguments, **options)

                stamp = measure.measure(job, small)["stamp"]
                assert "2 threads" in stamp["machine"] or pick_device().type != "cpu"
                assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(usual)
    assert seen == {"full-0": 1, "turn-full-0": 2}


def test_a_turn_on_a_part_is_scaled_to_the_whole_by_its_steps(drawings, monkeypatch):
    data = replace(
        drawings, train_images=drawings.train_images[:500], train_labels=drawings.train_labels[:500]
    )
    recipe = tiny(Recipe.quick())
    rows = [{"seconds": 3.0, "validation_seconds": 1.0}]
    monkeypatch.setattr(measure, "fit", lambda *a, **o: History(recipe, rows=rows, finished=True))
    monkeypatch.setattr(measure.beginner, "learn", lambda *a, **o: [{}, *rows])
    ours = measure.turn(Job("turn: quick 1", recipe), data, torch.device("cpu"))
    cut = part(data, 10, 20)
    assert (steps(data, recipe), steps(cut, recipe)) == (45, 5)  # of the few of the part none is held out
    assert ours["seconds"] == [2.0 * 45 / 5]
    assert measure.turn(Job("turn: beginner", recipe), data, torch.device("cpu"))["seconds"] == [2.0 * 10]


def test_the_loop_learns_from_what_our_recipe_trains_on_and_is_judged_by_what_it_holds_out(small):
    recipe = tiny(Recipe.quick())
    train, validation = beginner.split(small, recipe)
    held = hold_out(small.train_labels, recipe.validation)
    assert len(train[0]) + len(validation[0]) == len(held) and held.any()
    assert torch.equal(validation[0], small.train_images[held])
    for loader, (images, labels) in zip(beginner.loaders(small, recipe, 0), (train, validation), strict=True):
        assert len(loader.dataset) == len(images)
        assert loader.dataset.labels == labels.tolist()


def test_the_mirror_image_is_asked_as_well(small):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10)).eval()
    with torch.no_grad():
        images = small.test_images.float() / 255
        plain, mirrored = (model(one).softmax(1) for one in (images, images.flip(3)))
    labels = (plain + mirrored).argmax(1)
    found = measure.asked(model, replace(small, test_labels=labels))
    assert found["mirrored"] == 1
    assert found["test_accuracy"] == (plain.argmax(1) == labels).double().mean().item() < 1


def test_rounds_go_alone_and_trainings_side_by_side():
    found = bench.shares(jobs(2), 8)
    (alone, one), (trainings, many) = found
    assert (one, many) == (1, 8)
    assert [len(group) for group in alone] == [1, len(alone[1]), len(alone[1])]
    assert {job.recipe.seed for job in alone[1]} == {0} and not any(
        job.training for group in alone for job in group
    )
    assert all(len(group) == 1 and group[0].training for group in trainings)
    assert sum(map(len, alone + trainings)) == len(jobs(2))


def test_processes_run_at_once_and_one_that_fails_ends_the_others(tmp_path, capsys):
    quick = [[job] for job in jobs(2) if job.group == "quick"]
    script = (
        "import pathlib, sys, time\n"
        "own, both = pathlib.Path(sys.argv[2]), ('quick-0', 'quick-1')\n"
        "own.touch()\n"
        "while not all(map(pathlib.Path.exists, map(pathlib.Path, both))): time.sleep(0.01)\n"
    )
    command = [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r})\n{script}"]
    assert bench.in_processes(quick, command, 2)  # each waits for the other
    assert capsys.readouterr().out.count("quick, seed") == 2
    fails = [
        sys.executable,
        "-c",
        "import sys, time\nsys.exit(1) if 'quick-0' in sys.argv else time.sleep(600)",
    ]
    began = time.perf_counter()
    assert not bench.in_processes(quick, fails, 2)
    assert time.perf_counter() - began < 60


def rows(*accuracies):
    return [
        {"validation_accuracy": accuracy, "seconds": 99, "validation_seconds": 1} for accuracy in accuracies
    ]


def trained(group, seed, *accuracies):
    result = {"group": group, "seed": seed, "rows": rows(*accuracies), "peak_memory": 1}
    return result | {"test_accuracy": accuracies[-1] - 0.01, "mirrored": accuracies[-1] + 0.01}


def turn(name, number, *seconds):
    return {"group": f"turn: {name}", "seed": number, "seconds": list(seconds), "validation_seconds": 0.5}


OURS = [
    trained("quick", 0, 0.5, 0.81),
    trained("quick", 1, 0.5, 0.83),
    trained("quick", 2, 0.8, 0.82),
]
TURNS = [  # the machine is twice as slow in round 1
    *(turn("beginner", number, s) for number, s in enumerate((3, 6, 5))),
    *(turn("quick 1", number, 0.5 * s, 1.5 * s) for number, s in enumerate((1, 2, 2))),
    turn("without batch norm", 1, 7, 9),
    turn(beside("without batch norm"), 1, 4, 16),
]


def test_medians_ratios_and_times_are_counted_right(small):
    results = [
        *OURS,
        *TURNS,
        trained("beginner", 0, 0.4, 0.7, 0.85),
        trained("beginner", 1, 0.4, 0.7, 0.79),
        trained("beginner", 2, 0.4, 0.81),
        trained("full", 0, 0.9),
        trained("without batch norm", 1, 0.1, 0.2),
        turn("full", 0, 20, 30),
        {
            "group": "limit",
            "share": 0.5,
            "matmul_rate": 1.0,
            "step_flops": 20e9,
            "step_seconds": 0.2,
            "loading": {"DataLoader": 14.2, "in memory": 0.61},
        },
    ]
    found = summarise(results, small)
    assert found["ratio_per_epoch"] == 3  # of 3/1, 6/2 and 5/2
    # Ours: medians of 0.5, 1, 1 and 4, and of 1.5, 3, 3 and 16.
    assert found["quick_seconds"] == 4
    assert found["time_to_80_s"] == 4  # of 2, 2 and 1 epochs of 2 s
    assert found["loops"]["a"]["time_to_80_s"] == 3 * 5  # of 3, never and 2 epochs of 5 s
    assert found["ratio_to_80"] == 3 * 3 / 2  # three epochs, each three times as long, against two
    assert not found["ratio_to_80_is_a_lower_bound"]
    assert found["quick_accuracy"] == pytest.approx(0.81)
    assert found["full_accuracy"] == pytest.approx(0.89) and found["full_seconds"] == 50
    quick = found["recipes"]["quick"]
    assert (quick["validation"]["median"], quick["validation"]["lowest"]) == (0.82, 0.81)
    assert quick["mirrored"]["highest"] == pytest.approx(0.84)
    assert quick["validation_share"] == 2 * 0.5 / 4
    assert found["share_of_matmul_rate"] == 0.5
    (trick,) = found["tricks"]
    assert (trick["with"]["accuracy"], trick["without"]["accuracy"]) == (0.83, 0.2)  # the same seed
    assert trick["times_as_long"] == 0.8
    said = benchmark.in_words(found)
    assert (
        "takes 3.00 times as long as the mean of ours, and the way to 80%, counted in such epochs, 4.5 times."
        in said
    )
    assert "20 GFLOP in 200 ms on average, at 50% of" in said
    assert "takes 14 s with a DataLoader and 0.6 s from memory" in said
    assert said.endswith("Not benchmarked yet: a beginner's loop, two workers.")
    loops, recipes, tricks = benchmark.tables(found)
    assert loops[1][0][1:5] == ["5.0 s", "×3.00 (2.50 to 3.00)", "15 s", "2 of 3"]
    assert recipes[1][0] == [
        "`quick`",
        "4 s",
        "81.00% (80.00% to 82.00%)",
        "83.00% (82.00% to 84.00%)",
        "82.00% (81.00% to 83.00%)",
        "+25.0%",
        "3",
    ]
    assert tricks[1][0][:4] == ["batch norm", "83.0%", "20.0%", "×0.80 (0.80 to 0.80)"]


def test_two_workers_change_the_time_of_the_loop_and_nothing_else(small):
    learnt = [trained("beginner", 0, 0.4, 0.7, 0.85)]
    loops = summarise([*OURS, *TURNS, *learnt, turn("beginner, 2 workers", 0, 2)], small)["loops"]
    assert (loops["b"]["epochs_to_80"], loops["b"]["time_to_80_s"], loops["b"]["times_as_long"]) == (3, 6, 2)
    assert loops["b"]["peak_memory"] is None
    assert [row["seconds"] for row in loops["b"]["rows"]] == [2, 2, 2]


def test_who_gave_up_gives_a_lower_bound_and_no_time(small):
    gave_up = [trained("beginner", seed, *[0.7] * epochs) for seed, epochs in enumerate((4, 5))]
    found = summarise([*OURS, *TURNS, *gave_up, trained("beginner", 2, 0.7, 0.8)], small)
    assert found["loops"]["a"]["time_to_80_s"] is None
    assert found["ratio_to_80"] == 3 * 4 / 2
    assert found["ratio_to_80_is_a_lower_bound"]
    assert "at least 6.0 times" in benchmark.in_words(found)
    ((_, (row, _)), *_) = benchmark.tables(found)
    assert row[3:5] == ["not in 20 s, 4 epochs", "1 of 3"]


def test_ours_missing_the_target_leaves_no_time_to_it(small):
    ours = [trained("quick", 0, 0.9), trained("quick", 1, 0.7)]
    found = summarise([*ours, *TURNS, trained("beginner", 0, 0.85)], small)
    assert found["time_to_80_s"] is None
    assert found["ratio_to_80"] is None


def test_the_plan_adds_up_what_each_part_takes(small, monkeypatch, capsys, tmp_path):
    every = jobs(2, tiny)
    found = limits.pace(every, small)
    assert {"quick", "full", "beginner", "spent"} <= found.keys()
    assert all(seconds > 0 for one in ("quick", "full") for seconds in found[one].values())
    one = {"step": 3.0, "answer": 0.0}
    found = {"quick": one, "full": one, "beginner": {"picture": 1.0, "answer": 0.0}, "spent": 0.0}
    monkeypatch.setattr(limits, "pace", lambda *_: found)
    script = tmp_path / "paces.py"
    script.write_text(f"print('data')\nprint({json.dumps(json.dumps(found))})")
    asked = [job for job in every if job.group in ("quick", "beginner")]
    limits.plan(asked, every, small, [sys.executable, str(script)], 2)
    said = capsys.readouterr().out
    assert "2 trainings side by side" in said
    # 180 of 200 images are learnt from: 18 steps of ten; two seeds, two at once; a process starts within seconds.
    minutes = {
        words[0].split(": ")[-1]: float(words[1])
        for words in (re.findall(r"^  (.+?)  +([\d.]+) minutes", line)[0] for line in said.splitlines()[1:])
    }
    assert minutes["quick"] == pytest.approx(18 * 3 / 60, abs=0.1)
    assert minutes["beginner"] == pytest.approx(15 * 180 / 60, abs=0.1)


def test_every_turn_stands_beside_one_of_ours():
    turns = [job.what for job in jobs(1) if job.group.startswith("turn")]
    names = {job.what for job in jobs(1) if job.training} - {"quick", "full", "gpu"} | {"beginner, 2 workers"}
    assert names <= set(turns) and {"beginner", "without shifts"} <= names
    for name in names:
        place = turns.index(name)
        assert beside(name) in turns[max(0, place - 1) : place + 2]
    assert "full" in turns
    assert ("without bfloat16" in names) == (pick_precision(pick_device()) != torch.float32)


def test_a_step_has_as_many_flops_as_its_layers():
    """Two for each weight and position, three times: forwards, and backwards for images and for weights."""
    recipe = Recipe(batch_size=4)
    forwards = 2 * (864 * 32**2 + 18_432 * 16**2 + (73_728 + 147_456 + 147_456) * 8**2 + 2048 * 256 + 2560)
    first = 2 * 864 * 32**2  # nobody needs the gradient of the pixels
    assert step_flops(recipe) == 4 * (3 * forwards - first)
    small = step_flops(replace(recipe, sizes=(16,)))
    assert 0.25 < small / step_flops(recipe) < 0.3  # a quarter, but for the linear layers
    assert step_flops(replace(recipe, sizes=(16, 16, 32))) == pytest.approx(
        (2 * small + step_flops(recipe)) / 3
    )


def test_every_trick_takes_something_away():
    recipe = Recipe.quick()
    for trick in TRICKS:
        changed, block = without(trick, recipe)
        where, name, other = trick.instead or (trick, "name", None)
        usual = getattr(where, name)
        with block:
            assert changed != recipe or getattr(where, name) is other is not usual
        assert getattr(where, name) is usual
    compared = {"beginner", "beginner, 2 workers", *(f"without {trick.name}" for trick in TRICKS)}
    assert {name for turn in ALL_TURNS for name in turn} == compared


def train_without(name, drawings):
    """Train a little without a trick, and return the history."""
    (trick,) = [one for one in TRICKS if one.name == name]
    recipe, block = without(trick, tiny(Recipe.quick()))
    with block:
        return training.fit(recipe.model(), drawings, recipe, progress=False, device="cpu")


def test_the_trainer_is_without_what_is_no_field_of_the_recipe(small):
    constant = train_without("one-cycle rate", small)
    assert constant.rows[-1]["learning_rate"] == constant.recipe.learning_rate
    plain = train_without("Nesterov", small).state["optimizer"]["param_groups"]
    assert not any(group["nesterov"] for group in plain)
    usual = train_without("shifts", small).state["optimizer"]["param_groups"]
    assert all(group["nesterov"] for group in usual)


def test_without_taking_turns_a_coin_decides_every_flip(small):
    (trick,) = [one for one in TRICKS if one.name == "taking turns"]
    batches = Batches(small.train_images, small.train_labels, tiny(Recipe.quick()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(batches.mirrored(0, generator), ~batches.mirrored(1, generator))
    with without(trick, Recipe.quick())[1]:
        same = batches.mirrored(0, generator) == batches.mirrored(1, generator)
    assert 0 < same.sum() < len(same)


def test_every_trick_says_why():
    assert all(trick.why.endswith(".") and trick.source for trick in TRICKS)


def test_the_median_seed_by_validation_is_shipped_with_its_card(small, tmp_path):
    small = CIFAR10(**vars(small) | {"source": "CIFAR-10"})
    recipes = [job for job in jobs(3, tiny) if job.group == "full"]
    results = [measure.measure(job, small) for job in recipes]
    for result, accuracy in zip(results, (0.3, 0.1, 0.2), strict=True):
        result["rows"][-1]["validation_accuracy"] = accuracy
        result["test_accuracy"] = 0.5 - accuracy if accuracy < 0.3 else 0.4
    assert bench.ship(results, small, tmp_path / "net.pth") == 2
    model, card = checkpoints.load_checkpoint(tmp_path / "net.pth")
    assert (card["recipe"]["name"], card["recipe"]["seed"]) == ("full", 2)
    found = evaluate(model, small.test_images, small.test_labels).accuracy
    assert card["test_accuracy"] == pytest.approx(found, abs=1e-4)
    with pytest.raises(ValueError, match="on CIFAR-10 can be shipped"):
        bench.ship([], small)


def test_what_ships_is_the_median_seed_of_the_full_recipe():
    """Fails whenever the recipe, the benchmark or the checkpoint is renewed without the other two."""
    full = [job for job in bench.shipped() if job["group"] == "full"]
    if not full:
        pytest.skip("nobody has measured the full recipe since it is judged by validation: make bench")
    card = checkpoints.load_checkpoint()[1]
    assert Recipe.of(card["recipe"]) == Recipe.full()
    of_kind = {}
    for job in full:
        of_kind.setdefault(job["stamp"]["kind"], {})[job["seed"]] = job
    medians = []
    for found in of_kind.values():
        assert len(found) == 5
        order = sorted(found, key=lambda seed: validation_accuracy(found[seed]))
        medians.append(found[order[2]])
    shipped = [one for one in medians if one["seed"] == card["recipe"]["seed"]]
    assert shipped  # the checkpoint was made on one of these machines
    # Another machine rounds differently, and a whole training makes more of that than the last digit.
    assert card["test_accuracy"] == pytest.approx(shipped[0]["test_accuracy"], abs=0.005)


def test_shipped_results_are_shown_and_missing_ones_are_no_claim(
    small, measured, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(paths, "MEASURED", tmp_path)
    benchmark.show()
    assert "Not measured yet" in readme.the_bench()
    assert "Not measured yet" in capsys.readouterr().out
    only = ["--only", "quick", "--seeds", "1"]
    bench.main(only, small, tiny)
    bench.keep()
    assert (tmp_path / bench.figure_name()).exists()
    kept = json.loads((measure.folder() / "quick-0.json").read_text())
    (measure.folder() / "quick-0.json").unlink()
    measured.clear()
    bench.main(["--add", *only[:-1], "2"], small, tiny)
    assert "quick-1" in measured and "quick-0" not in measured
    assert json.loads((measure.folder() / "quick-0.json").read_text()) == kept
    capsys.readouterr()
    shown = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: shown.append(alt))
    benchmark.show()
    said = capsys.readouterr().out
    assert "\nquick " in said and "`" not in said
    assert max(map(len, said.splitlines())) <= benchmark.WIDTH
    assert "seeds that got there" in said and "memory at most" not in said
    assert "| `quick` |" in readme.the_bench()
    assert paths.shorten(tmp_path) not in said
    assert len(shown) == 1


def test_the_results_of_each_kind_are_kept_and_ones_own_is_shown_first(
    small, monkeypatch, tmp_path, scratch_artifacts, capsys
):
    monkeypatch.setattr(paths, "MEASURED", tmp_path)
    monkeypatch.setattr(figures, "show", lambda figure, alt: None)
    for kind in ("float32", "bfloat16", "float32"):
        monkeypatch.setattr(benchmark, "kind", lambda kind=kind: kind)
        results = [one | {"stamp": {"kind": kind}} for one in (*OURS, *TURNS)]
        bench.write(summarise(results, small) | {"machine": f"a machine of {kind}"}, results)
        bench.keep()
    assert set(json.loads((tmp_path / "bench.json").read_text())) == {"float32", "bfloat16"}
    assert len(bench.shipped()) == 2 * len(OURS + TURNS)
    assert {path.name for path in tmp_path.glob("*.png")} == {"bench-float32.png", "bench-bfloat16.png"}
    for own, other in (("float32", "bfloat16"), ("bfloat16", "float32")):
        monkeypatch.setattr(benchmark, "kind", lambda own=own: own)
        benchmark.show()
        said = capsys.readouterr().out
        assert said.index(f"a machine of {own}") < said.index(f"a machine of {other}")
    text = readme.the_bench()
    assert text.count("| `quick` |") == 2
    assert "bench-float32.png" in text and "bench-bfloat16.png" in text and "gpu" not in text


def test_a_speedrun_gives_a_row_and_keeps_one_for_each_processor(small, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "MEASURED", tmp_path)
    assert readme.the_speedrun().startswith("Nobody")
    monkeypatch.setattr(speedrun, "ROUNDS", 1)
    never = {0.0: lambda: tiny(Recipe.quick()), 2.0: lambda: tiny(Recipe.full())}
    row = speedrun.speedrun(small, keep=True, races=never)
    first, second = row["races"].values()
    assert first["seconds"] > 0 and second["seconds"] is None
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"| {describe_device()} |") and "| not reached |" in line
    assert line in readme.the_speedrun() and line.count("|") == len(speedrun.HEAD) + 1
    (tmp_path / "speedrun.json").write_text(json.dumps({"another": row | {"machine": "another"}}))
    speedrun.speedrun(small, keep=True, races=never)
    assert set(json.loads((tmp_path / "speedrun.json").read_text())) == {"another", describe_device()}


def test_the_figure_writes_points_with_a_true_minus_and_no_signed_zero(monkeypatch):
    def trick(name, accuracy, times=None):
        ablation = {"with": {"accuracy": 0.81}, "without": {"accuracy": accuracy}}
        return {"name": name, "times_as_long": times} | ablation

    tricks = [trick("batch norm", 0.8), trick("shifts", 0.8098), trick("small pictures", 0.82, 1.4)]
    results = {"loops": dict.fromkeys("abc"), "tricks": tricks}
    shown = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: shown.append(figure))
    figures.benchmark(results, target=0.8)
    right = shown[0].axes[1]
    assert [text.get_text() for text in right.texts] == ["+1.0, time ×1.40", "0.0", "−1.0"]
    assert [label.get_text() for label in right.get_yticklabels()] == [
        "small pictures",
        "shifts",
        "batch norm",
    ]


def test_the_figure_says_in_words_which_loop_reaches_the_target_and_when(monkeypatch):
    row = {"seconds": 30.0, "validation_accuracy": 0.79}
    loops = {
        "a": {"rows": [row, row], "time_to_80_s": None, "gave_up_s": 60.0},
        "b": {"rows": [row, row | {"validation_accuracy": 0.81}], "time_to_80_s": 60.0},
        "c": None,
    }
    said = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: said.append(alt))
    figures.benchmark({"loops": loops, "tricks": []}, target=0.8)
    figures.benchmark({"loops": dict.fromkeys("abc"), "tricks": []}, target=0.8)
    assert "80% is reached: beginner's loop not within 60 s, with two workers after 60 s." in said[0]
    assert "ours" not in said[0] and "80% is reached: not measured." in said[1]
