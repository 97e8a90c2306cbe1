"""Twenty-one networks that are not ours, by every road, in both formats: ``python -m tests.proof.zoo``.

Random weights are enough, if the answers are far from uniform: batch norm gets real running
statistics, and the last layer is scaled until the probabilities of pictures differ a lot.

Four of them are no classifiers and return maps or boxes, which are compared as they are.

Each network is converted by four roads (ONNX by both exporters, ``torch.jit.trace``,
``torch.export``) to both formats, saved, opened by ``helpers.coreml_runtime`` and compared with PyTorch.
An interrupted run goes on where it stopped; a finished table is measured from the beginning.
"""

import gc
import itertools
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from helpers import coreml, coreml_runtime, onnx_coreml
from helpers.plumbing import paths
from helpers.plumbing.quiet import quiet

NETWORKS = (
    "convnext_tiny",
    "deeplabv3",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "lraspp",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "resnext50_32x4d",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "ssdlite heads",
    "swin_t",
    "unet",
    "vit",
    # Last, because Core ML Tools writes their large fully connected layers number by number.
    "alexnet",
    "vgg11_bn",
)
ROADS = ("onnx", "onnx, older exporter", "torch.export", "torch.jit.trace")
FORMATS = {"neural network": "13", "ML program": "15"}
"""The two formats, with the iOS that they are made for."""

SIZES = {"alexnet": 224, "vgg11_bn": 224}
"""Height and width where 64 would not do: their last pooling can be exported for the original size only."""

LABELS = [f"class {i}" for i in range(10)]
IMAGES = 16
LIMIT = 1e-4
"""The largest difference of a probability in float32 that passes; of other values, per size of the largest one."""

TABLE = paths.MEASURED / "zoo.json"


def pictures(count, size=64, channels=3, seed=1):
    """Smooth random pictures, N×C×size×size, uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 6, 6, generator=generator)
    return (F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1) * 255).round().to(torch.uint8)


class Maps(nn.Module):
    """A segmentation network, which returns its map of logits in a dict."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)["out"]


class Heads(nn.Module):
    """What a detector computes before it makes boxes of it: scores and offsets for every anchor."""

    def __init__(self, detector):
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, images):
        found = self.head(list(self.backbone(images).values()))
        return found["cls_logits"], found["bbox_regression"]


class UNet(nn.Module):
    """Half the size and back: what comes down is joined to what goes up."""

    def __init__(self):
        super().__init__()
        sizes = ((3, 16, 1), (16, 32, 2), (32, 48, 2))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b, stride in sizes
        )
        options = {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, **options) for a, b in ((48, 32), (64, 16)))
        self.last = nn.Conv2d(32, len(LABELS), 1)

    def forward(self, images):
        first = self.down[0](images)
        second = self.down[1](first)
        up = self.up[0](self.down[2](second)).relu()
        up = self.up[1](torch.cat([second, up], 1)).relu()
        return self.last(torch.cat([first, up], 1))


def others(name):
    """A network that is no classifier of torchvision's, None for one that is."""
    models, count = (
        torchvision.models,
        {"weights": None, "weights_backbone": None, "num_classes": len(LABELS)},
    )
    if name == "deeplabv3":
        return Maps(models.segmentation.deeplabv3_mobilenet_v3_large(**count))
    if name == "lraspp":
        return Maps(models.segmentation.lraspp_mobilenet_v3_large(**count))
    if name == "ssdlite heads":
        return Heads(models.detection.ssdlite320_mobilenet_v3_large(**count))
    if name == "unet":
        return UNet()
    if name == "vit":
        sizes = {"num_layers": 4, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 128}
        return models.VisionTransformer(image_size=64, patch_size=16, num_classes=len(LABELS), **sizes)
    return None


OUTPUTS = {
    "deeplabv3": ("map",),
    "lraspp": ("map",),
    "ssdlite heads": ("scores", "offsets"),
    "unet": ("map",),
}
"""The outputs of the networks that are no classifiers."""


def sharpened(model, size=64):
    """The model with lively batch norm statistics and a decisive last layer, in evaluation mode.

    Args:
        model: takes N×3×size×size from 0 to 1, returns N×10 logits, or maps; it is changed.
    """
    for name, value in model.named_parameters():
        if name.endswith("layer_scale"):  # 1e-6 would hide what a block of ConvNeXt computes
            nn.init.uniform_(value, 0.3, 0.7)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # a plain average over the one pass below
            nn.init.uniform_(layer.weight, 0.7, 1.3)
            nn.init.uniform_(layer.bias, -0.3, 0.3)
        if isinstance(layer, nn.Dropout | torchvision.ops.StochasticDepth):
            layer.p = 0.0
    for layer in model.modules():
        # Many random blocks that each add as much as they get make rounding errors grow: the
        # probabilities of two right programs in float32 would then differ by more than the limit.
        if isinstance(layer, torchvision.models.resnet.Bottleneck):
            nn.init.uniform_(layer.bn3.weight, 0.2, 0.5)
        if isinstance(layer, torchvision.models.mobilenetv2.InvertedResidual) and layer.use_res_connect:
            nn.init.uniform_(layer.conv[-1].weight, 0.2, 0.5)
    images = pictures(16, size) / 255
    with torch.no_grad():
        model.train()(images)
        logits = model.eval()(images)
        if isinstance(model, Maps | Heads | UNet):
            return model
        last = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
        factor = 2.5 / (logits - logits.mean(0)).std()
        last.weight.mul_(factor)
        last.bias.copy_(factor * (last.bias - logits.mean(0)))
    return model


