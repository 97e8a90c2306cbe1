"""The Xcode project, checked without Xcode: it parses, everything it names is there, nothing is lost."""

import copy
import io
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import ClassVar

import numpy as np
import openstep_parser
import pytest
import torch
import tree_sitter
import tree_sitter_swift
import yaml
from PIL import Image, ImageOps

from helpers import coreml, coreml_runtime, ios_app, photos
from helpers.data import CLASSES
from helpers.ios_app import write_app
from helpers.onnx_coreml import convert
from helpers.onnx_export import export_onnx
from helpers.plumbing import paths
from helpers.plumbing.quiet import coremltools

SWIFT = sorted(ios_app.TEMPLATE.rglob("*.swift"))
every_swift_file = pytest.mark.parametrize("path", SWIFT, ids=lambda path: path.name)
APP = [path for path in SWIFT if path.parent.name == "__APP__"]


@pytest.fixture(scope="module")
def models(sharp_model, drawings, tmp_path_factory):
    """The same network in both formats. Its answers to drawings differ: else the table would prove little."""
    folder = tmp_path_factory.mktemp("models")
    network = copy.deepcopy(sharp_model)
    with torch.no_grad():
        logits = network(drawings.test_images[:200].float() / 255)
        network.classifier[-1].bias -= logits.mean(0)
        network.classifier[-1].weight *= 3 / logits.std(0)[:, None]
        network.classifier[-1].bias *= 3 / logits.std(0)
    export_onnx(network, folder / "a.onnx", classes=CLASSES)
    for target, ending in (("13", ".mlmodel"), ("15", ".mlpackage")):
        converted = convert(
            folder / "a.onnx",
            mode="classifier",
            image_input_names=["image"],
            class_labels=list(CLASSES),
            preprocessing_args={"image_scale": 1 / 255},
            minimum_ios_deployment_target=target,
        )
        coreml.save(coreml.set_metadata(converted, description="a test"), folder / f"AlexNet{ending}")
    return folder


@pytest.fixture(scope="module", params=[".mlpackage", ".mlmodel"])
def project(request, models, tmp_path_factory):
    """A written project. Tests read it and change nothing."""
    folder = tmp_path_factory.mktemp("project") / "AlexNetApp"
    assert write_app(models / f"AlexNet{request.param}", folder, threshold=0.6123) == (
        folder / "AlexNetApp.xcodeproj"
    )
    return folder


def model_in(project):
    return next(
        path for path in (project / "AlexNetApp").iterdir() if path.suffix in (".mlpackage", ".mlmodel")
    )


def everything(folder):
    """Path → content of all files of a folder, links and hidden files included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


# -- the Swift files ---------------------------------------------------------------------------------


def nodes(path_or_text):
    text = path_or_text.read_bytes() if isinstance(path_or_text, Path) else path_or_text.encode()
    waiting = [tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language())).parse(text).root_node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.children


def found(path, *kinds):
    return [node for node in nodes(path) if node.type in kinds]


def text(node):
    return node.text.decode()


@every_swift_file
def test_it_parses_and_is_short(path):
    wrong = [
        f"{node.start_point}: {text(node)[:40]}" for node in nodes(path) if node.is_error or node.is_missing
    ]
    assert not wrong
    assert len(path.read_text().splitlines()) <= 120
    assert max(map(len, path.read_text().splitlines())) <= 120


def test_the_parser_notices_a_mistake():
    assert any(node.is_error or node.is_missing for node in nodes("struct A { var b: Int = ( }"))


def literals(path):
    """Every text of a Swift file, with the label of the argument that it is: ``systemImage``, or "".

    Previews and what is canned for them never reach a user.
    """
    shown = "" if path.name == "Canned.swift" else path.read_text(encoding="utf-8").split("\n#Preview")[0]
    for node in found(shown, "line_string_literal"):
        argument = re.match(r"(\w+): ", text(node.parent)) if node.parent.type == "value_argument" else None
        yield text(node)[1:-1], argument[1] if argument else ""


NOT_FOR_THE_USER = {"systemImage", "table", "forResourcesWithExtension", "category"}
"""Arguments whose texts name something: a symbol, a table, a file's ending, a part of the log."""

NAMES = {"image", "threshold", "layerClass above says which layer it is", "session", "frames", "app"}


def catalog(name):
    return json.loads((ios_app.TEMPLATE / "__APP__" / name).read_text(encoding="utf-8"))


def test_every_text_for_the_user_is_in_the_catalog_and_nothing_else():
    shown = {
        value
        for path in APP
        for value, argument in literals(path)
        if argument not in NOT_FOR_THE_USER and value not in NAMES and "privacy: " not in value  # the log
    }
    assert shown == catalog("Localizable.xcstrings")["strings"].keys()


def both_languages(strings):
    for key, entry in strings.items():
        units = {language: local["stringUnit"] for language, local in entry["localizations"].items()}
        assert units.keys() == {"en", "zh-Hans"}, key
        assert all(unit["value"] for unit in units.values()), key
        assert "%" not in key + units["en"]["value"] + units["zh-Hans"]["value"], (
            "a format would need arguments"
        )
        yield key, units


@pytest.mark.parametrize("name", ["Localizable.xcstrings", "InfoPlist.xcstrings"])
def test_a_catalog_has_both_languages(name):
    strings = catalog(name)["strings"]
    for key, units in both_languages(strings):
        assert all(unit["state"] == "translated" for unit in units.values()), key
        assert re.search("[\u4e00-\u9fff]", units["zh-Hans"]["value"]), key
        if name == "Localizable.xcstrings":
            assert units["en"]["value"] == key
    assert catalog(name)["sourceLanguage"] == "en"


def test_the_labels_are_in_both_languages(project):
    strings = json.loads((project / "AlexNetApp/Labels.xcstrings").read_text(encoding="utf-8"))["strings"]
    assert {key: units["zh-Hans"]["value"] for key, units in both_languages(strings)} == ios_app.CHINESE
    assert list(strings) == list(CLASSES)


