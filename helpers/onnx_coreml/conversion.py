"""``convert``: from an ONNX file to a Core ML model that has proved itself."""

import contextlib
import gc

from helpers import coreml
from helpers.plumbing.quiet import coremltools, quiet

from . import arguments, graph, lowerings, proof


def convert(
    model,
    mode=None,
    image_input_names=(),
    preprocessing_args=None,
    image_output_names=(),
    deprocessing_args=None,
    class_labels=None,
    predicted_feature_name=coreml.LABEL,
    add_custom_layers=False,
    custom_conversion_functions=None,
    onnx_coreml_input_shape_map=None,
    minimum_ios_deployment_target="13",
    compute_precision="float32",
    verify=True,
):
    """Convert an ONNX model to Core ML, and prove that it computes the same.

    All arguments but the last two are those of ``onnx_coreml.convert`` (2018–2020), in their order and
    with their old meaning. What today's Core ML cannot do is an error that says what to use instead.

    Args:
        model: path of an ONNX file, or a ``ModelProto``. All its inputs have fixed sizes. For a
            classifier one output holds the probabilities, one per label.
        mode: ``"classifier"``; ``"regressor"`` (neural networks only: the file then says that it is
            one); or None for a model that returns its output arrays.
        image_input_names: the inputs that become images, e.g. ``["image"]``: 1×3×H×W in colour, or
            1×1×H×W in grey.
        preprocessing_args: what happens to each 0–255 pixel: ``image_scale`` (multiplied),
            ``red_bias``, ``green_bias``, ``blue_bias``, ``gray_bias`` (added after that), ``is_bgr``.
            One dict for all images; a list with one for each; or a dict of dicts by image name.
            Without it the network gets 0 to 255, as it did in the old package.
        image_output_names: the outputs that become images: 1×3×H×W or 1×1×H×W, values 0 to 255.
        deprocessing_args: how the network's values become pixels, the same keys: value · scale + bias.
        class_labels: a list of texts, or the path of a file with one label per line.
        predicted_feature_name: name of the label output; letters, digits and underscores.
        add_custom_layers: with True an operator that has no lowering is still an error: custom layers
            are Swift code that no ML program can hold. Use ``custom_conversion_functions``.
        custom_conversion_functions: lowerings of one's own, by operator, or by the name of a node or of
            its output: ``function(context, node)`` makes Core ML operators with coremltools' Builder and
            returns the result (``lowerings.py`` has examples). The old package's functions took a layer
            builder, and have to be rewritten.
        onnx_coreml_input_shape_map: only ``[1, 2, 3, 4]`` for an image, which says what is true anyway.
            Core ML keeps an array's shape since iOS 13.
        minimum_ios_deployment_target: ``"11.2"``, ``"12"`` and ``"13"`` give a neural network
            (``.mlmodel``), ``"15"`` to ``"18"`` and ``"26"`` an ML program (``.mlpackage``). Core ML Tools
            writes no neural network for an iOS before 13, so the first two give the file of ``"13"``.
            ``"14"`` is an error: it is too early for an ML program, and ``"13"`` serves it.
        compute_precision: ``"float32"`` or ``"float16"``, for ML programs.
        verify: prove the numbers before returning (see ``helpers.onnx_coreml.proof``). False returns
            the model unproven.

    Returns:
        ``coremltools.models.MLModel``; for a classifier with the outputs ``classLabel`` (or
        ``predicted_feature_name``) and ``classLabelProbs``. Write it with ``helpers.coreml.save``.
        Names of inputs and outputs have letters, digits and underscores only: "input.1" becomes "input_1".

    Raises:
        FileNotFoundError: there is no such ONNX or label file.
        TypeError: ``model`` is neither a path nor a ``ModelProto``.
        ValueError: an argument that does not fit the model, or an operator that cannot be converted; the
            message says which and why.
        VerificationError: the converted model computes something else than the ONNX file; the message has
            both numbers and the first layer that differs. It is a ``ValueError``.
    """
    job = arguments.read(
        model,
        mode,
        image_input_names,
        preprocessing_args,
        image_output_names,
        deprocessing_args,
        class_labels,
        predicted_feature_name,
        add_custom_layers,
        custom_conversion_functions,
        onnx_coreml_input_shape_map,
        minimum_ios_deployment_target,
        compute_precision,
    )
    evidence = proof.Proof(job) if verify else None
    if job.labels:
        evidence.check_probabilities() if evidence else proof.check_ending(job)
    converted = lower(job)
    if evidence:
        evidence.check(converted, lower)
    return converted


def lower(job):
    """The Core ML model of a checked job, not yet proved."""
    ct = coremltools()
    target = getattr(ct.target, f"iOS{job.target if job.program else 13}")
    program = _program(job, target)
    pipeline = ct.PassPipeline.DEFAULT
    options = {"convert_to": "mlprogram" if job.program else "neuralnetwork"}
    if job.program:
        options["compute_precision"] = getattr(ct.precision, job.precision.upper())
    else:
        # It makes a layer of channel shuffles that only iOS 14 knows.
        pipeline.remove_passes(["common::detect_concat_interleave"])
    if job.images:
        options["inputs"] = [_image_type(ct, image) for image in job.images.values()]
    if job.labels:
        # A new one for every call: Core ML Tools changes the object that it is given.
        options["classifier_config"] = ct.ClassifierConfig(
            list(job.labels), predicted_probabilities_output=job.probabilities
        )
    try:
        with quiet(), _cheap_collections():
            converted = ct.convert(
                program,
                minimum_deployment_target=target,
                pass_pipeline=pipeline,
                skip_model_load=True,
                **options,
            )
    except Exception as error:  # Core ML Tools raises what it happens to raise
        raise ValueError(
            f"Core ML Tools cannot write this model for target {job.target}: {graph.first_line(error)}. "
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
    try:
        with quiet():
            program = lowerings.converter(job.proto, job.lowerings).to_mil(job.proto, target=target)
    except Exception as error:  # onnx2coreml wraps what Core ML Tools raises
        raise ValueError(
            f"onnx2coreml cannot convert this model for target {job.target}: {graph.first_line(error)}. "
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