def make(name):
    """A network of torchvision with random weights, always the same ones."""
    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    network = others(name)
    if network is None:
        network = getattr(torchvision.models, name)(weights=None, num_classes=len(LABELS), **options)
    if isinstance(network, torchvision.models.VisionTransformer):  # its last layer begins with zeros
        nn.init.normal_(network.heads.head.weight, std=0.1)
    return sharpened(network, SIZES.get(name, 64))


def convert(network, size, road, kind, folder, outputs=None):
    """Convert a network to one format by one road, without the road's own proof.

    Args:
        outputs: names of its outputs; None for a classifier, which returns logits.

    Returns:
        The path of the saved model.
    """
    target = FORMATS[kind]
    if road.startswith("onnx"):
        file = folder / "network.onnx"
        classifier = nn.Sequential(network, nn.Softmax(1)).eval() if outputs is None else network
        newer = {"external_data": False} if road == "onnx" else {}
        with quiet():
            torch.onnx.export(
                classifier,
                (torch.rand(1, 3, size, size),),
                str(file),
                input_names=["image"],
                output_names=list(outputs or ["probs"]),
                dynamo=road == "onnx",
                **newer,
            )
        model = onnx_coreml.convert(
            file,
            mode="classifier" if outputs is None else None,
            image_input_names=["image"],
            preprocessing_args={"image_scale": 1 / 255},
            class_labels=LABELS if outputs is None else None,
            minimum_ios_deployment_target=target,
            verify=False,
        )
    else:
        model = coreml.from_torch(
            network,
            shape=(1, 3, size, size),
            class_labels=LABELS if outputs is None else None,
            output_names=outputs or ("output",),
            exporter=road.removeprefix("torch.").removeprefix("jit."),
            minimum_ios_deployment_target=target,
            verify=False,
        )
    suffix = ".mlmodel" if kind == "neural network" else ".mlpackage"
    return coreml.save(model, folder / f"network{suffix}")


def answers(path, images, outputs, precision="float32"):
    """What a saved model says: of a classifier the probabilities, else one tensor for each output."""
    model = coreml_runtime.load(path, precision=precision)
    if outputs is None:
        return [model.probs(images)]
    found = model.run(images)
    return [found[name] for name in outputs]


def furthest(found, expected):
    """The largest difference of all outputs, per size of the largest value where that is above 1."""
    pairs = zip(found, expected, strict=True)
    return max(float((a.reshape(b.shape) - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in pairs)


def prove(network, images, road, kind, outputs=None):
    """One row of the table.

    Args:
        network: takes N×3×height×width from 0 to 1, returns N×10 logits, or what ``outputs`` names.
        images: N×3×height×width, uint8.
        road, kind: of ``ROADS`` and ``FORMATS``.
        outputs: names of the outputs; None for a classifier.

    Returns:
        ``outcome``: "agrees", "differs" or "refused"; ``difference``: the largest one of all
        probabilities or values; ``float16``, and of a classifier ``labels16``: the same with every result rounded
        to float16, and how many labels stay; or ``reason``: why Core ML Tools refuses it.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = convert(network, images.shape[-1], road, kind, Path(folder), outputs)
        except Exception as error:  # coremltools raises many kinds
            return {"outcome": "refused", "reason": str(error).strip().splitlines()[0][:200]}
        found, rounded = (answers(path, images, outputs, one) for one in ("float32", "float16"))
    with torch.no_grad():
        expected = network(images / 255)
    expected = (
        [expected.softmax(1)] if outputs is None else list(expected) if len(outputs) > 1 else [expected]
    )
    difference = furthest(found, expected)
    row = {
        "outcome": "agrees" if difference <= LIMIT else "differs",
        "difference": difference,
        "float16": furthest(rounded, expected),
    }
    if outputs is None:
        row["labels16"] = int((rounded[0].argmax(1) == expected[0].argmax(1)).sum())
        row["sharpness"] = float(expected[0].max(1).values.mean())
    return row


def read_table() -> dict:
    """What an interrupted run of the same versions has measured, else an empty table."""
    versions = {name: version(name) for name in ("torch", "torchvision", "coremltools", "onnx2coreml")}
    empty = {"versions": versions, "images": IMAGES, "limit": LIMIT, "rows": {}}
    if not TABLE.exists():
        return empty
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    interrupted = len(table["rows"]) < len(NETWORKS) * len(ROADS) * len(FORMATS)
    same = table["versions"] == versions and table["images"] == IMAGES
    return table if interrupted and same else empty


def write_table(table) -> None:
    with paths.replacing(TABLE) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Fill the table row by row, and print it."""
    table = read_table()
    rows = itertools.product(NETWORKS, ROADS, FORMATS)
    made = ("", None)
    for number, (name, road, kind) in enumerate(rows, start=1):
        key = f"{name}, {road}, {kind}"
        if key not in table["rows"]:
            made = made if made[0] == name else (name, make(name))
            size = SIZES.get(name, 64)
            row = prove(made[1], pictures(IMAGES, size, seed=3), road, kind, OUTPUTS.get(name))
            table["rows"][key] = {"network": name, "size": size, "road": road, "format": kind} | row
            write_table(table)
            gc.collect()
        row = table["rows"][key]
        result = row.get("reason") or f"{row['difference']:.1e}, float16 {row['float16']:.1e}"
        print(f"{number:4} {key}: {row['outcome']}, {result}", flush=True)
    outcomes = [row["outcome"] for row in table["rows"].values()]
    print(", ".join(f"{outcomes.count(kind)} {kind}" for kind in ("agrees", "refused", "differs")))
    return 1 if "differs" in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
