"""Each operator of the runtime against torch or NumPy, through a saved file of each format.

One program holds all cases, each as an output of its own, so that a format is converted once.
"""

import importlib
import pkgutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from helpers import coreml_runtime
from helpers.coreml_runtime import layers, operators
from helpers.coreml_runtime.layers import LAYERS
from helpers.coreml_runtime.operators import OPERATORS
from helpers.plumbing.quiet import coremltools, quiet

ct = coremltools()
mb = ct.converters.mil.Builder

SHAPE = (1, 4, 6, 5)
X = torch.linspace(-2, 2, 120).mul(7).sin().mul(1.9).reshape(SHAPE)
OTHER = torch.linspace(-1, 3, 120).cos().add(1.5).reshape(SHAPE)
ROUNDED = X.round()
KERNEL = torch.linspace(-1, 1, 4 * 3 * 3 * 2).cos().reshape(4, 3, 3, 2)
CUBE = torch.linspace(-1, 1, 2 * 2 * 2 * 2 * 2).sin().reshape(2, 2, 2, 2, 2)
HUGE = torch.tensor([1.0, 1e8, 1.0, 1.0, 1.0])
TABLE = np.arange(12, dtype=np.float32).reshape(4, 3) ** 2


def constant(tensor):
    return tensor.numpy()


def unit(x):
    """Values between -0.9 and 0.9, for arcs."""
    return mb.mul(x=mb.tanh(x=x), y=0.9)


def positive(x):
    return mb.add(x=mb.abs(x=x), y=1.25)


def whole(x):
    return mb.cast(x=mb.round(x=x), dtype="int32")


def true(x):
    """Where x is positive, as truth values."""
    return mb.greater(x=x, y=0.0)


U, P = X.tanh() * 0.9, X.abs() + 1.25
INDICES = np.array([[2, 0], [3, 3]], np.int32)
ALONG = torch.arange(120).reshape(SHAPE) * 7 % 6  # along the third dimension


def lstm(seed, inputs, hidden):
    torch.manual_seed(seed)
    return torch.nn.LSTM(inputs, hidden, bidirectional=True)


def ifoz(tensor):
    """torch's order of the gates (input, forget, cell, output) as Core ML's."""
    i, f, z, o = tensor.detach().chunk(4)
    return torch.cat([i, f, o, z]).numpy()


LSTM = lstm(0, 5, 3)
WEIGHTS = {name: value.detach() for name, value in LSTM.named_parameters()}


def way(back=""):
    suffix = "_reverse" if back else ""
    return {
        f"weight_ih{back}": ifoz(WEIGHTS[f"weight_ih_l0{suffix}"]),
        f"weight_hh{back}": ifoz(WEIGHTS[f"weight_hh_l0{suffix}"]),
        f"bias{back}": ifoz(WEIGHTS[f"bias_ih_l0{suffix}"] + WEIGHTS[f"bias_hh_l0{suffix}"]),
    }


def steps(x):
    """Six steps of a batch of four with five inputs."""
    return mb.transpose(x=mb.squeeze(x=x, axes=[0]), perm=[1, 0, 2])


def both_ways(x, which):
    state = {f"initial_{s}": np.full((4, 6), 0.1, np.float32) for s in "hc"}
    parts = {**state, **way(), **way("_back")}
    return mb.lstm(x=steps(x), direction="bidirectional", output_sequence=True, **parts)[which]


def one_way(x, direction, which=0, every=True):
    state = {f"initial_{s}": np.zeros((4, 3), np.float32) for s in "hc"}
    return mb.lstm(x=steps(x), direction=direction, output_sequence=every, **state, **way())[which]


def torch_lstm(which):
    sequence, states = LSTM(X[0].permute(1, 0, 2), tuple(torch.full((2, 4, 3), 0.1) for _ in range(2)))
    return sequence if which == 0 else torch.cat([*states[which - 1]], 1)


def torch_one_way(backwards):
    one = torch.nn.LSTM(5, 3)
    one.load_state_dict({name: value for name, value in WEIGHTS.items() if "reverse" not in name})
    x = X[0].permute(1, 0, 2)
    return one(x.flip(0) if backwards else x)


def block(x):
    return mb.slice_by_index(x=x, begin=[0, 0, 0, 0], end=[1, 4, 6, 4])


