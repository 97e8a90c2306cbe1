"""The benchmark with a tiny network on a few drawings: whether it measures, keeps, goes on and counts right."""

import json
from dataclasses import replace

import pytest
import torch

from helpers import benchmark, checkpoints, figures, training
from helpers.batches import Batches
from helpers.data import CIFAR10
from helpers.evaluation import evaluate
from helpers.plumbing import paths
from helpers.plumbing.device import pick_device, pick_precision
from helpers.recipe import Recipe
from helpers.workshop import bench, readme
from helpers.workshop.limits import step_flops
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
    results = json.loads((scratch_artifacts / "bench.json").read_text())
    every = [job.name for job in bench.jobs(1, tiny)]
    if pick_precision(pick_device()) == torch.float32:
        every = [name for name in every if "bfloat16" not in name]
    assert measured == every
    assert {"time_to_80_s", "ratio_per_epoch", "ratio_to_80", "quick_accuracy", "full_accuracy"} <= set(
        results
    )
    a, c = (
        json.loads((bench.folder() / f"turn-{name}-0.json").read_text()) for name in ("beginner", "ours-1")
    )
    assert len(a["rows"]) == len(c["rows"]) == 1
    assert results["ratio_per_epoch"] == pytest.approx(a["rows"][0]["seconds"] / c["rows"][0]["seconds"])
    assert results["ratio_to_80"] is None  # nobody gets there in an epoch of twenty steps
    limit = results["limit"]
    rate_of_a_step = limit["step_flops"] / limit["step_seconds"]
    assert results["share_of_matmul_rate"] == pytest.approx(rate_of_a_step / limit["matmul_rate"])
    assert results["full_seconds"] > 0
    assert set(limit["loading"]) == {"DataLoader", "in memory"}
    assert all(seconds > 0 for seconds in limit["loading"].values())
    assert len(results["loops"]["a"]["rows"]) == 2
    assert results["loops"]["c"]["peak_memory"] > 1e8
    names = [row["name"] for row in results["tricks"]]
    assert names == [t.name for t in TRICKS if f"without-{t.name.replace(' ', '-')}-0" in every]
    lines = (scratch_artifacts / "bench.jsonl").read_text().splitlines()
    assert [json.loads(line)["group"] for line in lines].count("quick") == 1
    assert len(lines) == len(every)
    assert (scratch_artifacts / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert len(benchmark.tables(results)) == 3

    (bench.folder() / "quick-0.json").write_text('{"half": ')
    (bench.folder() / "full-0.json").unlink()
    measured.clear()
    capsys.readouterr()
    assert bench.main(["--seeds", "1"], small, tiny) == 0
    assert measured == ["quick-0", "full-0"]
    said = capsys.readouterr().out
    assert "quick-0.json is damaged" in said
    assert said.count("loaded, not trained") == 2  # the runs themselves were kept


def test_a_part_leaves_the_rest_unmeasured(small, measured, scratch_artifacts):
    bench.main(["--only", "quick", "--seeds", "2"], small, tiny)
    assert measured == ["quick-0", "quick-1"]
    results = json.loads((scratch_artifacts / "bench.json").read_text())
    assert results["recipes"]["quick"]["seeds"] == 2
    assert results["full_accuracy"] is None
    assert results["loops"]["a"] is None
    assert results["tricks"] == []
    assert len(benchmark.tables(results)) == 2


@pytest.mark.parametrize("arguments", [["--keep"], ["--ship"], ["--only", "nothing"]])
def test_what_cannot_be_done_is_said_before_anything_is_measured(small, measured, arguments, capsys):
    with pytest.raises(SystemExit):
        bench.main(arguments, small, tiny)
    assert measured == []
    assert "CIFAR-10" in (said := capsys.readouterr().err) or "no group starts with nothing" in said


def rows(*pairs):
    return [{"test_accuracy": accuracy, "seconds": seconds} for accuracy, seconds in pairs]


def result(group, seed, *pairs):
    return {"group": group, "seed": seed, "rows": rows(*pairs), "peak_memory": 1}


OURS = [
    result("quick", 0, (0.5, 10), (0.81, 10)),
    result("quick", 1, (0.5, 12), (0.83, 12)),
    result("quick", 2, (0.8, 10), (0.82, 10)),
]
TURNS = [  # the machine is twice as slow in round 1
    *(result("turn: beginner", number, (0, s + 1), (0, s - 1)) for number, s in enumerate((3, 6, 5))),
    *(result("turn: ours 1", number, (0, 0.5 * s), (0, 1.5 * s)) for number, s in enumerate((1, 2, 2))),
    result("turn: without batch norm", 1, (0, 7), (0, 9)),
    result(f"turn: {bench.beside('without batch norm')}", 1, (0, 4), (0, 16)),
]


def test_medians_ratios_and_times_are_counted_right(small):
    results = [
        *OURS,
        *TURNS,
        result("beginner", 0, (0.4, 30), (0.7, 30), (0.85, 30)),
        result("beginner", 1, (0.4, 50), (0.7, 50), (0.79, 50)),
        result("beginner", 2, (0.4, 30), (0.81, 30)),
        result("full", 0, (0.9, 100)),
        result("without batch norm", 1, (0.1, 8), (0.2, 8)),
        {
            "group": "limit",
            "share": 0.5,
            "matmul_rate": 1.0,
            "step_flops": 20e9,
            "step_seconds": 0.2,
            "loading": {"DataLoader": 14.2, "in memory": 0.61},
        },
    ]
    found = bench.summarise(results, small)
    assert found["time_to_80_s"] == 20  # of 20, 24 and 10
    assert found["ratio_per_epoch"] == 3  # of 3/1, 6/2 and 5/2
    assert found["loops"]["a"]["time_to_80_s"] == 90  # of 90, never and 60
    assert found["ratio_to_80"] == 3 * 3 / 2  # three epochs, each three times as long, against two
    assert not found["ratio_to_80_is_a_lower_bound"]
    assert (found["quick_accuracy"], found["quick_seconds"]) == (0.82, 20)
    assert (found["full_accuracy"], found["full_seconds"]) == (0.9, 100)
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
    assert loops[1][0][1:5] == ["30.0 s", "×3.00 (2.50 to 3.00)", "90 s", "2 of 3"]
    assert recipes[1][0] == ["`quick`", "82.00%", "81.00% to 83.00%", "20 s", "3"]
    assert tricks[1][0][:4] == ["batch norm", "83.0%", "20.0%", "×0.80 (0.80 to 0.80)"]


def test_who_gave_up_gives_a_lower_bound_and_no_time(small):
    gave_up = [result("beginner", seed, *[(0.7, seconds)] * 4) for seed, seconds in enumerate((30, 20))]
    found = bench.summarise([*OURS, *TURNS, *gave_up, result("beginner", 2, (0.7, 30), (0.8, 30))], small)
    assert found["loops"]["a"]["time_to_80_s"] is None
    assert found["ratio_to_80"] == 3 * 4 / 2
    assert found["ratio_to_80_is_a_lower_bound"]
    assert "at least 6.0 times" in benchmark.in_words(found)
    ((_, (row, _)), *_) = benchmark.tables(found)
    assert row[3:5] == ["not in 80 s, 4 epochs", "1 of 3"]


def test_ours_missing_the_target_leaves_no_time_to_it(small):
    results = [
        {"group": "quick", "seed": s, "rows": rows((a, 1)), "peak_memory": 1} for s, a in ((0, 0.9), (1, 0.7))
    ]
    found = bench.summarise([*results, *TURNS, result("beginner", 0, (0.85, 30))], small)
    assert found["time_to_80_s"] is None
    assert found["ratio_to_80"] is None


def test_every_turn_stands_beside_one_of_ours():
    turns = [job.group.removeprefix("turn: ") for job in bench.jobs(1) if job.group.startswith("turn")]
    assert set(bench.COMPARED) <= set(turns)
    for name in bench.COMPARED:
        place = turns.index(name)
        assert bench.beside(name) in turns[max(0, place - 1) : place + 2]


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
    assert {name for turn in bench.TURNS for name in turn} == set(bench.COMPARED)


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


def test_the_median_seed_is_shipped_with_its_card(small, tmp_path):
    small = CIFAR10(**vars(small) | {"source": "CIFAR-10"})
    recipes = [job for job in bench.jobs(3, tiny) if job.group == "full"]
    results = [bench.measure(job, small) for job in recipes]
    for result, accuracy in zip(results, (0.3, 0.1, 0.2), strict=True):
        result["rows"][-1]["test_accuracy"] = accuracy
    assert bench.ship(results, small, tmp_path / "net.pth") == 2
    model, card = checkpoints.load_checkpoint(tmp_path / "net.pth")
    assert (card["recipe"]["name"], card["recipe"]["seed"]) == ("full", 2)
    found = evaluate(model, small.test_images, small.test_labels).accuracy
    assert card["test_accuracy"] == pytest.approx(found, abs=1e-4)
    with pytest.raises(ValueError, match="on CIFAR-10 can be shipped"):
        bench.ship([], small)


def test_what_ships_is_the_median_seed_of_the_full_recipe():
    """Fails whenever the recipe, the benchmark or the checkpoint is renewed without the other two."""
    lines = (paths.MEASURED / "bench.jsonl").read_text(encoding="utf-8").splitlines()
    full = [job for job in map(json.loads, lines) if job["group"] == "full"]
    accuracy = {job["seed"]: job["rows"][-1]["test_accuracy"] for job in full}
    assert len(accuracy) == 5
    card = checkpoints.load_checkpoint()[1]
    assert Recipe.of(card["recipe"]) == Recipe.full()
    assert accuracy[card["recipe"]["seed"]] == sorted(accuracy.values())[2]
    # Another machine rounds differently, and a whole training makes more of that than the last digit.
    assert card["test_accuracy"] == pytest.approx(sorted(accuracy.values())[2], abs=0.005)


def test_shipped_results_are_shown_and_missing_ones_are_no_claim(
    small, measured, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(paths, "MEASURED", tmp_path)
    benchmark.show()
    assert readme.the_bench() == ""
    assert "Not measured yet" in capsys.readouterr().out
    bench.main(["--only", "quick", "--seeds", "1"], small, tiny)
    bench.keep()
    assert (tmp_path / "bench.png").exists()
    kept = json.loads((bench.folder() / "quick-0.json").read_text())
    (bench.folder() / "quick-0.json").unlink()
    measured.clear()
    bench.main(["--add", "--only", "quick", "--seeds", "2"], small, tiny)
    assert measured == ["quick-1"]
    assert json.loads((bench.folder() / "quick-0.json").read_text()) == kept
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
    row = {"seconds": 30.0, "test_accuracy": 0.79}
    loops = {
        "a": {"rows": [row, row], "time_to_80_s": None, "gave_up_s": 60.0},
        "b": {"rows": [row, row | {"test_accuracy": 0.81}], "time_to_80_s": 60.0},
        "c": None,
    }
    said = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: said.append(alt))
    figures.benchmark({"loops": loops, "tricks": []}, target=0.8)
    figures.benchmark({"loops": dict.fromkeys("abc"), "tricks": []}, target=0.8)
    assert "80% is reached: beginner's loop not within 60 s, with two workers after 60 s." in said[0]
    assert "ours" not in said[0] and "80% is reached: not measured." in said[1]
