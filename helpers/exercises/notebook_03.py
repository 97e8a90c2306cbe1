"""The checks of notebook 03."""

import copy
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import nn

from helpers.evaluation import evaluate
from helpers.model import AlexNet
from helpers.plumbing.language import translated as _

from . import Exercise, Wrong, number_is


def open_size(found: object, /, *, path: Path) -> None:
    size = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0]
    if found == size.dim_param:
        return
    if found is None:
        raise Wrong("`None` is what Python was told (`batch=None`). The file needs a word for it.")
    if isinstance(found, int | float) and found == 1:
        raise Wrong("With a 1 there, the file would take one picture and no more. That is the other file.")
    if isinstance(found, int | float) and found <= 0:
        raise Wrong(
            "`dim_value` is empty where the size is open, and an empty number reads as 0. Look at `dim_param`."
        )
    if not isinstance(found, str):
        raise Wrong(
            "What stands there is a name, as text. Of each size the file has `dim_value` or `dim_param`."
        )
    if size.dim_param in found:
        raise Wrong("It is in there. Give the name alone, without what stands around it.")
    raise Wrong("Print `onnx.load(ANY_BATCH).graph.input[0]` and read the first `dim`.")


def first_block(block: Path, /, *, model: AlexNet) -> None:
    if not block.exists():
        raise Wrong(
            "There is no file {name}. The third argument of torch.onnx.export is where it goes.",
            name=block.name,
        )
    session = onnxruntime.InferenceSession(block)
    shape = session.get_inputs()[0].shape
    if len(shape) != 4 or shape[1] != 3:
        raise Wrong(
            "The file's input is {shape}. The first convolution takes N×3×32×32.",
            shape="×".join(map(str, shape)),
        )
    sides = [side if isinstance(side, int) else 32 for side in shape[2:]]
    picture = torch.rand(1, 3, *sides, generator=torch.Generator().manual_seed(0))
    said = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: picture.numpy()})[0])
    # A slice that was exported without eval() leaves its layers in training mode.
    model = copy.deepcopy(model).eval()
    features = model.features[:4]
    known = [
        (model, _("That is the whole network. Take `model.features[:4]`.")),
        (features[:3], _("The ReLU is missing: the slice `[:4]` ends before the layer 4.")),
        (features[:1], _("That is the convolution alone. Pooling, batch norm and ReLU belong to it here.")),
        (model.features[:5], _("That is one layer too many: the second convolution begins at 4.")),
        (
            nn.Sequential(model.normalise, features),
            _("The normalisation is in front of it. `model.features[:4]` has none."),
        ),
        (
            nn.Sequential(features, nn.Softmax(1)),
            _("There is a softmax at the end. These are no logits of classes."),
        ),
    ]
    with torch.no_grad():
        own = features(picture).shape
        for network, message in [(features, ""), *known]:
            right = network(picture)
            if said.shape == right.shape and torch.allclose(said, right, atol=1e-4):
                if message:
                    raise Wrong(message)
                return
    if said.shape == own:
        raise Wrong(
            "The numbers are others. Was it in training mode? Then batch norm takes the picture's own mean: call eval()."
        )
    raise Wrong(
        "The file gives {shape}, and `model.features[:4]` gives another shape.",
        shape="×".join(map(str, said.shape)),
    )


def one_weight(
    changed: nn.Module, largest: float, points: float, /, *, model: nn.Module, images, labels
) -> None:
    if changed is model:
        raise Wrong(
            "Both names are the same network, so it is compared with itself. Copy it first: copy.deepcopy(model)."
        )
    before, after = model.state_dict(), changed.state_dict()
    differences = torch.cat([(after[name].double() - before[name].double()).flatten() for name in before])
    moved = differences.nonzero().flatten()
    if not len(moved):
        raise Wrong(
            "The two networks have the same weights. `+=` on `….weight[0, 0, 0, 0]`, inside torch.no_grad(), changes one."
        )
    if len(moved) > 1:
        raise Wrong(
            "{count:,} numbers are others. One is asked for: give all its places, `weight[0, 0, 0, 0]`.",
            count=len(moved),
        )
    if abs(abs(differences[moved].item()) - 0.1) > 1e-4:
        raise Wrong("The weight changed by {change:g}. Asked is 0.1.", change=differences[moved].item())
    here, there = (evaluate(network, images, labels) for network in (model, changed))
    gap = 100 * (there.accuracy - here.accuracy)
    right = (here.probs - there.probs).abs().max().item()
    number_is(
        largest,
        right,
        [
            (
                abs(gap),
                _(
                    "That is the difference of the accuracies. Asked is the largest difference of a probability."
                ),
            ),
            (
                abs(gap) / 100,
                _(
                    "That is the difference of the accuracies. Asked is the largest difference of a probability."
                ),
            ),
            (
                (here.probs - there.probs).abs().mean().item(),
                _("That is the mean difference. One picture that is off is enough: the largest."),
            ),
        ],
        _("`compare(evaluate(model, …), evaluate(changed, …)).max_abs_diff`, on the same pictures."),
        within=1e-5 + right / 1000,
    )
    number_is(
        abs(points),
        abs(gap),
        [(abs(gap) / 100, _("That is a share. A point is one in a hundred: times 100."))],
        _("The accuracy of `changed` less that of `model`, in points, on the same pictures."),
        within=1e-4 if gap else 0.0,
    )


EXERCISES = {
    "03.1": Exercise(
        open_size,
        "The name is a variable: whoever runs the file says how many pictures come. Core ML wants a number there, and "
        "notebook 07 gives it one.",
        "`onnx.load(ANY_BATCH).graph.input[0].type.tensor_type.shape.dim` is a list of four sizes.",
    ),
    "03.2": Exercise(
        first_block,
        "A part of a network is a network. That is how one finds the layer from which on two programs disagree.",
        "`torch.onnx.export(part, (example,), path, dynamo=True, external_data=False)`; the example is the one of section 2.",
    ),
    "03.3": Exercise(
        one_weight,
        "One weight of hundreds of thousands, and the probabilities tell; the accuracy hardly moves. That is why they are compared.",
        "`changed = copy.deepcopy(model)`, then change `changed.features[0].weight[0, 0, 0, 0]` inside `torch.no_grad()`.",
    ),
}