# name: (how to build it from x, what comes out of it)
CASES = {
    # one value at a time
    **{
        name: (lambda x, name=name: getattr(mb, name)(x=x), getattr(torch, name)(X))
        for name in (
            *("abs", "atan", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor"),
            *("relu", "round", "sigmoid", "sign", "sin", "sinh", "tan", "tanh"),
        )
    },
    **{
        name: (lambda x, name=name: getattr(mb, name)(x=unit(x)), getattr(torch, name)(U))
        for name in ["acos", "asin", "atanh"]
    },
    "inverse": (lambda x: mb.inverse(x=positive(x), epsilon=0.5), 1 / (P + 0.5)),
    "log": (lambda x: mb.log(x=positive(x)), P.log()),
    "rsqrt": (lambda x: mb.rsqrt(x=positive(x), epsilon=1e-12), P.rsqrt()),
    "sqrt": (lambda x: mb.sqrt(x=positive(x)), P.sqrt()),
    "square": (lambda x: mb.square(x=x), X * X),
    "silu": (lambda x: mb.silu(x=x), F.silu(X)),
    "softplus": (lambda x: mb.softplus(x=x), F.softplus(X)),
    "softsign": (lambda x: mb.softsign(x=x), F.softsign(X)),
    "elu": (lambda x: mb.elu(x=x, alpha=0.7), F.elu(X, 0.7)),
    "leaky_relu": (lambda x: mb.leaky_relu(x=x, alpha=0.2), F.leaky_relu(X, 0.2)),
    "linear_activation": (lambda x: mb.linear_activation(x=x, alpha=2.0, beta=-1.0), 2 * X - 1),
    "scaled_tanh": (lambda x: mb.scaled_tanh(x=x, alpha=1.5, beta=0.5), 1.5 * (0.5 * X).tanh()),
    "sigmoid_hard": (lambda x: mb.sigmoid_hard(x=x, alpha=0.3, beta=0.4), (0.3 * X + 0.4).clamp(0, 1)),
    "clip": (lambda x: mb.clip(x=x, alpha=-0.5, beta=1.0), X.clamp(-0.5, 1)),
    "clamped_relu": (
        lambda x: mb.clamped_relu(x=x, alpha=0.2, beta=1.0),
        F.leaky_relu(X, 0.2).clamp(max=1.0),
    ),
    "relu6": (lambda x: mb.relu6(x=mb.mul(x=x, y=5.0)), F.relu6(X * 5)),
    "threshold": (lambda x: mb.threshold(x=x, alpha=0.3), X.clamp(min=0.3)),
    "prelu": (
        lambda x: mb.prelu(x=x, alpha=np.array([0.1, 0.2, 0.3, 0.4], np.float32)),
        F.prelu(X, torch.tensor([0.1, 0.2, 0.3, 0.4])),
    ),
    "cast": (lambda x: mb.cast(x=mb.mul(x=x, y=3.0), dtype="int32"), (X * 3).trunc()),
    # two sides
    "floor_div": (lambda x: mb.floor_div(x=x, y=constant(OTHER)), torch.floor(X / OTHER)),
    "mod": (lambda x: mb.mod(x=x, y=constant(OTHER)), torch.remainder(X, OTHER)),
    "pow": (lambda x: mb.pow(x=positive(x), y=constant(OTHER)), P**OTHER),
    "real_div": (lambda x: mb.real_div(x=x, y=constant(OTHER)), X / OTHER),
    "maximum": (lambda x: mb.maximum(x=x, y=constant(OTHER)), torch.maximum(X, OTHER)),
    "minimum": (lambda x: mb.minimum(x=x, y=0.5), X.clamp(max=0.5)),
    "whole numbers": (
        lambda x: mb.add(x=mb.mul(x=whole(x), y=np.int32(3)), y=mb.floor_div(x=whole(x), y=np.int32(2))),
        ROUNDED * 3 + torch.floor(ROUNDED / 2),
    ),
    "equal": (lambda x: mb.equal(x=mb.round(x=x), y=1.0), ROUNDED == 1),
    "not_equal": (lambda x: mb.not_equal(x=mb.round(x=x), y=1.0), ROUNDED != 1),
    "greater": (lambda x: mb.greater(x=mb.round(x=x), y=1.0), ROUNDED > 1),
    "greater_equal": (lambda x: mb.greater_equal(x=mb.round(x=x), y=1.0), ROUNDED >= 1),
    "less": (lambda x: mb.less(x=mb.round(x=x), y=constant(OTHER.round())), OTHER.round() > ROUNDED),
    "less_equal": (
        lambda x: mb.less_equal(x=mb.round(x=x), y=constant(OTHER.round())),
        OTHER.round() >= ROUNDED,
    ),
    "logical_and": (
        lambda x: mb.logical_and(x=true(x), y=mb.less(x=x, y=1.0)),
        (X > 0) & (X < 1),
    ),
    "logical_or": (lambda x: mb.logical_or(x=true(x), y=mb.less(x=x, y=-1.0)), (X > 0) | (X < -1)),
    "logical_xor": (lambda x: mb.logical_xor(x=true(x), y=mb.less(x=x, y=1.0)), (X > 0) ^ (X < 1)),
    "logical_not": (lambda x: mb.logical_not(x=true(x)), X <= 0),
    "select": (
        lambda x: mb.select(cond=true(x), a=x, b=constant(OTHER)),
        torch.where(X > 0, X, OTHER),
    ),
    # sums and order
    "reduce_l1_norm": (lambda x: mb.reduce_l1_norm(x=x, axes=[1, 3]), X.abs().sum((1, 3))),
    "reduce_l2_norm": (
        lambda x: mb.reduce_l2_norm(x=x, axes=[2], keep_dims=True),
        (X * X).sum(2, True).sqrt(),
    ),
    "reduce_log_sum": (lambda x: mb.reduce_log_sum(x=positive(x), axes=[-1]), P.sum(-1).log()),
    "reduce_log_sum_exp": (lambda x: mb.reduce_log_sum_exp(x=x, axes=[1]), X.logsumexp(1)),
    "reduce_sum_square": (lambda x: mb.reduce_sum_square(x=x, axes=[1, 2]), (X * X).sum((1, 2))),
    "reduce_prod": (lambda x: mb.reduce_prod(x=x, axes=[1, 3]), X.prod(3).prod(1)),
    "reduce_sum": (lambda x: mb.reduce_sum(x=x, axes=[0, 2]), X.sum((0, 2))),
    "reduce_min": (lambda x: mb.reduce_min(x=x, axes=[1]), X.amin(1)),
    "reduce_argmax": (lambda x: mb.reduce_argmax(x=x, axis=2, keep_dims=True), X.argmax(2, True)),
    "reduce_argmin": (
        lambda x: mb.reduce_argmin(x=mb.round(x=x), axis=3, keep_dims=False),
        torch.from_numpy(ROUNDED.numpy().argmin(3)),
    ),
    "argsort": (lambda x: mb.argsort(x=x, axis=2, ascending=True), X.argsort(dim=2, stable=True)),
    "topk": (lambda x: mb.topk(x=x, k=3, axis=2)[0], X.topk(3, 2).values),
    "topk places": (lambda x: mb.topk(x=x, k=2, axis=1, ascending=True)[1], X.topk(2, 1, False).indices),
    "cumsum": (lambda x: mb.cumsum(x=x, axis=2), X.cumsum(2)),
    # What is taken off again would have been rounded.
    "cumsum of very different numbers": (
        lambda x: mb.cumsum(x=mb.mul(x=x, y=HUGE.numpy()), axis=3, exclusive=True),
        F.pad((X * HUGE).cumsum(3)[..., :-1], (1, 0)),
    ),
    "cumsum from the end": (
        lambda x: mb.cumsum(x=x, axis=1, exclusive=True, reverse=True),
        X.flip(1).cumsum(1).flip(1) - X,
    ),
    # shape and place
    "tile": (lambda x: mb.tile(x=x, reps=[1, 2, 1, 3]), X.repeat(1, 2, 1, 3)),
    "reverse": (lambda x: mb.reverse(x=x, axes=[1, 3]), X.flip(1, 3)),
    "stack": (lambda x: mb.stack(values=[x, mb.mul(x=x, y=-1.0)], axis=2), torch.stack([X, -X], 2)),
    "band_part": (
        lambda x: mb.band_part(x=x, lower=1, upper=2),
        X * torch.from_numpy(np.tri(6, 5, 2) * np.tri(5, 6, 1).T).float(),
    ),
    "crop": (
        lambda x: mb.crop(x=x, crop_height=[1, 2], crop_width=[0, 1]),
        X[:, :, 1:-2, :-1],
    ),
    "expand_dims": (
        lambda x: mb.expand_dims(x=mb.reduce_sum(x=x, axes=[3]), axes=[1, -1]),
        X.sum(3)[:, None, ..., None],
    ),
    "squeeze": (lambda x: mb.squeeze(x=mb.reduce_sum(x=x, axes=[2], keep_dims=True), axes=[2]), X.sum(2)),
    "slice_by_size": (
        lambda x: mb.slice_by_size(x=x, begin=[0, 1, 2, 0], size=[1, 2, 3, -1]),
        X[:, 1:3, 2:5],
    ),
    "depth_to_space": (
        lambda x: mb.depth_to_space(x=mb.concat(values=[x, mb.mul(x=x, y=2.0)], axis=1), block_size=2),
        # The block's place is the slower part of the channel number; torch's shuffle takes it as the faster.
        F.pixel_shuffle(
            torch.cat([X, 2 * X], 1).reshape(1, 4, 2, 6, 5).transpose(1, 2).reshape(1, 8, 6, 5), 2
        ),
    ),
    "space_to_depth": (
        lambda x: mb.space_to_depth(x=block(x), block_size=2),
        torch.cat([X[:, :, i::2, j:4:2] for i in range(2) for j in range(2)], 1),
    ),
    "pixel_shuffle": (lambda x: mb.pixel_shuffle(x=x, upscale_factor=2), F.pixel_shuffle(X, 2)),
    "pad reflect": (
        lambda x: mb.pad(x=x, pad=[1, 2, 2, 1], mode="reflect"),
        F.pad(X, (2, 1, 1, 2), "reflect"),
    ),
    "pad reflect channels and one side": (
        lambda x: mb.pad(x=x, pad=[2, 0, 0, 0, 0, 3], mode="reflect"),
        torch.from_numpy(np.pad(X.numpy(), ((0, 0), (2, 0), (0, 0), (0, 3)), "reflect")),
    ),
    "pad replicate": (
        lambda x: mb.pad(x=x, pad=[1, 2, 0, 1], mode="replicate"),
        F.pad(X, (0, 1, 1, 2), "replicate"),
    ),
    "pad channels": (
        lambda x: mb.pad(x=x, pad=[0, 0, 1, 2, 0, 0, 3, 0], mode="constant", constant_val=2.0),
        F.pad(X, (3, 0, 0, 0, 1, 2), value=2.0),
    ),
    # places given by indices
    "gather": (lambda x: mb.gather(x=x, indices=INDICES, axis=1), X[:, [[2, 0], [3, 3]]]),
    "gather rows of a table": (
        lambda x: mb.gather(x=TABLE, indices=whole(mb.abs(x=x)), axis=0),
        torch.from_numpy(TABLE)[X.abs().round().long()],
    ),
    "gather_along_axis": (
        lambda x: mb.gather_along_axis(x=x, indices=constant(ALONG.int()), axis=2),
        X.gather(2, ALONG),
    ),
    "gather_nd": (
        lambda x: mb.gather_nd(x=x, indices=np.array([[0, 2, 1], [0, 3, 5]], np.int32)),
        torch.stack([X[0, 2, 1], X[0, 3, 5]]),
    ),
    "scatter": (
        lambda x: mb.scatter(
            data=x,
            indices=np.array([1, 1], np.int32),
            updates=np.ones((1, 2, 6, 5), np.float32),
            axis=1,
            mode="add",
        ),
        X + 2 * torch.tensor([0.0, 1, 0, 0]).view(1, 4, 1, 1),
    ),
    "scatter_along_axis": (
        lambda x: mb.scatter_along_axis(
            data=x,
            indices=np.zeros((1, 4, 1, 5), np.int32),
            updates=np.full((1, 4, 1, 5), 9, np.float32),
            axis=2,
            mode="update",
        ),
        torch.cat([torch.full((1, 4, 1, 5), 9.0), X[:, :, 1:]], 2),
    ),
    "scatter_nd": (
        lambda x: mb.scatter_nd(
            data=x,
            indices=np.array([[0, 1], [0, 3]], np.int32),
            updates=np.full((2, 6, 5), 2, np.float32),
            mode="mul",
        ),
        X * torch.tensor([1.0, 2, 1, 2]).view(1, 4, 1, 1),
    ),
    "scatter with indices of two dimensions": (
        lambda x: mb.scatter(
            data=x,
            indices=np.array([[3, 1]], np.int32),
            updates=np.ones((1, 4, 6, 1, 2), np.float32),
            axis=-1,
            mode="update",
        ),
        torch.from_numpy(np.where(np.isin(np.arange(5), [1, 3]), 1, X.numpy())),
    ),
    "one_hot": (
        lambda x: mb.one_hot(
            indices=whole(mb.abs(x=x)), one_hot_vector_size=3, axis=-1, on_value=5.0, off_value=-1.0
        ),
        F.one_hot(X.abs().round().long(), 3) * 6.0 - 1,
    ),
    # products and windows
    "einsum": (
        lambda x: mb.einsum(values=(x, mb.transpose(x=x, perm=[0, 3, 2, 1])), equation="nchw,nwhu->nchu"),
        torch.einsum("nchw,nwhu->nchu", X, X.permute(0, 3, 2, 1)),
    ),
    "instance_norm": (
        lambda x: mb.instance_norm(
            x=x, gamma=np.arange(4, dtype=np.float32), beta=np.ones(4, np.float32), epsilon=0.01
        ),
        F.instance_norm(X, weight=torch.arange(4.0), bias=torch.ones(4), eps=0.01),
    ),
    "l2_norm": (lambda x: mb.l2_norm(x=x, epsilon=0.1), X / ((X * X).sum() + 0.1).sqrt()),
    "conv of volumes": (
        lambda x: mb.conv(x=mb.reshape(x=x, shape=[1, 2, 2, 6, 5]), weight=constant(CUBE), strides=[1, 2, 1]),
        F.conv3d(X.reshape(1, 2, 2, 6, 5), CUBE, stride=(1, 2, 1)),
    ),
    "max_pool of volumes": (
        lambda x: mb.max_pool(
            x=mb.reshape(x=x, shape=[1, 2, 2, 6, 5]),
            kernel_sizes=[2, 2, 2],
            strides=[1, 2, 2],
            pad_type="valid",
        ),
        F.max_pool3d(X.reshape(1, 2, 2, 6, 5), 2, (1, 2, 2)),
    ),
    "conv_transpose": (
        lambda x: mb.conv_transpose(
            x=x,
            weight=constant(KERNEL),
            bias=np.array([1, 2, 3], np.float32),
            strides=[2, 3],
            pad_type="custom",
            pad=[1, 0, 0, 1],
        ),
        F.conv_transpose2d(X, KERNEL, torch.tensor([1.0, 2, 3]), (2, 3))[:, :, 1:, :-1],
    ),
    "conv_transpose in groups": (
        lambda x: mb.conv_transpose(x=x, weight=constant(KERNEL), groups=2, pad_type="valid"),
        F.conv_transpose2d(X, KERNEL, groups=2),
    ),
    # pictures in another size
    "resize_bilinear STRICT_ALIGN_CORNERS": (
        lambda x: mb.resize_bilinear(
            x=x, target_size_height=9, target_size_width=3, sampling_mode="STRICT_ALIGN_CORNERS"
        ),
        F.interpolate(X, (9, 3), mode="bilinear", align_corners=True),
    ),
    "resize_bilinear UNALIGN_CORNERS": (
        lambda x: mb.resize_bilinear(
            x=x, target_size_height=9, target_size_width=3, sampling_mode="UNALIGN_CORNERS"
        ),
        F.interpolate(X, (9, 3), mode="bilinear", align_corners=False),
    ),
    "upsample_bilinear": (
        lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False),
        F.interpolate(X, scale_factor=(2, 3), mode="bilinear", align_corners=False),
    ),
    "upsample_nearest_neighbor": (
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        X.repeat_interleave(2, 2).repeat_interleave(3, 3),
    ),
    "resize_nearest_neighbor": (
        lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=12, target_size_width=10),
        X.repeat_interleave(2, 2).repeat_interleave(2, 3),
    ),
    "resample": (
        lambda x: mb.resample(
            x=x,
            coordinates=constant(U.mean(1)[..., None].repeat(1, 1, 1, 2)),
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=False,
        ),
        F.grid_sample(X, U.mean(1)[..., None].repeat(1, 1, 1, 2), align_corners=False),
    ),
    # sequences
    "lstm both ways": (lambda x: both_ways(x, 0), torch_lstm(0)),
    "lstm both ways, last state": (lambda x: both_ways(x, 1), torch_lstm(1)),
    "lstm both ways, last memory": (lambda x: both_ways(x, 2), torch_lstm(2)),
    "lstm forward": (lambda x: one_way(x, "forward"), torch_one_way(False)[0]),
    "lstm reverse": (lambda x: one_way(x, "reverse"), torch_one_way(True)[0]),
    "lstm last output": (lambda x: one_way(x, "forward", every=False), torch_one_way(False)[0][-1:]),
    "lstm last memory": (lambda x: one_way(x, "forward", which=2), torch_one_way(False)[1][1][0]),
}

