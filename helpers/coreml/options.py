"""What the caller of a conversion may ask for, by both roads, and how Core ML Tools is asked for it."""

from typing import Any

from helpers.plumbing import private_coremltools
from helpers.plumbing.quiet import coremltools

from .differences import LIMITS
from .files import LABEL, PROBABILITIES

NETWORK_TARGETS = ("11.2", "12", "13")
PROGRAM_TARGETS = ("15", "16", "17", "18", "26")
"""The versions of iOS that get a neural network, and those that get an ML program."""

OF_A_CLASSIFIER = (LABEL, PROBABILITIES, f"{LABEL}_probs")
"""Names that Core ML Tools and ``name_outputs`` give to a classifier's outputs: nothing else may have them."""


def check_target(target: str | float, precision: str) -> str:
    """The target as it stands in the lists above.

    Raises:
        ValueError: it is in neither, the precision is not known, or the two do not go together.
    """
    text, targets = str(target).removesuffix(".0"), NETWORK_TARGETS + PROGRAM_TARGETS
    if text == "14":
        raise ValueError(
            "minimum_ios_deployment_target='14': ML programs need iOS 15, and the newest neural network that is "
            "written here runs from iOS 13 on. Take '13' for a file that runs on iOS 14, or '15' for an ML program."
        )
    if text not in targets:
        raise ValueError(
            f"minimum_ios_deployment_target={target!r} is not known. Use one of {', '.join(targets)}."
        )
    if precision not in LIMITS:
        raise ValueError(f"compute_precision={precision!r}: use 'float32' or 'float16'.")
    if precision == "float16" and text in NETWORK_TARGETS:
        raise ValueError(
            f"compute_precision='float16' is for ML programs, and iOS {text} gets a neural network. Use "
            "minimum_ios_deployment_target='15', or compress(model, 'float16') for half the size."
        )
    return text


def check_name(name: Any, argument: str = "") -> None:
    """Refuse a name that Core ML Tools would change.

    Args:
        argument: the caller's argument with its equals sign, for the message.
    """
    if not isinstance(name, str) or private_coremltools.identifier(name) != name:
        raise ValueError(
            f"{argument}{name!r} is no name for Core ML: it has letters, digits and underscores only, a letter first, "
            f"and is no word that Core ML needs itself. Use e.g. {private_coremltools.identifier(str(name))!r}."
        )


def for_core_ml_tools(
    target: str, precision: str, labels: list | None = None, probabilities: str | None = "probabilities"
) -> dict:
    """The arguments of ``coremltools.convert`` that both roads have in common.

    Args:
        target, precision: as ``check_target`` found them.
        labels: the class labels, None without a classifier. probabilities: the output that they belong to.
    """
    ct = coremltools()
    program = target in PROGRAM_TARGETS
    options = {
        "convert_to": "mlprogram" if program else "neuralnetwork",
        # Core ML Tools knows no target before iOS 13.
        "minimum_deployment_target": getattr(ct.target, f"iOS{target if program else 13}"),
        "pass_pipeline": ct.PassPipeline.DEFAULT,
        "skip_model_load": True,
    }
    if program:
        options["compute_precision"] = getattr(ct.precision, precision.upper())
    else:
        # It makes a layer of channel shuffles that only iOS 14 knows.
        options["pass_pipeline"].remove_passes(["common::detect_concat_interleave"])
    if labels is not None:
        # A new one for every call: Core ML Tools changes the object that it is given.
        options["classifier_config"] = ct.ClassifierConfig(
            list(labels), predicted_feature_name=LABEL, predicted_probabilities_output=probabilities
        )
    return options
