"""Reads an ML program (``.mlpackage``): operators, constants and compressed weights."""

import inspect
import math

import numpy as np
import torch

from . import operators as op
from .archive import ON_A_MAC, Archive, NotCovered, Unfit, unpack_bits
from .graph import Name, Step, half

OPERATORS = {
    "abs": lambda x: torch.abs(x),
    "acos": lambda x: torch.acos(x),
    "add": op.add,
    "argsort": op.argsort,
    "asin": lambda x: torch.asin(x),
    "atan": lambda x: torch.atan(x),
    "atanh": lambda x, epsilon=0.0: torch.atanh(x),
    "avg_pool": op.avg_pool,
    "band_part": op.band_part,
    "batch_norm": op.batch_norm,
    "cast": op.cast,
    "ceil": lambda x: torch.ceil(x),
    "clamped_relu": op.clamped_relu,
    "clip": op.clip,
    "concat": op.concat,
    "conv": op.conv,
    "conv_transpose": op.conv_transpose,
    "cos": lambda x: torch.cos(x),
    "cosh": lambda x: torch.cosh(x),
    "crop": op.crop,
    "cumsum": op.cumsum,
    "depth_to_space": op.depth_to_space,
    "einsum": op.einsum,
    "elu": op.elu,
    "equal": op.equal,
    "erf": lambda x: torch.erf(x),
    "exp": lambda x: torch.exp(x),
    "exp2": lambda x: torch.exp2(x),
    "expand_dims": op.expand_dims,
    "fill": op.fill,
    "fill_like": op.fill_like,
    "flatten2d": op.flatten2d,
    "floor": lambda x: torch.floor(x),
    "floor_div": op.floor_div,
    "gather": op.gather,
    "gather_along_axis": op.gather_along_axis,
    "gather_nd": op.gather_nd,
    "gelu": op.gelu,
    "greater": op.greater,
    "greater_equal": op.greater_equal,
    "identity": lambda x: op.as_tensor(x),
    "instance_norm": op.instance_norm,
    "inverse": op.inverse,
    "l2_norm": op.l2_norm,
    "l2_pool": op.l2_pool,
    "layer_norm": op.layer_norm,
    "leaky_relu": op.leaky_relu,
    "less": op.less,
    "less_equal": op.less_equal,
    "linear": op.linear,
    "linear_activation": op.linear_activation,
    "local_response_norm": op.local_response_norm,
    "log": op.log,
    "logical_and": op.logical_and,
    "logical_not": lambda x: torch.logical_not(x),
    "logical_or": op.logical_or,
    "logical_xor": op.logical_xor,
    "lstm": op.lstm,
    "matmul": op.matmul,
    "max_pool": op.max_pool,
    "maximum": op.maximum,
    "minimum": op.minimum,
    "mod": op.mod,
    "mul": op.mul,
    "not_equal": op.not_equal,
    "one_hot": op.one_hot,
    "pad": op.pad,
    "pixel_shuffle": op.pixel_shuffle,
    "pixel_unshuffle": op.pixel_unshuffle,
    "pow": op.power,
    "prelu": op.prelu,
    "range_1d": op.range_1d,
    "real_div": op.real_div,
    "reduce_argmax": op.reduce_argmax,
    "reduce_argmin": op.reduce_argmin,
    "reduce_l1_norm": op.reduce_l1_norm,
    "reduce_l2_norm": op.reduce_l2_norm,
    "reduce_log_sum": op.reduce_log_sum,
    "reduce_log_sum_exp": op.reduce_log_sum_exp,
    "reduce_max": op.reduce_max,
    "reduce_mean": op.reduce_mean,
    "reduce_min": op.reduce_min,
    "reduce_prod": op.reduce_prod,
    "reduce_sum": op.reduce_sum,
    "reduce_sum_square": op.reduce_sum_square,
    "relu": lambda x: torch.relu(x),
    "relu6": op.relu6,
    "resample": op.resample,
    "reshape": op.reshape,
    "resize_bilinear": op.resize_bilinear,
    "resize_nearest_neighbor": op.resize_nearest_neighbor,
    "reverse": op.reverse,
    "round": lambda x: torch.round(x),
    "rsqrt": op.rsqrt,
    "scaled_dot_product_attention": op.scaled_dot_product_attention,
    "scaled_tanh": op.scaled_tanh,
    "scatter": op.scatter,
    "scatter_along_axis": op.scatter_along_axis,
    "scatter_nd": op.scatter_nd,
    "select": op.select,
    "shape": op.shape,
    "sigmoid": lambda x: torch.sigmoid(x),
    "sigmoid_hard": op.sigmoid_hard,
    "sign": lambda x: torch.sign(x),
    "silu": lambda x: x * torch.sigmoid(x),
    "sin": lambda x: torch.sin(x),
    "sinh": lambda x: torch.sinh(x),
    "slice_by_index": op.slice_by_index,
    "slice_by_size": op.slice_by_size,
    "softmax": op.softmax,
    "softplus": op.softplus,
    "softplus_parametric": op.softplus_parametric,
    "softsign": lambda x: x / (1 + torch.abs(x)),
    "space_to_depth": op.space_to_depth,
    "split": op.split,
    "sqrt": lambda x: torch.sqrt(x),
    "square": lambda x: x * x,
    "squeeze": op.squeeze,
    "stack": op.stack,
    "sub": op.sub,
    "tan": lambda x: torch.tan(x),
    "tanh": lambda x: torch.tanh(x),
    "threshold": op.threshold,
    "thresholded_relu": op.thresholded_relu,
    "tile": op.tile,
    "topk": op.topk,
    "transpose": op.transpose,
    "upsample_bilinear": op.upsample_bilinear,
    "upsample_nearest_neighbor": op.upsample_nearest_neighbor,
}
"""Every operator of ML programs that is covered; any other is refused by name."""