def test_the_swift_code_holds_no_number_about_pixels_or_probabilities():
    """Sizes, scales, labels and the threshold stand in the model."""
    for name in ("Classifier.swift", "Crop.swift", "Recognition.swift"):
        numbers = {
            text(node)
            for node in found(ios_app.TEMPLATE / "__APP__" / name, "integer_literal", "real_literal")
        }
        assert numbers <= {"0", "1"}, name
    for path in APP:
        numbers = {float(text(node)) for node in found(path, "integer_literal", "real_literal")}
        assert not numbers & {32.0, 224.0, 255.0, 1 / 255, 0.5, 0.9}, path.name
        assert not {value for value, _ in literals(path)} & set(CLASSES), path.name


EXIF = {"up": 1, "upMirrored": 2, "down": 3, "downMirrored": 4}
EXIF |= {"leftMirrored": 5, "right": 6, "rightMirrored": 7, "left": 8}
"""Apple's names of the orientations that EXIF numbers (CGImageProperties.h)."""


def test_a_frame_is_turned_the_right_way():
    """The camera says: turn it clockwise by so many degrees. Vision wants the EXIF orientation that does it."""
    source = (ios_app.TEMPLATE / "__APP__/Picture.swift").read_text()
    table = re.findall(r"case (\d+): self = \.(\w+)", source)
    assert [int(angle) for angle, _ in table] == [90, 180, 270]
    stored = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    for angle, name in table:
        stored.getexif()[0x0112] = EXIF[name]
        wanted = stored.rotate(-int(angle), expand=True)  # Pillow turns the other way round
        assert np.array_equal(ImageOps.exif_transpose(stored), wanted), angle


def test_the_ways_to_fit_a_picture_are_called_as_in_notebook_06():
    source = (ios_app.TEMPLATE / "__APP__/Crop.swift").read_text()
    options = dict(re.findall(r"case \.(\w+): return \.(centerCrop|scaleFit|scaleFill)", source))
    names = dict(re.findall(r'case \.(\w+): return "([^".]+)"', source))
    assert {names[case].lower(): option for case, option in options.items()} == photos.CROPS
    gravity = dict(re.findall(r"case \.(\w+): return \.(resize\w*)", source))
    shown = {"centerCrop": "resizeAspectFill", "scaleFit": "resizeAspect", "scaleFill": "resize"}
    assert {case: shown[option] for case, option in options.items()} == gravity


# -- the project file --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pbxproj(project):
    source = (project / "AlexNetApp.xcodeproj/project.pbxproj").read_text(encoding="utf-8")
    assert source.startswith("// !$*UTF8*$!\n")
    assert "__" not in source
    return openstep_parser.OpenStepDecoder.ParseFromString(source)


