"""``convert``: from an ONNX file to a Core ML model that has proved itself."""

import contextlib
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from helpers import coreml
from helpers.coreml.options import for_core_ml_tools
from helpers.plumbing.errors import first_line
from helpers.plumbing.quiet import coremltools, quiet

from . import arguments, lowerings, proof, standard


def convert(
    model: str | Path | onnx.ModelProto,
    mode: str | None = None,
    image_input_names: Sequence[str] | None = (),
    preprocessing_args: dict | list | None = None,
    image_output_names: Sequence[str] | None = (),
    deprocessing_args: dict | list | None = None,
    class_labels: Any = None,
    predicted_feature_name: str = coreml.LABEL,
    add_custom_layers: bool = False,
    custom_conversion_functions: dict | None = None,
    onnx_coreml_input_shape_map: dict | None = None,
    minimum_ios_deployment_target: str = "13",
    compute_precision: str = "float32",
    verify: bool = True,
    input_shape: Sequence[int] | dict[str, Sequence[int]] | None = None,
) -> Any:
    """Convert an ONNX model to Core ML, and prove that it computes the same.

    All arguments but the last three are those of ``onnx_coreml.convert`` (2018–2020), in their order and
    with their old meaning. What today's Core ML cannot do is an error that says what to use instead.

    Args:
        model: path of an ONNX file, or a ``ModelProto``, of any version of ONNX's operators from 6 on. Weights in 16
            bits become 32 (``compute_precision="float16"`` makes them 16 again); an input of bytes, floats.
        mode: ``"classifier"`` (one output holds the probabilities), ``"regressor"`` (a neural network that says
            that it is one), or None for a model that returns its output arrays.
        image_input_names, preprocessing_args: the inputs that become images, and what happens to their pixels:
            ``{"image_scale": 1 / 255}``. Without it the network gets 0 to 255. See ``pictures``.
        image_output_names, deprocessing_args: the same of outputs that become images, values 0 to 255.
        class_labels: whatever ``helpers.plumbing.labels.in_order`` puts in order.
        predicted_feature_name: of the output with the label; letters, digits and underscores.
        add_custom_layers: with True, too, an operator without a lowering is an error.
        custom_conversion_functions: lowerings of one's own by operator, node or output, as in ``lowerings``.
        onnx_coreml_input_shape_map: only ``[1, 2, 3, 4]`` for an image, which says what is true anyway.
        minimum_ios_deployment_target: ``"11.2"``, ``"12"`` and ``"13"`` give a neural network for iOS 13
            (``.mlmodel``), ``"15"`` to ``"18"`` and ``"26"`` an ML program (``.mlpackage``).
        compute_precision: ``"float32"`` or ``"float16"``, for ML programs.
        verify: prove the numbers before returning (see ``proof``). False returns the model unproved.
        input_shape: fixes the sizes that the file leaves open: ``(1, 3, 224, 224)``, or a dict of such by input.

    Returns:
        ``coremltools.models.MLModel``; for a classifier with the outputs ``classLabel`` (or
        ``predicted_feature_name``) and ``classLabelProbs``. Write it with ``helpers.coreml.save``.
        Names have letters, digits and underscores only: "input.1" becomes "input_1".

    Raises:
        FileNotFoundError, TypeError: there is no such ONNX or label file, or ``model`` is neither.
        ValueError: an argument does not fit the model, or an operator cannot be converted.
        VerificationError: the numbers differ; the text has both, and the first layer that differs. A ``ValueError``.
    """
    images = image_input_names, preprocessing_args, image_output_names, deprocessing_args
    classes = class_labels, predicted_feature_name
    own = custom_conversion_functions, add_custom_layers
    target = minimum_ios_deployment_target, compute_precision
    job = arguments.read(model, mode, images, classes, own, onnx_coreml_input_shape_map, target, input_shape)
    return proof.proved(job, lower)[0] if verify else proof.unproved(job, lower)


def lower(job: arguments.Job) -> Any:
    """The Core ML model of a checked job, not yet proved."""
    ct = coremltools()
    options = for_core_ml_tools(job.target, job.precision, job.labels, job.probabilities)
    program = _program(job, options["minimum_deployment_target"])
    if job.images:
        options["inputs"] = [_image_type(ct, image) for image in job.images.values()]
    try:
        with quiet(), _cheap_collections():
            converted = ct.convert(program, **options)
    except Exception as error:  # Core ML Tools raises what it happens to raise
        raise ValueError(
            f"Core ML Tools cannot write this model for target {job.target}: {first_line(error)}. "
            "A newer target has more operators; or export the model with other operators."
        ) from error
    return _finished(ct, job, converted)


@contextlib.contextmanager
def _cheap_collections():
    """Keep what exists already out of the garbage collections that Core ML Tools asks for in each conversion.

    With PyTorch loaded one of them takes longer than the conversion of a small model.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _program(job, target):
    """The model in Core ML's own operators."""
    proto = standard.standard(job.proto, job.images)
    try:
        with quiet():
            converter = lowerings.converter(proto, job.lowerings, standard.opset(job.proto))
            program = converter.to_mil(proto, target=target)
    except Exception as error:  # onnx2coreml wraps what Core ML Tools raises
        raise ValueError(
            f"onnx2coreml cannot convert this model for target {job.target}: {first_line(error)}. "
            "A newer target has more operators; a lowering of your own can be passed in "
            "custom_conversion_functions."
        ) from error
    main = program.functions["main"]
    wanted = [value.name for value in job.proto.graph.output]
    for name, value in zip(wanted, main.outputs, strict=True):
        if value.name != name:
            raise ValueError(
                f"The output {name!r} is the tensor {value.name!r} unchanged. Core ML gives a tensor one name: "
                "leave that output out when you export the model."
            )
    return program


def _image_type(ct, image):
    # Core ML Tools takes the biases in the order of the channels, so blue comes first for BGR.
    bias = image.bias if len(image.bias) > 1 else image.bias[0]
    layout = getattr(ct.colorlayout, image.colour)
    return ct.ImageType(name=image.name, shape=image.shape, scale=image.scale, bias=bias, color_layout=layout)


def _finished(ct, job, converted):
    """What Core ML Tools' converter of programs cannot say: names, image outputs, regressors."""
    if job.labels:
        converted = coreml.name_outputs(converted, label=job.label_name)
    texts = {entry.key: entry.value for entry in job.proto.metadata_props}
    spec = converted.get_spec()
    for feature in spec.description.output:
        if feature.name in job.image_outputs:
            image = job.image_outputs[feature.name]
            kind = feature.type.imageType
            kind.height, kind.width = image.shape[2:]
            kind.colorSpace = kind.ColorSpace.Value(image.colour)
    if job.regressor:
        network = spec.neuralNetwork
        fields = {"layers": network.layers, "preprocessing": network.preprocessing}
        regressor = type(spec.neuralNetworkRegressor)(
            arrayInputShapeMapping=network.arrayInputShapeMapping,
            imageInputShapeMapping=network.imageInputShapeMapping,
            **fields,
        )
        spec.neuralNetworkRegressor.CopyFrom(regressor)
        spec.description.predictedFeatureName = spec.description.output[0].name
    if job.image_outputs or job.regressor:
        converted = ct.models.MLModel(spec, weights_dir=converted.weights_dir, skip_model_load=True)
    converted.user_defined_metadata.update(texts)
    return converted