# NumPy types; whole bytes only.
_TYPES = {
    "BOOL": np.bool_,
    "FLOAT16": np.float16,
    "FLOAT32": np.float32,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
}

# Types of less than a byte: bits, and whether they have a sign.
_SMALL_TYPES = {
    "INT4": (4, True),
    "UINT1": (1, False),
    "UINT2": (2, False),
    "UINT3": (3, False),
    "UINT4": (4, False),
    "UINT6": (6, False),
}


def _kind(dtype: str) -> str | None:
    """What values of a declared type are: "float", "integer" or "bool"."""
    if dtype.startswith("FLOAT"):
        return "float"
    return {"BOOL": "bool", "": None}.get(dtype, "integer")


class ProgramReader:
    """Turns the main function of an ML program into steps.

    Args:
        archive: the opened model.
        precision: "stored", "float32" or "float16"; see ``load``.

    Attributes:
        steps: the operators in order.
        probabilities: the name of the tensor that ``classify`` reads, None without a classifier.
        input_shapes: for each input of the function its declared shape.
        float16_inputs: the names of the inputs that are float16.
        integer_inputs: the names of the inputs that are whole numbers.
        labels: the class labels in the order of that tensor, None without a classifier.
        class_outputs: the names of the label and of the dictionary of probabilities.
        outputs: the names of the function's outputs.

    Raises:
        ValueError: an operator is not covered, or a value is not what its declaration says.
    """

    def __init__(self, archive: Archive, precision: str):
        self._archive = archive
        self._precision = precision
        self._constants = {}
        self.steps = []
        self.probabilities = self.labels = self.class_outputs = None
        program = archive.specification.mlProgram
        name = archive.specification.description.defaultFunctionName or "main"
        if name not in program.functions:
            raise archive.error(f"its program has no function '{name}'")
        function = program.functions[name]
        if function.opset not in function.block_specializations:
            raise archive.error(f"its program has no block for the operator set '{function.opset}'")
        block = function.block_specializations[function.opset]
        declared = {i.name: self._declared(i.type) for i in function.inputs}
        self.input_shapes = {name: shape for name, (_, shape) in declared.items()}
        self.float16_inputs = {name for name, (dtype, _) in declared.items() if dtype == "FLOAT16"}
        self.integer_inputs = {name for name, (dtype, _) in declared.items() if _kind(dtype) == "integer"}
        for operation in block.operations:
            name = operation.outputs[0].name if operation.outputs else "?"
            where = f"the operator '{operation.type}' called '{name}'"
            with archive.reading(where):
                self._read(operation, name, where)
        self.outputs = list(block.outputs)
        for name in self.outputs:
            if name in self._constants:
                raise archive.error(f"its output '{name}' is a constant", "There is nothing to run.")

    def _read(self, operation, name, where):
        """One operation of the block: a constant, a compressed constant, ``classify`` or a step."""
        kind = operation.type
        constant = kind.startswith("constexpr_") and kind.removeprefix("constexpr_") in _DECODERS
        if operation.blocks or not (constant or kind in OPERATORS or kind in ("const", "classify")):
            raise self._archive.error(f"{where} is not covered", ON_A_MAC)
        if kind == "const":
            self._define(name, self._value(operation.attributes["val"], name))
            return
        inputs = {key: self._argument(key, value, where) for key, value in operation.inputs.items()}
        if constant:
            inputs |= {
                key: self._value(value, name) for key, value in operation.attributes.items() if key != "name"
            }
            self._decode(operation, kind.removeprefix("constexpr_"), inputs, where)
        elif kind == "classify":
            self._classify(operation, inputs, where)
        else:
            parameters = {key: self._bind(value, key) for key, value in inputs.items()}
            self._check_arguments(OPERATORS[kind], parameters, where)
            types = [self._declared(output.type) for output in operation.outputs]
            rounds = [
                self._precision == "float16" or (self._precision == "stored" and dtype == "FLOAT16")
                for dtype, _ in types
            ]
            names = [output.name for output in operation.outputs]
            for name in names:
                self._refuse_second(name)
            shapes = [shape for _, shape in types]
            kinds = [_kind(dtype) for dtype, _ in types]
            self.steps.append(Step(kind, name, OPERATORS[kind], [], parameters, names, shapes, rounds, kinds))

    def _check_arguments(self, function, parameters, where):
        """The operator takes what the file gives it, and gets what it needs."""
        known = inspect.signature(function).parameters
        for name in parameters.keys() - known.keys():
            raise self._archive.refuse(where, NotCovered(f"its argument '{name}'"))
        for name, parameter in known.items():
            if parameter.default is parameter.empty and name not in parameters:
                raise self._archive.error(f"{where} has no value for '{name}'")

    def _argument(self, key, argument, where):
        """One input: a ``Name``, a constant (NumPy or str), or a list of these."""
        found = []
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "name":
                found.append(self._constants.get(binding.name, Name(binding.name)))
            else:
                found.append(self._value(binding.value, f"{key} of {where}"))
        if not found:
            raise self._archive.error(f"{where} has no value for '{key}'")
        # Only these take a list, and coremltools writes a list of one like a single value.
        return found if key == "values" or len(found) > 1 else found[0]

    def _bind(self, value, key):
        """A constant as the operators want it: numbers, strings and lists of integers, else float tensors."""
        if isinstance(value, list):
            return [self._bind(item, key) for item in value]
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype.kind == "f":
            if value.ndim == 0:
                rounded = self._precision == "float16" and not key.startswith("scale_factor")  # a size
                return half(float(value)) if rounded else float(value)
            return torch.from_numpy(self._rounded(value))
        return value.tolist() if value.ndim <= 1 else torch.from_numpy(value.astype(np.int64))

    def _rounded(self, value):
        """A weight as float32, rounded to float16 before if that precision was asked for."""
        if self._precision == "float16":
            with np.errstate(over="ignore"):
                value = value.astype(np.float16)
        return np.array(value, np.float32, order="C")

    def _refuse_second(self, name):
        if name in self._constants:
            raise self._archive.error(f"the name '{name}' is made twice")

    def _define(self, name, value):
        self._refuse_second(name)
        self._constants[name] = value

    def _classify(self, operation, inputs, where):
        """Note where the probabilities come from and what their labels are; Core ML does the rest."""
        probabilities, classes = inputs.get("probabilities"), inputs.get("classes")
        if not isinstance(probabilities, Name) or isinstance(classes, Name) or classes is None:
            raise self._archive.error(f"{where} lacks its probabilities or its classes")
        if len(operation.outputs) != 2 or self.probabilities is not None:
            raise self._archive.error(f"{where} is not the one classifier with two outputs")
        self.probabilities = probabilities
        self.labels = classes.tolist() if isinstance(classes, np.ndarray) else [str(c) for c in classes]
        self.class_outputs = tuple(output.name for output in operation.outputs)

    # Types and values

    def _declared(self, value_type) -> tuple[str, tuple | None]:
        """The type's name and the shape that the file declares; an open dimension is None."""
        from coremltools.proto import MIL_pb2

        if value_type.WhichOneof("type") != "tensorType":
            return "", None
        tensor = value_type.tensorType
        shape = tuple(
            dimension.constant.size if dimension.WhichOneof("dimension") == "constant" else None
            for dimension in tensor.dimensions
        )
        try:
            return MIL_pb2.DataType.Name(tensor.dataType), shape
        except ValueError:
            raise self._archive.error(f"the data type {tensor.dataType} is unknown") from None

    def _value(self, value, what):
        """A constant of the file: NumPy array, or str, or a list of labels.

        Raises:
            ValueError: there are more or fewer values than its declared shape needs.
        """
        if value.type.WhichOneof("type") == "listType":
            items = value.immediateValue.list.values
            self._archive.take(len(items), 64, what)
            values = [self._value(item, what) for item in items]
            return [item.item() if isinstance(item, np.ndarray) else item for item in values]
        dtype, shape = self._declared(value.type)
        if shape is None or None in shape:
            raise self._archive.error(f"the constant '{what}' has no fixed shape")
        count = math.prod(shape)
        if dtype == "STRING":
            return self._strings(value, shape, count, what)
        if dtype in _SMALL_TYPES:
            size = math.ceil(count * _SMALL_TYPES[dtype][0] / 8)
        elif dtype in _TYPES:
            size = count * np.dtype(_TYPES[dtype]).itemsize
        else:
            raise self._archive.error(
                f"the constant '{what}' has the type {dtype or 'unknown'}, which is not covered", ON_A_MAC
            )
        # Weights are computed with as float32, so that is what they take.
        self._archive.take(count, 4, what)
        if value.WhichOneof("value") == "blobFileValue":
            blob = value.blobFileValue
            return self._from_bytes(self._archive.read_blob(blob.fileName, blob.offset, size), dtype, shape)
        tensor = value.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        stored = getattr(tensor, kind).values if kind else []
        if len(stored) != (size if kind == "bytes" else count):
            raise self._archive.error(
                f"the constant '{what}' has {len(stored)} values, its declared shape {shape} needs {count}"
            )
        if kind == "bytes":
            return self._from_bytes(stored, dtype, shape)
        if kind == "strings" or dtype in _SMALL_TYPES:
            raise self._archive.error(f"the constant '{what}' is stored as {kind}, declared as {dtype}")
        return np.array(stored).astype(_TYPES[dtype]).reshape(shape)

    def _strings(self, value, shape, count, what):
        stored = value.immediateValue.tensor.strings.values
        if len(stored) != count:
            raise self._archive.error(f"the constant '{what}' has {len(stored)} strings instead of {count}")
        return list(stored) if shape else str(stored[0])

    @staticmethod
    def _from_bytes(content, dtype, shape):
        """An array from its bytes; numbers of less than a byte are unpacked."""
        if dtype not in _SMALL_TYPES:
            return np.frombuffer(content, _TYPES[dtype]).reshape(shape)
        bits, signed = _SMALL_TYPES[dtype]
        numbers = unpack_bits(np.frombuffer(content, np.uint8), bits, math.prod(shape)).reshape(shape)
        if not signed:
            return numbers
        return (numbers.astype(np.int8) ^ (1 << (bits - 1))) - np.int8(1 << (bits - 1))

    # Compressed weights

    def _decode(self, operation, kind, inputs, where):
        """A compressed weight, decoded by coremltools once its size is known to be right."""
        if any(isinstance(value, Name) for value in inputs.values()):
            raise self._archive.error(f"{where} reads something that is no constant")
        shapes = [self._declared(output.type)[1] for output in operation.outputs]
        size = _decoded_size(kind, inputs)
        self._archive.take(size, 4, where)
        result = _DECODERS[kind](inputs)
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != len(shapes):
            raise self._archive.error(f"{where} has {len(shapes)} outputs instead of {len(results)}")
        for output, value, shape in zip(operation.outputs, results, shapes, strict=True):
            if value.shape != shape:
                raise self._archive.error(
                    f"{where} decodes to the shape {value.shape}, the file declares {shape}"
                )
            self._define(output.name, value)


