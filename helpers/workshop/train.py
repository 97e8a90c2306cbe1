"""Train one recipe without a notebook: ``python -m helpers.workshop.train``, or in N processes with torchrun."""

import argparse
import ast
import sys
from dataclasses import fields, replace

from helpers import checkpoints
from helpers.data import load_cifar10
from helpers.evaluation import evaluate
from helpers.plumbing import paths, processes
from helpers.recipe import RECIPES, Recipe
from helpers.training import fit


def main(arguments=None) -> None:
    """``python -m helpers.workshop.train``: train one recipe, save the weights and their card."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workshop.train",
        description="Train AlexNet on CIFAR-10, in one or several processes.",
    )
    parser.add_argument("--recipe", choices=RECIPES, default="quick")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="change fields of it, e.g. width=0.5 seed=1",
    )
    parser.add_argument("--device", help="cpu, cuda or mps; default: the fastest there is")
    parser.add_argument(
        "--save",
        default=checkpoints.TRAINED,
        metavar="NAME",
        help="in the artifacts folder; default %(default)s",
    )
    chosen = parser.parse_args(arguments)
    try:
        recipe = changed(RECIPES[chosen.recipe](), chosen.set)
    except ValueError as error:
        parser.error(str(error))
    try:
        with processes.joined(chosen.device) as device:
            data = processes.one_after_the_other(
                lambda: load_cifar10(drawings=True if chosen.recipe == "smoke" else None)
            )
            train_and_save(recipe, data, chosen.save, device)
    except KeyboardInterrupt as error:
        sys.exit(f"\n{error or 'Interrupted.'}")


def train_and_save(recipe: Recipe, data, name: str, device=None) -> None:
    """Train ``recipe``; the first process writes the weights and their card to the artifacts folder."""
    print(recipe, flush=True)
    model = recipe.model()
    history = fit(model, data, recipe, device=device)
    if not history.finished:
        raise KeyboardInterrupt(f"The training was interrupted, and {name} is as it was.")
    if processes.rank() > 0:
        return
    result = evaluate(model, data.test_images, data.test_labels)
    path = paths.artifact(name)
    checkpoints.save_weights(model, path)
    checkpoints.save_card(path, history=history, evaluation=result, data=data)
    print(f"{history!r}\n{paths.shorten(path)}: {result.accuracy:.2%} on the test images, in float32")


def changed(recipe: Recipe, changes: list[str]) -> Recipe:
    """``recipe`` with fields set from texts such as ``"width=0.5"``.

    Raises:
        ValueError: a text is not ``FIELD=VALUE``, or the recipe has no such field, or not with this value.
    """
    values, kinds = {}, {f.name: f.type for f in fields(Recipe)}
    for text in changes:
        name, _, value = text.partition("=")
        if name not in kinds:
            raise ValueError(f"{text!r}: a recipe has no field {name!r}. It has {', '.join(kinds)}.")
        try:
            values[name] = value.strip("\"'") if kinds[name] is str else ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise ValueError(f"{text!r}: {value!r} is no number, True or False.") from error
    return replace(recipe, **values)


if __name__ == "__main__":
    main()