NOT_IN_NETWORKS = {
    "pad reflect channels and one side": "Core ML Tools mirrors the last two dimensions only",
    "pow": "Core ML Tools fails to write a constant array as the exponent",
    "resample": "there is no such layer",
    "resize_bilinear UNALIGN_CORNERS": "the layer has no such mode",
}


def files_of(convert_to):
    """The cases of a format in groups that one file each can hold."""
    if convert_to == "mlprogram":
        return [list(CASES)]
    # Core ML Tools gives the layers of two LSTMs with the same input the same names, and then fails.
    names = [name for name in CASES if name not in NOT_IN_NETWORKS]
    alone = [name for name in names if name.startswith("lstm")]
    return [[name for name in names if name not in alone], *[[name] for name in alone]]


def program(names):
    """All cases as one program; each output is made a float, which is what Core ML can answer."""

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS15)
    def main(x):
        made = [CASES[name][0](x) for name in names]
        return tuple(mb.cast(x=value, dtype="fp32", name=f"case_{i}") for i, value in enumerate(made))

    return main


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """What the runtime makes of all cases, alone and as the first of two: by format and name."""
    folder, answers = tmp_path_factory.mktemp("operators"), {}
    for convert_to, suffix in {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}.items():
        precision = {"compute_precision": ct.precision.FLOAT32} if convert_to == "mlprogram" else {}
        for number, names in enumerate(files_of(convert_to)):
            path = folder / f"{number}{suffix}"
            with quiet():
                model = ct.convert(program(names), convert_to=convert_to, skip_model_load=True, **precision)
                model.save(str(path))
            runtime = coreml_runtime.load(path)
            alone = runtime.predict({next(iter(runtime.inputs)): X.numpy()})
            batch = runtime.run(torch.cat([X, X.flip(1)]))
            for i, name in enumerate(names):
                case = f"case_{i}"
                answers[convert_to, name] = torch.from_numpy(alone[case]), batch[case][0]
    return answers


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_torch_computes(computed, name):
    expected = CASES[name][1].detach().float()
    for convert_to in ("mlprogram", "neuralnetwork"):
        if convert_to == "neuralnetwork" and name in NOT_IN_NETWORKS:
            continue
        alone, in_a_batch = computed[convert_to, name]
        torch.testing.assert_close(alone, expected, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(in_a_batch, alone, atol=2e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def inferred():
    """What Core ML Tools itself makes of each case when x is a constant: its values, None where it infers none."""
    answers = {}

    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS15)
    def main(z):
        for name, (build, _) in CASES.items():
            if not name.startswith(("cumsum from", "cumsum of")):  # its inference of exclusive sums fails
                answers[name] = build(mb.const(val=X.numpy())).val
        return mb.identity(x=z)

    return answers


def test_an_operator_computes_what_core_ml_tools_infers(computed, inferred):
    compared = []
    for name, value in inferred.items():
        if value is not None:
            alone, _ = computed["mlprogram", name]
            expected = torch.from_numpy(np.array(value, np.float32, order="C"))
            torch.testing.assert_close(
                alone, expected, atol=2e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
            compared.append(name)
    assert len(compared) > 60


def test_no_operator_or_layer_is_in_two_families():
    listed = " ".join([operators.ONES, *operators.COVERED.values()]).split()
    listed += [name for family in operators.COVERED for name in getattr(family, "FORMULAS", ())]
    assert sorted(listed) == sorted(OPERATORS)
    families = {
        importlib.import_module(f"{layers.__name__}.{one.name}")
        for one in pkgutil.iter_modules(layers.__path__)
    }
    found = [name for family in families for name in getattr(family, "LAYERS", ())]
    assert sorted(found) == sorted(LAYERS)