def _decoded_size(kind, inputs) -> int:
    """How many numbers a compressed weight decodes to, worked out from what is stored.

    Raises:
        ValueError: the parts do not belong together.
    """
    if "shape" in inputs:
        count = math.prod(int(size) for size in inputs["shape"])
        packed = inputs["indices"] if kind == "lut_to_dense" else inputs["mask"]
        bits = int(math.log2(inputs["lut"].size)) if kind == "lut_to_dense" else 1
        if kind == "lut_to_dense" and inputs["lut"].size not in (2, 4, 16, 64, 256):
            raise Unfit(f"a table of {inputs['lut'].size} values")
        if packed.size != math.ceil(count * bits / 8):
            raise Unfit(f"{packed.size} bytes do not hold {count} numbers of {bits} bits")
        return count
    main = {
        "affine_dequantize": "quantized_data",
        "blockwise_shift_scale": "data",
        "cast": "source_val",
        "lut_to_dense": "indices",
        "lut_to_sparse": "indices_mask",
        "sparse_blockwise_shift_scale": "data_mask",
        "sparse_to_dense": "mask",
    }
    count = inputs[main[kind]].size
    return count * inputs["lut"].shape[-1] if kind.startswith("lut") else count


def _affine_dequantize(inputs):
    """8-bit numbers: scale · (data - zero point)."""
    from coremltools.converters.mil.mil.ops.defs.iOS16.constexpr_ops import constexpr_affine_dequantize

    return constexpr_affine_dequantize.decompress(
        inputs["quantized_data"], inputs["zero_point"], inputs["scale"], int(inputs["axis"])
    )


