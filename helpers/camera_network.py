"""Make the second checkpoint: ``python -m helpers.camera_network`` (minutes).

It starts from the checkpoint that ships and goes on training it with
``Recipe.camera()``. Run it again whenever the shipped one has changed, and then
``python -m tests.proof.photos``, which measures both. Notebook 06 says what it is for.
"""

from helpers import checkpoints
from helpers.data import load_cifar10
from helpers.training import Recipe, evaluate, fit


def train(data, path=checkpoints.CAMERA, recipe: Recipe | None = None) -> dict:
    """Train the shipped network further and write it with its card, each whole or not at all.

    Args:
        data: as ``load_cifar10()`` returns.
        path: of the checkpoint.
        recipe: default: ``Recipe.camera()``.

    Returns:
        The card.

    Raises:
        ValueError: the data is not what the shipped network was trained on, or the training was interrupted.
    """
    network, card = checkpoints.load_checkpoint()
    if card["data"] != data.source:
        raise ValueError(
            f"The shipped network was trained on {card['data']}, and this is {data.source}. "
            "Put CIFAR-10 into data/, or set CIFAR10_ROOT."
        )
    history = fit(network, data, recipe or Recipe.camera())
    if not history.finished:
        raise ValueError("The training was interrupted: nothing is written. Start it again.")
    result = evaluate(network.cpu(), data.test_images, data.test_labels)
    checkpoints.save_weights(network, path)
    return checkpoints.save_card(path, history=history, evaluation=result, data=data)


if __name__ == "__main__":
    card = train(load_cifar10(drawings=False))
    print(f"{card['test_accuracy']:.2%} on the test images of {card['data']}")
