"""Muon: steps that are orthogonal, for the right weights, and nothing lost of SGD."""

from dataclasses import replace

import pytest
import torch

from helpers.muon import Muon, orthogonal
from helpers.recipe import Recipe
from helpers.training import make_optimizer, make_scheduler

TINY = replace(Recipe.smoke(), width=0.125)


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_all_directions_become_equally_large(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)  # of which the last digits depend on no processor
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    uneven = (
        left @ torch.diag(torch.logspace(0, -2, len(values), dtype=torch.float64)) @ right
    )  # of 1 to 0.01
    after = torch.linalg.svdvals(orthogonal(uneven))
    assert after.max() < 1.25 and after.median() > 0.65
    assert torch.linalg.svdvals(uneven).min() / torch.linalg.svdvals(uneven).max() < 0.011
    # the directions stay what they were: seen from them, the result is near to diagonal and positive
    seen = left.T @ orthogonal(uneven) @ right.T
    assert (seen - seen.diag().diag()).abs().max() < 1e-3
    assert (seen.diag() > 0).all()


def test_zeros_stay_zeros():
    assert orthogonal(torch.zeros(3, 5)).equal(torch.zeros(3, 5))


def test_the_hidden_weights_are_orthogonal_groups_and_nothing_else_is():
    model = TINY.model()
    optimizer = make_optimizer(model, TINY)
    assert isinstance(optimizer, Muon)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    hidden, outer, biases = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    assert [group["orthogonal"] for group in optimizer.param_groups] == [True, False, False]
    weights = [name for name, parameter in model.named_parameters() if parameter.ndim > 1]
    assert len(weights) == 7
    assert hidden == weights[1:-1]
    assert outer == [weights[0], weights[-1]]
    assert sorted(hidden + outer + biases) == sorted(names.values())


def test_biases_learn_faster_all_along_the_schedule():
    recipe = replace(TINY, learning_rate=0.04, bias_rate=5, warmup=0.5)
    optimizer = make_optimizer(recipe.model(), recipe)
    scheduler = make_scheduler(optimizer, recipe, 100)
    seen = []
    for _ in range(100):
        hidden, _, biases = scheduler.get_last_lr()
        assert biases == pytest.approx(5 * hidden)
        seen.append(hidden)
        optimizer.step()
        scheduler.step()
    assert max(seen) == pytest.approx(0.04, rel=0.02)


def test_one_step_of_a_kernel_by_hand():
    torch.manual_seed(0)
    double = {"dtype": torch.float64}
    kernel = torch.nn.Parameter(torch.randn(4, 3, 3, 3, **double).to(memory_format=torch.channels_last))
    bias = torch.nn.Parameter(torch.randn(4, **double))
    first = [{"params": [kernel], "orthogonal": True, "weight_decay": 0.2}, {"params": [bias]}]
    optimizer = Muon(first, lr=0.1, momentum=0.9, nesterov=True)
    wanted, wanted_bias = kernel.detach().clone(), bias.detach().clone()
    momentum = torch.zeros_like(wanted)
    plain = torch.optim.SGD([torch.nn.Parameter(wanted_bias)], lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(2):
        gradient, slope = torch.randn(4, 3, 3, 3, **double), torch.randn(4, **double)
        kernel.grad, bias.grad = gradient.clone(), slope.clone()
        plain.param_groups[0]["params"][0].grad = slope.clone()
        optimizer.step()
        plain.step()
        momentum = 0.9 * momentum + gradient
        matrix = (gradient + 0.9 * momentum).reshape(4, 27)
        wanted = wanted * (1 - 0.1 * 0.2) - 0.1 * orthogonal(matrix).view(4, 3, 3, 3)
        torch.testing.assert_close(kernel.detach(), wanted)
        torch.testing.assert_close(bias.detach(), plain.param_groups[0]["params"][0].detach())
        assert kernel.grad.equal(gradient)  # what was there before the step is there after it


def test_a_tall_matrix_takes_longer_steps():
    tall = torch.nn.Parameter(torch.zeros(16, 4))
    tall.grad = torch.randn(16, 4)
    Muon([{"params": [tall], "orthogonal": True}], lr=1.0, momentum=0.9).step()
    assert torch.linalg.svdvals(tall.detach()).median() == pytest.approx(2, rel=0.35)  # √(16/4)


@pytest.mark.parametrize("given", [{"maximize": True}, {"momentum": 0.9, "dampening": 0.5}])
def test_what_an_orthogonal_group_does_not_do_is_refused(given):
    weight = torch.nn.Parameter(torch.zeros(4, 4))
    Muon([{"params": [weight]}], lr=1.0, **given)
    with pytest.raises(ValueError, match="no maximize and no dampening"):
        Muon([{"params": [weight], "orthogonal": True}], lr=1.0, **given)


def test_it_goes_on_where_a_saved_state_was():
    def made():
        torch.manual_seed(1)
        model = TINY.model()
        return model, make_optimizer(model, TINY)

    def step(model, optimizer, seed):
        torch.manual_seed(seed)
        optimizer.zero_grad()
        model(torch.rand(4, 3, 32, 32)).square().sum().backward()
        optimizer.step()

    straight, optimizer = made()
    for seed in range(3):
        step(straight, optimizer, seed)
    broken, first = made()
    for seed in range(2):
        step(broken, first, seed)
    second = make_optimizer(broken, TINY)
    second.load_state_dict(first.state_dict())
    step(broken, second, 2)
    for one, other in zip(straight.parameters(), broken.parameters(), strict=True):
        assert one.equal(other)


@pytest.mark.parametrize(
    "matrix", [torch.ones(3), torch.ones(3, 2, 2), torch.ones(3, 3, dtype=torch.int64), [[1.0]]]
)
def test_what_is_no_matrix_is_refused(matrix):
    with pytest.raises(ValueError, match=r"float tensor, rows × columns, not .*weight.flatten"):
        orthogonal(matrix)


def test_a_bias_is_refused_in_an_orthogonal_group():
    with pytest.raises(ValueError, match="Put biases and scales into another group"):
        Muon([{"params": [torch.ones(3, requires_grad=True)], "orthogonal": True}], lr=0.1)


@pytest.mark.parametrize("steps", [1.5, -1, "5", None, True])
def test_a_number_of_steps_that_is_none_is_named(steps):
    with pytest.raises(ValueError, match=f"steps={steps!r} must be a whole number"):
        orthogonal(torch.rand(3, 4), steps=steps)