def _blockwise_shift_scale(inputs):
    """4- or 8-bit numbers with a scale per block."""
    from coremltools.converters.mil.mil.ops.defs.iOS18.compression import constexpr_blockwise_shift_scale

    data, scale = inputs["data"], inputs["scale"]
    if data.ndim != scale.ndim or any(d % s for d, s in zip(data.shape, scale.shape, strict=True)):
        raise Unfit(f"scales of shape {scale.shape} do not divide data of shape {data.shape}")
    return constexpr_blockwise_shift_scale.decompress(data, scale, inputs.get("offset"))


def _lut_to_dense(inputs):
    """Indices into a table of values (palettised weights)."""
    from coremltools.converters.mil.mil.ops.defs.iOS18.compression import constexpr_lut_to_dense

    if "shape" in inputs:  # iOS 16: packed indices, one table
        indices = unpack_bits(
            inputs["indices"], int(math.log2(inputs["lut"].size)), math.prod(int(s) for s in inputs["shape"])
        )
        return inputs["lut"][indices].reshape([int(s) for s in inputs["shape"]])
    axis = inputs.get("vector_axis")
    return constexpr_lut_to_dense.decompress(
        inputs["indices"], inputs["lut"], None if axis is None else int(axis)
    )


def _sparse_to_dense(inputs):
    """The values that are not zero, and a mask that says where they go."""
    mask, values = inputs["mask"], inputs["nonzero_data"]
    if "shape" in inputs:  # iOS 16: a packed mask
        shape = [int(size) for size in inputs["shape"]]
        mask = unpack_bits(mask, 1, math.prod(shape)).reshape(shape)
    if int(np.count_nonzero(mask)) != values.size:
        raise Unfit(f"the mask has room for {np.count_nonzero(mask)} values, {values.size} are stored")
    dense = np.zeros(mask.shape, values.dtype)
    dense[mask != 0] = values
    return dense


