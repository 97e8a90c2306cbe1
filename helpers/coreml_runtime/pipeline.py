"""Pipelines: several models in one file, one after the other; and the linear classifier that often ends them.

Create ML and Turi Create write them: a network makes features of a picture, a classifier names it. The
meaning of the fields is that of ``Model.proto`` and ``GLMClassifier.proto`` in apple/coremltools.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from .archive import ON_A_MAC, Archive
from .features import ArrayInput, ImageInput, class_labels
from .steps import Name, Step

PIPELINES = ("pipeline", "pipelineClassifier", "pipelineRegressor")
"""The kinds of models that hold others."""

PROBABILITIES = "the probabilities of the classifier"
"""Their name in the results of a ``Chain``; inside a model they may have any name, another model's too."""


def models(archive: Archive, message) -> Iterator[Archive]:
    """Each model of a ``Pipeline``, ``PipelineClassifier`` or ``PipelineRegressor`` as an archive of its own."""
    pipeline = message.pipeline if "pipeline" in message.DESCRIPTOR.fields_by_name else message
    if not pipeline.models:
        raise archive.error("it is a pipeline without models")
    for number, specification in enumerate(pipeline.models, start=1):
        yield archive.part(specification, f"in its model {number} of {len(pipeline.models)}, ")


class Chain:
    """The models of a pipeline as one graph: it is run as ``graph.Graph`` is.

    Args:
        archive: where the models come from; it words the errors.
        members: the opened models (``CoreMLModel``) in the file's order.
        inputs: the pipeline's inputs by name.
        outputs: the names of the values wanted; ``PROBABILITIES`` may be one.

    Attributes:
        sizes: how many numbers each value has that a model makes from the inputs' own shapes.
        largest_bytes: the largest tensor on the way.

    Raises:
        ValueError: a model reads what no model before it makes, or a picture that is not the pipeline's.
    """

    def __init__(self, archive: Archive, members: list, inputs: dict, outputs: list[str]):
        self._archive, self.members, self.outputs = archive, members, outputs
        shapes = {name: feature.shape for name, feature in inputs.items()}
        self.sizes: dict[str, int] = {}
        for member in members:
            for name, feature in member.inputs.items():
                if name not in shapes:
                    raise archive.error(f"one of its models reads '{name}', which no model before it makes")
                if isinstance(feature, ImageInput) and inputs.get(name) != feature:
                    raise archive.error(
                        f"the picture '{name}' is not the one that the pipeline takes", ON_A_MAC
                    )
                self._fitting(feature, shapes[name])
            made = member._graph.shapes
            shapes |= {name: member.answer_shape(name, made[name]) for name in member._arrays}
            if member.labels is not None:
                self.sizes[PROBABILITIES] = member._graph.sizes[member._probabilities]
        for name in outputs:
            if name not in shapes and name not in self.sizes:
                raise archive.error(f"no model of it makes the output '{name}'")
        self.shapes = shapes
        self.largest_bytes = max(member._graph.largest_bytes for member in members)

    def _fitting(self, feature, shape) -> tuple:
        """The shape in which a model takes a value: its own, or with other dimensions of size 1."""
        if feature.allows(tuple(shape)):
            return tuple(shape)
        if [size for size in shape if size > 1] == [size for size in feature.shape if size > 1]:
            return feature.shape
        raise self._archive.error(
            f"a model of it takes '{feature.name}' as {feature.takes()}, it is made as {tuple(shape)}"
        )

    def run(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run a batch through all models; see ``graph.Graph.run``."""
        values = dict(batch)
        for member in self.members:
            given = {}
            for name, feature in member.inputs.items():
                value = values[name].reshape(-1, *self._fitting(feature, values[name].shape[1:]))
                given[name] = value if name in member._integer_inputs else value.float()
            results = member.shaped(member.graph_for(given).run(given))
            values |= {name: results[name] for name in member._arrays}
            if member.labels is not None:
                values[PROBABILITIES] = results[member._probabilities]
        return {name: values[name] for name in self.outputs}


def linear_classifier(archive: Archive, classifier, inputs: dict) -> Step:
    """A ``GLMClassifier`` as a step that makes its probabilities; Core ML computes it in float64.

    Raises:
        ValueError: it takes something else than one array, or its numbers do not belong together.
    """
    labels, rows = class_labels(classifier), [list(row.value) for row in classifier.weights]
    feature = next(iter(inputs.values()))
    if len(inputs) != 1 or not isinstance(feature, ArrayInput):
        raise archive.error("it is a linear classifier of something else than one array", ON_A_MAC)
    count, reference = int(np.prod(feature.shape)), classifier.classEncoding == classifier.ReferenceClass
    wanted = len(labels) - 1 if reference or (len(labels) == 2 and len(rows) == 1) else len(labels)
    archive.take(count * len(rows), 8, "the linear classifier")
    if len(rows) != wanted or not rows or any(len(row) != count for row in rows):
        raise archive.error(f"its weights are not {wanted}×{count}, for {len(labels)} labels")
    if len(classifier.offset) not in (0, len(rows)):
        raise archive.error(f"it has {len(classifier.offset)} offsets for {len(rows)} rows of weights")
    weight = torch.tensor(rows, dtype=torch.float64)
    offset = torch.tensor(list(classifier.offset), dtype=torch.float64) if len(classifier.offset) else None
    probit = classifier.postEvaluationTransform == classifier.Probit
    if probit and len(rows) != 1:
        raise archive.error("it is a probit of more than two classes, which the format does not have")
    return Step(
        operator="glmClassifier",
        name=feature.name,
        function=_probabilities_of,
        arguments=[Name(feature.name)],
        parameters={"weight": weight, "offset": offset, "probit": probit, "reference": reference},
        outputs=[PROBABILITIES],
        shapes=[(len(labels),)],
        rounds=[False],
        kinds=["float"],
    )


def _probabilities_of(x, weight, offset, probit, reference):
    """The classes' probabilities from one score for each; the first class may be the one they are compared with."""
    scores = F.linear(x.reshape(-1).double(), weight, offset)
    if len(weight) == 1:
        second = torch.special.ndtr(scores) if probit else torch.sigmoid(scores)
        return torch.cat([1 - second, second]).float()
    if reference:
        return F.softmax(F.pad(scores, (1, 0)), -1).float()
    each = torch.sigmoid(scores)  # one against all others, as scikit-learn's predict_proba
    return (each / each.sum()).float()