def strings_in(value):
    if isinstance(value, dict):
        for inside in value.values():
            yield from strings_in(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from strings_in(inside)
    else:
        yield value


def of_kind(pbxproj, isa):
    return {key: value for key, value in pbxproj["objects"].items() if value["isa"] == isa}


def settings(pbxproj, name):
    """The two configurations (Debug, Release) of a target, or of the project."""
    owners = of_kind(pbxproj, "PBXNativeTarget") | of_kind(pbxproj, "PBXProject")
    (owner,) = [value for value in owners.values() if value.get("name") == name]
    listed = pbxproj["objects"][owner["buildConfigurationList"]]["buildConfigurations"]
    return [pbxproj["objects"][key]["buildSettings"] for key in listed]


def test_every_reference_in_the_project_file_resolves(pbxproj):
    identifiers = {value for value in strings_in(pbxproj) if re.fullmatch("[0-9A-F]{24}", value)}
    objects = pbxproj["objects"]
    assert identifiers <= objects.keys()
    # Every object is reached from the root, so nothing is left over.
    reached, waiting = set(), [pbxproj["rootObject"]]
    while waiting:
        key = waiting.pop()
        reached.add(key)
        waiting += [value for value in strings_in(objects[key]) if value in objects and value not in reached]
    assert reached == objects.keys()
    kinds = {
        "mainGroup": "PBXGroup",
        "productRefGroup": "PBXGroup",
        "productReference": "PBXFileReference",
        "buildConfigurationList": "XCConfigurationList",
        "target": "PBXNativeTarget",
        "targetProxy": "PBXContainerItemProxy",
    }
    for value in objects.values():
        for field, isa in kinds.items():
            if field in value:
                assert objects[value[field]]["isa"] == isa, field


def test_every_folder_of_the_project_file_is_there_and_belongs_to_one_target(project, pbxproj):
    folders = of_kind(pbxproj, "PBXFileSystemSynchronizedRootGroup")
    assert {value["path"] for value in folders.values()} == {"AlexNetApp", "AlexNetAppTests"}
    assert all((project / value["path"]).is_dir() for value in folders.values())
    targets = of_kind(pbxproj, "PBXNativeTarget").values()
    owners = {
        folders[key]["path"]: value["name"]
        for value in targets
        for key in value["fileSystemSynchronizedGroups"]
    }
    assert owners == {"AlexNetApp": "AlexNetApp", "AlexNetAppTests": "AlexNetAppTests"}
    for value in targets:
        phases = [pbxproj["objects"][key]["isa"] for key in value["buildPhases"]]
        assert phases == ["PBXSourcesBuildPhase", "PBXFrameworksBuildPhase", "PBXResourcesBuildPhase"]
    assert pbxproj["objectVersion"] == "77"  # the first that knows such folders


def test_the_scheme_names_the_targets(project, pbxproj):
    scheme = ElementTree.parse(project / "AlexNetApp.xcodeproj/xcshareddata/xcschemes/AlexNetApp.xcscheme")
    targets = of_kind(pbxproj, "PBXNativeTarget")
    references = list(scheme.iter("BuildableReference"))
    assert len(references) == 4
    for reference in references:
        target = targets[reference.get("BlueprintIdentifier")]
        assert target["name"] == reference.get("BlueprintName")
        assert pbxproj["objects"][target["productReference"]]["path"] == reference.get("BuildableName")
        assert reference.get("ReferencedContainer") == "container:AlexNetApp.xcodeproj"
    (tested,) = scheme.find("TestAction").iter("BuildableReference")
    assert tested.get("BlueprintName") == "AlexNetAppTests"


def test_the_settings_that_the_app_needs_are_there(pbxproj):
    for chosen in settings(pbxproj, None):
        assert chosen["IPHONEOS_DEPLOYMENT_TARGET"] == "17.0"
        assert chosen["SWIFT_VERSION"] == "6.0"
        assert chosen["SDKROOT"] == "iphoneos"
    words = {key: units for key, units in both_languages(catalog("InfoPlist.xcstrings")["strings"])}
    for chosen in settings(pbxproj, "AlexNetApp"):
        assert chosen["GENERATE_INFOPLIST_FILE"] == "YES"
        assert chosen["PRODUCT_BUNDLE_IDENTIFIER"] == "com.example.AlexNetApp"
        for key in ("NSCameraUsageDescription", "CFBundleDisplayName"):
            assert chosen[f"INFOPLIST_KEY_{key}"] == words[key]["en"]["value"]
        for key in ("UILaunchScreen_Generation", "UIApplicationSceneManifest_Generation"):
            assert chosen[f"INFOPLIST_KEY_{key}"] == "YES"
        assert "LandscapeLeft" in chosen["INFOPLIST_KEY_UISupportedInterfaceOrientations_iPhone"]
        assert chosen["ASSETCATALOG_COMPILER_APPICON_NAME"] == "AppIcon"
        assert chosen["INFOPLIST_KEY_ITSAppUsesNonExemptEncryption"] == "NO"
    for chosen in settings(pbxproj, "AlexNetAppTests"):
        assert chosen["TEST_HOST"].startswith("$(BUILT_PRODUCTS_DIR)/AlexNetApp.app/")
        assert chosen["PRODUCT_BUNDLE_IDENTIFIER"] == "com.example.AlexNetAppTests"
    project_object = pbxproj["objects"][pbxproj["rootObject"]]
    assert {"en", "zh-Hans"} <= set(project_object["knownRegions"])


def test_nothing_in_the_project_names_a_place_on_this_machine(project, pbxproj):
    assert not [value for value in strings_in(pbxproj) if value.startswith("/") or ".." in value]
    for name, content in everything(project).items():
        if not name.endswith((".png", ".bin", ".mlmodel")):
            found = re.search(
                r"(?<![\w$)./:*])/(Users|home|root|tmp|work|var)/|__APP__|__BUNDLE__", content.decode()
            )
            assert found is None, f"{name}: {found}"
        # as a whole path: a checkout called /proj is not in ".xcodeproj/project.pbxproj"
        assert not re.search(rb"(?<![\w.])" + re.escape(os.fsencode(paths.ROOT)) + rb"(?!\w)", content), name


def test_the_icon_is_what_apple_asks_for(project):
    folder = project / "AlexNetApp/Assets.xcassets/AppIcon.appiconset"
    listed = json.loads((folder / "Contents.json").read_text())["images"]
    looks = {icon["filename"]: [look["value"] for look in icon.get("appearances", [])] for icon in listed}
    assert looks == {"icon.png": [], "icon-dark.png": ["dark"], "icon-tinted.png": ["tinted"]}
    assert {path.name for path in folder.iterdir()} == {*looks, "Contents.json"}
    brightness = []
    for icon in listed:
        with Image.open(folder / icon["filename"]) as picture:
            assert (picture.size, picture.mode, icon["size"]) == ((1024, 1024), "RGB", "1024x1024")
            pixels = np.asarray(picture).astype(int)
        brightness.append(pixels.mean())
    assert brightness[1] < 0.6 * brightness[0]
    assert np.ptp(pixels, axis=2).max() == 0, "the system colours a tinted icon, so it is grey"


# -- the model and the reference pictures ------------------------------------------------------------


def test_the_model_is_there_once_and_called_as_the_swift_code_calls_it(project, models):
    inside = [path for path in project.rglob("AlexNet.ml*")]
    assert [path.parent.name for path in inside] == ["AlexNetApp"]
    described = coreml.describe(inside[0])
    sources = "".join(path.read_text() for path in SWIFT)
    assert list(described["inputs"]) == re.findall(r'inputImageFeatureName = "(\w+)"', sources)
    assert set(re.findall(r'featureValue\(for: "(\w+)"\)', sources)) == described["outputs"].keys()
    assert set(re.findall(r'inputDescriptionsByName\["(\w+)"\]', sources)) == described["inputs"].keys()
    specification = coremltools().utils.load_spec(str(inside[0]))
    (key,) = re.findall(r'written\?\["(\w+)"\]', sources)
    assert specification.description.metadata.userDefined[key] == "0.6123"
    assert specification.description.metadata.shortDescription == "a test"
    assert specification.description.metadata.userDefined[coreml.PREVIEW] == "imageClassifier"
    original = coremltools().utils.load_spec(str(models / inside[0].name))
    assert original.description.metadata.userDefined[coreml.PREVIEW] == "imageClassifier"
    assert key not in original.description.metadata.userDefined, "the learner's own file is left alone"


def test_the_reference_table_is_what_the_app_s_own_model_says(project):
    folder = project / "AlexNetAppTests"
    table = json.loads((folder / "reference.json").read_text())
    (listed,) = table["models"]
    assert (table["tolerance"], listed["name"], listed["threshold"]) == (0.01, "AlexNet", 0.6123)
    model = coreml_runtime.load(model_in(project))
    *square, wide = listed["examples"]
    upright = [example for example in square if example["orientation"] == 1]
    assert [example["picture"] for example in upright] == list(CLASSES)
    assert {example["orientation"] for example in square} == {1, 3, 6, 8}
    assert (wide["picture"], wide["crop"], wide["orientation"]) == ("cat-wide", "letterbox", 1)
    for example in listed["examples"]:
        picture = Image.open(folder / f"{example['picture']}.png")
        assert (picture.mode, picture.size) == ("RGB", (32, 16 if example is wide else 32))
        assert picture.info["srgb"] == 0  # the file says which colours it means
        picture.getexif()[0x0112] = example["orientation"]
        seen = ImageOps.pad(ImageOps.exif_transpose(picture), (32, 32), color="black")
        answer = model.predict({"image": seen})["classLabelProbs"]
        assert answer.keys() == example["probabilities"].keys()
        assert all(abs(answer[label] - value) < 1e-3 for label, value in example["probabilities"].items())
    # A model that ignored the picture would pass too, if all answers were alike.
    answers = {max(example["probabilities"], key=example["probabilities"].get) for example in upright}
    spread = np.ptp([list(example["probabilities"].values()) for example in upright], axis=0).max()
    assert spread > 10 * table["tolerance"], answers


def test_a_turned_picture_would_be_noticed(project):
    """Were it not turned back, its probabilities would be further off than the tolerance."""
    folder = project / "AlexNetAppTests"
    table = json.loads((folder / "reference.json").read_text())
    model = coreml_runtime.load(model_in(project))
    for example in table["models"][0]["examples"]:
        if example["orientation"] != 1:
            answer = model.predict({"image": Image.open(folder / f"{example['picture']}.png").convert("RGB")})
            worst = max(abs(answer["classLabelProbs"][k] - v) for k, v in example["probabilities"].items())
            assert worst > table["tolerance"], example["picture"]


def test_bars_of_another_colour_would_be_noticed(project):
    folder = project / "AlexNetAppTests"
    table = json.loads((folder / "reference.json").read_text())
    model = coreml_runtime.load(model_in(project))
    example = table["models"][0]["examples"][-1]
    picture = Image.open(folder / f"{example['picture']}.png")
    for colour in ("white", "grey"):
        answer = model.predict({"image": ImageOps.pad(picture, (32, 32), color=colour)})["classLabelProbs"]
        worst = max(abs(answer[label] - value) for label, value in example["probabilities"].items())
        assert worst > table["tolerance"], colour


class Wide:
    """A model for pictures that are wider than high; its answer is how red, green and blue they are."""

    inputs: ClassVar = {"image": coreml_runtime.ImageInput("image", 48, 32, "RGB", (1, 3, 32, 48))}
    labels = ("red", "green", "blue")

    def __init__(self, folder):
        self.path = folder / "AlexNet.mlmodel"  # whose last operator makes probabilities, as this one does

    def probs(self, images):
        assert images.shape == (11, 3, 32, 48)
        return torch.from_numpy(images.mean((2, 3))).softmax(1)


def test_pictures_that_are_not_square_fit_their_model_and_are_not_turned(models):
    files = ios_app.reference_files({"Wide": (Wide(models), 0.5)})
    sizes = {Image.open(io.BytesIO(data)).size for name, data in files.items() if name.endswith(".png")}
    assert sizes == {(48, 32), (48, 16)}
    table = json.loads(files["reference.json"])
    *examples, _ = table["models"][0]["examples"]
    assert len(examples) == 10
    for example in examples:
        pixels = np.asarray(Image.open(io.BytesIO(files[f"{example['picture']}.png"])))
        assert (
            max(example["probabilities"], key=example["probabilities"].get)
            == (Wide.labels[pixels.mean((0, 1)).argmax()])
        )


def test_a_grey_model_of_five_classes_that_is_not_square_makes_an_app(grey_model, tmp_path):
    write_app(grey_model, tmp_path / "GreyApp", threshold=0.6)
    table = json.loads((tmp_path / "GreyApp/GreyAppTests/reference.json").read_text(encoding="utf-8"))
    (listed,) = table["models"]
    assert len(listed["examples"]) == 11
    model = coreml_runtime.load(tmp_path / "GreyApp/GreyApp/Grey.mlpackage")
    for example in listed["examples"]:
        with Image.open(tmp_path / f"GreyApp/GreyAppTests/{example['picture']}.png") as picture:
            assert (picture.mode, picture.size) == ("L", (40, 12 if "crop" in example else 24))
            seen = ImageOps.pad(picture, (40, 24), color="black")
        answer = model.predict({"image": seen})["classLabelProbs"]
        assert answer == pytest.approx(example["probabilities"], abs=1e-5)
        assert len(example["probabilities"]) == 5
    spread = np.ptp([list(example["probabilities"].values()) for example in listed["examples"]], axis=0).max()
    assert spread > 10 * table["tolerance"]


def test_nothing_in_an_app_says_what_another_network_was(grey_model, tmp_path):
    write_app(grey_model, tmp_path / "GreyApp", threshold=0.6)
    for name, content in everything(tmp_path / "GreyApp").items():
        if not name.endswith((".png", ".bin", ".mlmodel")):
            found = re.search(r"32\s*[×x]\s*32|CIFAR|\bten (labels|classes)\b", content.decode(), re.I)
            assert found is None, f"{name}: {found}"


def test_a_grey_and_a_coloured_model_have_pictures_of_their_own(grey_model, models, tmp_path):
    coloured = models / "AlexNet.mlpackage"
    write_app(coloured, tmp_path / "Good", threshold=0.6, also={grey_model: 0.7})
    table = json.loads((tmp_path / "Good/GoodTests/reference.json").read_text(encoding="utf-8"))
    for listed, mode in zip(table["models"], ("RGB", "L"), strict=True):
        for example in listed["examples"]:
            with Image.open(tmp_path / f"Good/GoodTests/{example['picture']}.png") as picture:
                assert picture.mode == mode


def test_writing_twice_gives_the_same_bytes(project, tmp_path):
    write_app(model_in(project), tmp_path / "AlexNetApp", threshold=0.6123)
    assert everything(tmp_path / "AlexNetApp") == everything(project)


# -- bad input ---------------------------------------------------------------------------------------


def changed(models, tmp_path, change, ending=".mlpackage"):
    """A copy of the model with one thing changed in its description."""
    path = tmp_path / f"changed{ending}"
    ct = coremltools()
    original = ct.models.MLModel(str(models / f"AlexNet{ending}"), skip_model_load=True)
    specification = original.get_spec()
    specification = change(ct, specification) or specification
    ct.models.MLModel(specification, weights_dir=original.weights_dir, skip_model_load=True).save(str(path))
    return path


def rename(old, new):
    return lambda ct, specification: ct.utils.rename_feature(specification, old, new)


def without_labels(ct, specification):
    classifier, plain = type(specification)(), specification.neuralNetwork
    classifier.CopyFrom(specification)
    classifier = classifier.neuralNetworkClassifier
    for field in ("layers", "preprocessing"):
        getattr(plain, field).extend(getattr(classifier, field))
    for field in ("arrayInputShapeMapping", "imageInputShapeMapping"):
        setattr(plain, field, getattr(classifier, field))
    name = specification.neuralNetwork.layers[-1].output[0]
    del specification.description.output[:]
    output = specification.description.output.add()
    output.name = name
    output.type.multiArrayType.dataType = 65568
    specification.description.predictedFeatureName = ""
    specification.description.predictedProbabilitiesName = ""


def without_image_input(ct, specification):
    del specification.neuralNetworkClassifier.preprocessing[:]
    array = specification.description.input[0].type.multiArrayType
    array.shape.extend([1, 3, 32, 32])
    array.dataType = array.FLOAT32


def label(new):
    def change(ct, specification):
        specification.neuralNetworkClassifier.stringClassLabels.vector[3] = new

    return change


def accents(ct, specification):
    """One word, twice: with a letter that has an accent, and with a letter and an accent."""
    specification.neuralNetworkClassifier.stringClassLabels.vector[2:4] = [
        "p\u00e9ch\u00e9",
        "pe\u0301che\u0301",
    ]


def newer(ct, specification):
    specification.specificationVersion = 9


@pytest.mark.parametrize(
    ("change", "ending", "says"),
    [
        (rename("image", "photo"), ".mlpackage", "calls its picture 'photo'"),
        (rename("classLabelProbs", "p"), ".mlpackage", "calls its outputs .*helpers.coreml.name_outputs"),
        (newer, ".mlpackage", "newer system than iOS 17"),
        (without_image_input, ".mlmodel", r"one picture to give.*image_input_names"),
        (without_labels, ".mlmodel", "has no class labels"),
        (label(""), ".mlmodel", "label '', which cannot be used"),
        (label("100 %"), ".mlmodel", "it has '%' in it"),
        (label("two\nlines"), ".mlmodel", "in it"),
        (label(" cat"), ".mlmodel", "begins or ends with a space"),
        (label("x" * 201), ".mlmodel", "too long"),
        (label("\x85"), ".mlmodel", "in it"),
        (label("cat\u202egod"), ".mlmodel", r"it has '\\u202e' in it"),
        (accents, ".mlmodel", "how an accent is written"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(models, tmp_path, change, ending, says):
    path = changed(models, tmp_path, change, ending)
    with pytest.raises(ValueError, match=says):
        write_app(path, tmp_path / "AlexNetApp", threshold=0.6)
    assert [inside.name for inside in tmp_path.iterdir()] == [path.name]


def test_what_is_no_model_is_refused(models, tmp_path):
    with pytest.raises(ValueError, match="no Core ML model"):
        write_app(models / "a.onnx", tmp_path / "AlexNetApp", threshold=0.6)
    with pytest.raises(FileNotFoundError, match=r"none\.mlpackage"):
        write_app(models / "none.mlpackage", tmp_path / "AlexNetApp", threshold=0.6)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("alexnet", {}, "begin with a capital"),
        ("AlexNet App", {}, "no name for a Swift module"),
        ("Ünter", {}, "no name for a Swift module"),
        ("Camera", {}, "cannot be called Camera"),
        ("SwiftUI", {}, "cannot be called SwiftUI"),
        ("Foundation", {}, "cannot be called Foundation"),
        ("String", {}, "cannot be called String"),
        ("Testing", {}, "cannot be called Testing"),
        ("Error", {}, "cannot be called Error"),
        ("Result", {}, "cannot be called Result"),
        ("Swift", {}, "cannot be called Swift"),
        ("Array", {}, "cannot be called Array"),
        ("Good", {"threshold": 1.2}, "a number from 0 to 1"),
        ("Good", {"threshold": float("nan")}, "a number from 0 to 1"),
        ("Good", {"threshold": "0.5"}, "a number from 0 to 1"),
        ("Good", {"also": {"AlexNet.mlmodel": 1.2}}, "a number from 0 to 1"),
        ("Good", {"also": {"AlexNet.mlmodel": 0.6}}, "Two models are called AlexNet and AlexNet"),
        ("Good", {"also": {"AlexNet.mlpackage": 0.7}}, "Two models are called AlexNet and AlexNet"),
        ("Good", {"also": ["AlexNet.mlmodel"]}, r"also= is a dict, path → threshold, not \['AlexNet"),
        ("Good", {"also": {3: 0.6}}, "takes paths, and 3 is none"),
        ("Good", {"model": None}, "takes paths, and None is none. Save a model with coreml.save"),
        ("Good", {"folder": 3}, "takes paths, and 3 is none"),
        ("Good", {"bundle_prefix": "two words"}, "'two words' cannot begin an identifier"),
        ("Good", {"bundle_prefix": "org.张伟"}, "letters a to z"),
        ("Good", {"bundle_prefix": "org."}, "cannot begin an identifier"),
        ("Good", {"bundle_prefix": "-x"}, "cannot begin an identifier"),
        ("Good", {"bundle_prefix": ""}, "cannot begin an identifier"),
        ("Good", {"bundle_prefix": None}, "cannot begin an identifier"),
    ],
)
def test_names_and_numbers_that_cannot_be_used_are_refused(models, tmp_path, name, arguments, says):
    also = arguments.get("also")
    if isinstance(also, dict) and 3 not in also:
        arguments = {"also": {models / other: value for other, value in also.items()}}
    usual = {"model": models / "AlexNet.mlpackage", "folder": tmp_path / name, "threshold": 0.6}
    with pytest.raises(ValueError, match=says):
        write_app(**usual | arguments)
    assert not list(tmp_path.iterdir())


ODD = [
    "class",
    "self",
    "Self",
    "T-shirt/top",
    "猫",
    'say "cat"',
    "0: \\(nil)",
    "👩‍🚀",
    "🐈‍⬛",
    ".قطة" + "x" * 190,
]
"""Words that are Swift's own, in other writings, in quotes, with a part of Swift's own texts; pictures of several signs."""


def test_labels_of_any_writing_make_an_app(models, tmp_path):
    def named(ct, specification):
        specification.neuralNetworkClassifier.stringClassLabels.vector[:] = ODD

    write_app(
        changed(models, tmp_path, named, ".mlmodel"), tmp_path / "Good", threshold=0.6, chinese={"猫": "猫"}
    )
    strings = json.loads((tmp_path / "Good/Good/Labels.xcstrings").read_text(encoding="utf-8"))["strings"]
    assert list(strings) == ODD
    assert {key: units["zh-Hans"]["value"] for key, units in both_languages(strings)} == dict(
        zip(ODD, ODD, strict=True)
    )
    states = [each["localizations"]["zh-Hans"]["stringUnit"]["state"] for each in strings.values()]
    assert [key for key, state in zip(ODD, states, strict=True) if state == "translated"] == ["猫"]
    table = json.loads((tmp_path / "Good/GoodTests/reference.json").read_text(encoding="utf-8"))
    assert all(list(each["probabilities"]) == ODD for each in table["models"][0]["examples"])
    assert coreml_runtime.load(tmp_path / "Good/Good/changed.mlmodel").labels == ODD


def test_labels_as_imagenet_has_them_can_be_used_and_wait_for_a_translation(models, tmp_path):
    path = changed(models, tmp_path, label("jack-o'-lantern, pumpkin"), ".mlmodel")
    write_app(path, tmp_path / "Good", threshold=0.6)
    strings = json.loads((tmp_path / "Good/Good/Labels.xcstrings").read_text(encoding="utf-8"))["strings"]
    chinese = strings["jack-o'-lantern, pumpkin"]["localizations"]["zh-Hans"]["stringUnit"]
    assert chinese == {"state": "needs_review", "value": "jack-o'-lantern, pumpkin"}


def test_a_thousand_labels_in_chinese_make_an_app(tmp_path):
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3, 2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    names = [f"类别 {number}" for number in range(999)] + ["jack-o'-lantern, pumpkin"]
    export_onnx(
        torch.nn.Sequential(*layers, torch.nn.Linear(8, 1000)).eval(), tmp_path / "a.onnx", classes=names
    )
    converted = convert(
        tmp_path / "a.onnx", mode="classifier", image_input_names=["image"], class_labels=names
    )
    path = coreml.save(converted, tmp_path / "Many.mlmodel")
    write_app(path, tmp_path / "Good", threshold=0.6)
    strings = json.loads((tmp_path / "Good/Good/Labels.xcstrings").read_text(encoding="utf-8"))["strings"]
    assert list(strings) == names
    table = json.loads((tmp_path / "Good/GoodTests/reference.json").read_text(encoding="utf-8"))
    assert all(list(each["probabilities"]) == names for each in table["models"][0]["examples"])


def test_a_model_without_a_preview_gets_one_in_the_app(models, tmp_path):
    def forget(ct, specification):
        del specification.description.metadata.userDefined[coreml.PREVIEW]

    path = changed(models, tmp_path, forget)
    assert coreml.PREVIEW not in coreml.describe(path)["metadata"]
    write_app(path, tmp_path / "Good", threshold=0.6)
    assert (
        coreml.describe(tmp_path / "Good/Good/changed.mlpackage")["metadata"][coreml.PREVIEW]
        == "imageClassifier"
    )


def test_two_models_travel_together(models, tmp_path):
    shutil.copyfile(models / "AlexNet.mlmodel", tmp_path / "AlexNetCamera.mlmodel")
    second = {tmp_path / "AlexNetCamera.mlmodel": 0.7}
    write_app(
        models / "AlexNet.mlpackage", tmp_path / "Good", threshold=0.6, also=second, bundle_prefix="org.ada-l"
    )
    table = json.loads((tmp_path / "Good/GoodTests/reference.json").read_text(encoding="utf-8"))
    assert [(each["name"], each["threshold"]) for each in table["models"]] == [
        ("AlexNet", 0.6),
        ("AlexNetCamera", 0.7),
    ]
    for name, threshold in (("AlexNet.mlpackage", "0.6"), ("AlexNetCamera.mlmodel", "0.7")):
        assert coreml.describe(tmp_path / "Good/Good" / name)["metadata"]["threshold"] == threshold
    project = (tmp_path / "Good/Good.xcodeproj/project.pbxproj").read_text(encoding="utf-8")
    assert set(re.findall("PRODUCT_BUNDLE_IDENTIFIER = (.*);", project)) == {
        '"org.ada-l.Good"',
        '"org.ada-l.GoodTests"',
    }


def test_models_of_two_sizes_have_pictures_of_their_own(models):
    class Square(Wide):
        inputs: ClassVar = {"image": coreml_runtime.ImageInput("image", 24, 24, "RGB", (1, 3, 24, 24))}

        def probs(self, images):
            return torch.from_numpy(images.mean((2, 3))).softmax(1)

    files = ios_app.reference_files({"Wide": (Wide(models), 0.5), "Square": (Square(models), 0.5)})
    for listed, size in zip(json.loads(files["reference.json"])["models"], ((48, 32), (24, 24)), strict=True):
        for example in listed["examples"]:
            with Image.open(io.BytesIO(files[f"{example['picture']}.png"])) as picture:
                assert picture.size == size or (example.get("crop") and picture.width == size[0])


# -- the folder --------------------------------------------------------------------------------------


@pytest.fixture
def written(models, tmp_path):
    """A function that writes the app again, with another threshold if you like."""
    folder = tmp_path / "AlexNetApp"

    def write(threshold=0.6, overwrite=True):
        return write_app(models / "AlexNet.mlpackage", folder, threshold=threshold, overwrite=overwrite)

    write.folder = folder
    return write


def refused(written, says, **arguments):
    """The call is refused, and the folder is as before, with nothing left beside it."""
    before = everything(written.folder.parent)
    with pytest.raises(FileExistsError, match=says):
        written(**arguments)
    assert everything(written.folder.parent) == before


def test_a_folder_that_holds_something_is_left_alone(written):
    written.folder.mkdir()
    (written.folder / "diary.txt").write_text("mine")
    refused(written, "not empty", overwrite=False)
    written()
    refused(written, "not empty", overwrite=False)
    assert (written.folder / "diary.txt").read_text() == "mine"


def test_an_empty_folder_is_filled(written):
    written.folder.mkdir()
    written(overwrite=False)
    assert (written.folder / "AlexNetApp/App.swift").exists()


def test_a_second_call_replaces_what_changed_and_nothing_else(written):
    written()
    mine = written.folder / "AlexNetApp/Mine.swift"
    mine.write_text("// mine")
    date = (written.folder / "AlexNetApp/App.swift").stat().st_mtime_ns
    before = everything(written.folder)
    written(threshold=0.7)
    after = everything(written.folder)
    different = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {Path(name).name for name in different} == {".written.json", "model.mlmodel", "reference.json"}
    assert (written.folder / "AlexNetApp/App.swift").stat().st_mtime_ns == date
    assert mine.read_text() == "// mine"


def test_a_file_that_we_did_not_write_is_never_replaced(written):
    (written.folder / "AlexNetApp").mkdir(parents=True)
    (written.folder / "AlexNetApp/App.swift").write_text("// another project")
    refused(written, r"AlexNetApp/App\.swift was not written by write_app")


def test_an_edited_file_stays_unless_there_is_something_new_for_it(written, capsys):
    """Xcode writes the learner's team into the project file; a new model must not undo that."""
    written()
    project = written.folder / "AlexNetApp.xcodeproj/project.pbxproj"
    project.write_text(project.read_text().replace("Automatic;", "Automatic; DEVELOPMENT_TEAM = ABC;"))
    written(threshold=0.7)
    assert "DEVELOPMENT_TEAM" in project.read_text()
    assert "Kept as you edited it: AlexNetApp.xcodeproj/project.pbxproj" in capsys.readouterr().out
    written(threshold=0.8)
    assert "DEVELOPMENT_TEAM" in project.read_text()
    table = written.folder / "AlexNetAppTests/reference.json"
    table.write_text(table.read_text() + "\n")
    refused(written, r"reference\.json .*edited since", threshold=0.9)


def test_a_model_of_another_name_takes_the_old_one_away(written, models, tmp_path):
    written()
    shutil.copytree(models / "AlexNet.mlpackage", tmp_path / "Robust.mlpackage")
    write_app(tmp_path / "Robust.mlpackage", written.folder, threshold=0.6, overwrite=True)
    assert [path.name for path in (written.folder / "AlexNetApp").glob("*.mlpackage")] == ["Robust.mlpackage"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_refused(written, tmp_path, kind):
    if kind == "file":
        written.folder.write_text("a file")
    else:
        (tmp_path / "elsewhere").mkdir()
        written.folder.symlink_to(tmp_path / "elsewhere")
    refused(written, "not a folder")


def test_a_file_where_a_folder_has_to_be_is_refused(written):
    written.folder.mkdir()
    (written.folder / "AlexNetAppTests").write_text("a file")
    refused(written, "AlexNetAppTests was not written by write_app")


def test_a_link_in_the_folder_is_not_followed(written, tmp_path):
    written()
    outside = tmp_path / "outside.swift"
    outside.write_text("// outside")
    inside = written.folder / "AlexNetApp/App.swift"
    inside.unlink()
    inside.symlink_to(outside)
    refused(written, r"App\.swift")
    assert outside.read_text() == "// outside"


@pytest.mark.parametrize("content", ["no json", "[]", '{"../other.txt": "1"}', '{"/etc/hosts": "1"}'])
def test_a_damaged_list_of_what_was_written_is_not_trusted(written, content):
    written()
    (written.folder / ".written.json").write_text(content)
    refused(written, "Move")


CLOSED = {
    "a folder above that takes nothing new": (
        "..",
        0o555,
        "Cannot write .*/AlexNetApp: Permission denied.*write access",
    ),
    "the folder itself": (".", 0o555, "Cannot write .*/AlexNetApp: Permission denied.*write access"),
    "a folder inside": ("Sources", 0o555, "Cannot write .*/AlexNetApp: Permission denied.*write access"),
    "a file to write": (
        "Sources/b.txt",
        0o444,
        "Cannot write .*/AlexNetApp: Permission denied.*write access",
    ),
    "a file to compare": ("Sources/b.txt", 0, r"b\.txt cannot be read.*Give yourself read access, or choose"),
    "a folder to look into": ("Sources", 0, r"Sources/b\.txt cannot be read.*Give yourself read access, or"),
    "all of it": (".", 0, "AlexNetApp cannot be read.*Give yourself read access, or choose another folder"),
    "a learner's file": (
        "mine.txt",
        0,
        r"mine\.txt would be lost: it cannot be read\. Move it away, or choose",
    ),
}


@pytest.mark.parametrize("case", CLOSED)
def test_what_may_not_be_written_or_read_is_named_and_left_alone(tmp_path, ordinary_user, case):
    inside, mode, says = CLOSED[case]
    folder = tmp_path / "above/AlexNetApp"
    folder.parent.mkdir()
    ios_app.publish({"a.txt": b"one", "Sources/b.txt": b"one"}, folder, overwrite=False)
    (folder / "mine.txt").write_text("mine")
    before, place = everything(tmp_path), folder / inside
    usual = place.stat().st_mode
    place.chmod(mode)
    with pytest.raises(OSError, match=says) as raised:
        ios_app.publish({"Sources/b.txt": b"two", "Sources/c.txt": b"new"}, folder, overwrite=True)
    place.chmod(usual)
    assert "Errno" not in str(raised.value)
    assert everything(tmp_path) == before
    assert os.listdir(tmp_path / "above") == ["AlexNetApp"]


def test_a_folder_that_takes_nothing_new_gets_no_part_of_an_app(models, tmp_path, ordinary_user):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    says = (
        "Cannot write .*/closed/AlexNetApp: Permission denied. Give yourself write access, or choose another"
    )
    with pytest.raises(PermissionError, match=says):
        write_app(models / "AlexNet.mlpackage", closed / "AlexNetApp", threshold=0.6)
    assert os.listdir(closed) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mine", "mine would be lost: it is no ordinary file"),
        (".written.json", "cannot be read.*Move .* away"),
    ],
)
def test_a_pipe_in_the_folder_is_not_waited_for(tmp_path, name, says):
    folder = tmp_path / "AlexNetApp"
    ios_app.publish({"a.txt": b"one"}, folder, overwrite=False)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(FileExistsError, match=says):
        ios_app.publish({"a.txt": b"two"}, folder, overwrite=True)
    assert (folder / "a.txt").read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["AlexNetApp"]


def test_a_folder_above_that_is_missing_is_named(models, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_app(models / "AlexNet.mlpackage", tmp_path / "no/AlexNetApp", threshold=0.6)


def test_a_failure_in_the_middle_changes_nothing(tmp_path):
    """A name that no file system takes stops the writing when half is written."""
    folder = tmp_path / "AlexNetApp"
    ios_app.publish({"a.txt": b"one", "b.txt": b"one"}, folder, overwrite=False)
    before = everything(tmp_path)
    with pytest.raises(OSError, match="too long"):
        ios_app.publish({"a.txt": b"two", "x" * 300: b"", "b.txt": b"two"}, folder, overwrite=True)
    assert everything(tmp_path) == before
    assert os.listdir(tmp_path) == ["AlexNetApp"]


def test_a_call_that_was_killed_between_its_last_steps_is_made_good(tmp_path):
    folder = tmp_path / "AlexNetApp"
    ios_app.publish({"a.txt": b"one"}, folder, overwrite=False)
    (folder / "mine.txt").write_text("mine")
    aside = tmp_path / f"{paths.PARTIAL}of-a-killed-program" / paths.ASIDE
    aside.mkdir(parents=True)
    folder.rename(aside / "AlexNetApp")
    ios_app.publish({"a.txt": b"two"}, folder, overwrite=True)
    assert (folder / "a.txt").read_bytes() == b"two"
    assert (folder / "mine.txt").read_text() == "mine"
    assert os.listdir(tmp_path) == ["AlexNetApp"]


def test_the_tree_shows_every_file_once(project):
    drawn = ios_app.tree(project)
    for name in everything(project):
        if ".mlpackage/" not in name and not Path(name).name.startswith("."):
            assert drawn.count(f" {Path(name).name} ") == 1 or Path(name).name == "Contents.json", name
    with pytest.raises(FileNotFoundError, match="Run write_app first"):
        ios_app.tree(project / "nothing")


# -- the workflow ------------------------------------------------------------------------------------


def test_the_workflow_for_a_mac_asks_for_what_is_there():
    """It cannot run here. But the notebooks, the project and the scheme that it names exist."""
    workflow = yaml.safe_load((paths.ROOT / ".github/workflows/ios.yml").read_text(encoding="utf-8"))
    commands = "\n".join(step.get("run", "") for step in workflow["jobs"]["mac"]["steps"])
    (numbers,) = re.findall(r"helpers\.workshop\.run ([\d ]+)$", commands, re.M)
    notebooks = [next(paths.ROOT.glob(f"notebooks/{number}_*.ipynb")) for number in numbers.split()]
    (project, scheme) = re.findall(r"-project artifacts/(\S+) -scheme (\S+)", commands)[0]
    assert project == f"{scheme}/{scheme}.xcodeproj"
    assert f'paths.artifacts_dir() / "{scheme}"' in notebooks[-1].read_text(encoding="utf-8").replace(
        '\\"', '"'
    )


def test_the_workflow_asks_core_ml_on_every_part_of_the_chip(project):
    workflow = yaml.safe_load((paths.ROOT / ".github/workflows/ios.yml").read_text(encoding="utf-8"))
    (asked,) = [step["run"] for step in workflow["jobs"]["mac"]["steps"] if "python" in step.get("shell", "")]
    compile(asked, "ios.yml", "exec")
    (model,) = re.findall(r'load\("artifacts/AlexNetApp/(\S+)",', asked)
    assert (project / model).with_suffix("") == model_in(project).with_suffix("")
    assert set(re.findall(r'"([A-Z_]+)"', asked)) == set(coreml_runtime.loaded.COMPUTE_UNITS)
    assert {unit.name for unit in coremltools().ComputeUnit} == set(coreml_runtime.loaded.COMPUTE_UNITS)
    with pytest.raises(ValueError, match="compute_unit='GPU': choose 'ALL'"):
        coreml_runtime.load(model_in(project), compute_unit="GPU")


def test_the_workflow_finds_a_simulator_in_apple_s_list():
    """Its pattern, put to a list as ``xcrun simctl list devices available`` prints it."""
    source = (paths.ROOT / ".github/workflows/ios.yml").read_text(encoding="utf-8")
    first, second = re.findall(r"grep (?:-m1 )?-oE '([^']+)'", source)
    listed = (
        "== Devices ==\n-- iOS 18.5 --\n"
        "    iPad Air 11-inch (M3) (5A9B1C7E-0000-4000-8000-000000000001) (Shutdown) \n"
        "    iPhone 16 Pro (5A9B1C7E-0000-4000-8000-000000000002) (Shutdown) \n"
        "    iPhone SE (3rd generation) (5A9B1C7E-0000-4000-8000-000000000003) (Shutdown) \n"
    )
    found = subprocess.run(
        ["bash", "-c", f"grep -m1 -oE '{first}' | grep -oE '{second}'"],
        input=listed,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "5A9B1C7E-0000-4000-8000-000000000002"