def _lut_to_sparse(inputs):
    """Indices into a table for the values that are not zero: a mask and those values."""
    mask, vector = inputs["indices_mask"], inputs["lut"].shape[-1]
    indices = _sparse_to_dense({"mask": mask, "nonzero_data": inputs["indices_nonzero_data"]})
    dense = _lut_to_dense({**inputs, "indices": indices})
    mask = np.repeat(mask, vector, int(inputs["vector_axis"])) if vector > 1 else mask
    return mask, dense[mask != 0]


def _sparse_blockwise_shift_scale(inputs):
    """4- or 8-bit numbers for the values that are not zero: a mask and those values."""
    mask = inputs["data_mask"]
    data = _sparse_to_dense({"mask": mask, "nonzero_data": inputs["nonzero_data"]})
    return mask, _blockwise_shift_scale({**inputs, "data": data})[mask != 0]


def _cast(inputs):
    """float16 as float32."""
    return inputs["source_val"].astype(np.float32)


_DECODERS = {
    "affine_dequantize": _affine_dequantize,
    "blockwise_shift_scale": _blockwise_shift_scale,
    "cast": _cast,
    "lut_to_dense": _lut_to_dense,
    "lut_to_sparse": _lut_to_sparse,
    "sparse_blockwise_shift_scale": _sparse_blockwise_shift_scale,
    "sparse_to_dense": _sparse_to_dense,
}
