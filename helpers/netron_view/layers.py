"""What a reader makes of a model file: the text of its drawing, and the bytes that travel with the page."""

import dataclasses
import hashlib
import json


@dataclasses.dataclass(frozen=True)
class Layer:
    """One node of the graph. Shapes are text like ``"1×64×16×16"``, or ``""`` where the file has none."""

    name: str
    operator: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    shape: str = ""
    weights: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Graph:
    """What the drawing of a model shows, as text."""

    kind: str
    inputs: tuple[tuple[str, str], ...]
    """Name and shape of each input of the model."""
    outputs: tuple[tuple[str, str], ...]
    layers: tuple[Layer, ...]

    @property
    def parts(self) -> int:
        """How much there is to draw: the layers, and the lines and names that meet in them."""
        return sum(1 + len(x.inputs) + len(x.outputs) + len(x.weights) for x in self.layers)

    def key(self) -> str:
        """Sixteen hex digits: the same for the same graph, however it was trained and named on disk."""
        text = json.dumps(dataclasses.asdict(self), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model file as it goes into a page."""

    identifier: str
    """The name of the file, by which Netron tells the format."""
    format: str
    """One of ``page.FORMATS``."""
    files: dict[str, bytes]
    """What the page carries: one file, or those of a folder, without the weights."""
    hollow: dict[str, int]
    """Records of an archive that were left out, and the length in bytes that each had."""
    operators: dict
    """The operators in use, as the metadata of the format names them; for ONNX with their opset."""
    graph: Graph
    size: int
    """Bytes on disk, weights in side files included."""
    folder: bool = False

    @property
    def left_out(self) -> int:
        """Bytes that do not travel with the page."""
        return max(0, self.size - sum(len(content) for content in self.files.values()))
