"""Make the second checkpoint: ``python -m helpers.workshop.camera_network`` (minutes).

It starts from the checkpoint that ships and goes on training it with
``Recipe.camera()``; what ships is a mean of the two. Run it again whenever the shipped one has changed, and then
``python -m tests.proof.photos``, which measures both. Notebook 06 says what it is for.
"""

import copy
from dataclasses import replace

from helpers import checkpoints
from helpers.data import hold_out, load_cifar10
from helpers.evaluation import evaluate
from helpers.recipe import Recipe
from helpers.training import fit

SHARE = 0.8
"""How much of the mean is the network that was trained further. From 0.7 to 0.9 little depends on it."""


def mean(before: dict, after: dict, share: float) -> dict:
    """The mean of two networks, weight by weight.

    Training further on other pictures makes a network forget some of the old ones. The mean with the
    network it started from keeps most of what is new and forgets less (Wortsman et al., 2022,
    "Robust Fine-Tuning of Zero-Shot Models").

    Args:
        before, after: state_dicts with the same names and shapes; float tensors, and counters.
        share: of ``after``, 0 to 1.

    Returns:
        A state_dict; its counters are those of ``after``.
    """
    return {
        name: before[name] + share * (new - before[name]) if new.is_floating_point() else new
        for name, new in after.items()
    }


def fine_tune(data, path=checkpoints.CAMERA, recipe: Recipe | None = None) -> dict:
    """Fine-tune the shipped network (train it further on other pictures), and write its mean with the shipped one, and a card, each whole or not at all.

    Args:
        data: as ``load_cifar10()`` returns.
        path: of the checkpoint.
        recipe: default: ``Recipe.camera()``. Its network is always that of the shipped one's card.

    Returns:
        The card.

    Raises:
        ValueError: the data is not what the shipped network was trained on, or the training was interrupted.
    """
    network, card = checkpoints.load_checkpoint()
    if card["data"] != data.source:
        raise ValueError(
            f"The shipped network was trained on {card['data']}, and this is {data.source}. "
            "Put CIFAR-10 into data/, or set CHAPTER_CIFAR10."
        )
    before = copy.deepcopy(network.state_dict())
    shipped = Recipe.of(card["recipe"])
    shape = {name: getattr(shipped, name) for name in ("width", "batch_norm", "pool_first")}
    recipe = replace(recipe or Recipe.camera(), **shape)
    history = fit(network, data, recipe)
    if not history.finished:
        raise ValueError("The training was interrupted: nothing is written. Start it again.")
    network.cpu().load_state_dict(mean(before, network.state_dict(), SHARE))
    held = hold_out(data.train_labels, recipe.validation)
    if held.any():  # what is written is the mean, and its card speaks of that
        judged = evaluate(network, data.train_images[held], data.train_labels[held])
        history.rows[-1]["validation_accuracy"] = judged.accuracy
    result = evaluate(network, data.test_images, data.test_labels)
    checkpoints.save_weights(network, path)
    return checkpoints.save_card(path, history=history, evaluation=result, data=data, share=SHARE)


if __name__ == "__main__":
    card = fine_tune(load_cifar10(drawings=False))
    print(f"{card['test_accuracy']:.2%} on the test images of {card['data']}")
