"""Train a network: fit(), with the optimiser and the schedule that it uses.

Notebook 01 introduces the training loop and writes it out in full. This is the
same loop with what a class needs around it: a device chosen by itself, a
progress line, an interruption that loses nothing, and errors that say what to do.
It is long because whatever does not fit together is named before any time is spent on it.

``python -m helpers.workshop.train`` trains without a notebook, and
``torchrun --nproc-per-node=N -m helpers.workshop.train`` in N processes, on as many
GPUs or machines (see ``helpers.plumbing.processes``).
"""

import contextlib
import copy
import time
import weakref
from collections.abc import Callable, Sized
from statistics import mean, median

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from helpers.batches import Batches
from helpers.data import Images, hold_out
from helpers.evaluation import check_labels, check_split, evaluate
from helpers.history import History
from helpers.model import AlexNet, Normalise
from helpers.muon import Muon
from helpers.plumbing import processes
from helpers.plumbing.device import describe_device, pick_device, pick_precision
from helpers.plumbing.errors import first_line
from helpers.plumbing.graphs import Recorded, Step, recordable
from helpers.plumbing.interrupts import Interrupts, torch_modes
from helpers.plumbing.networks import ask, check_answer, check_model, out_of_memory, train_mode
from helpers.plumbing.progress import Progress
from helpers.recipe import Recipe

LAYOUT = torch.channels_last
"""The channels of a pixel lie side by side in memory, the order in which convolutions are fastest (PyTorch's "Channels Last")."""


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Muon for the weights of the hidden layers and SGD for the rest; or SGD for everything.

    The first layer sees pixels and the last one gives the logits: both stay with SGD, as Muon's source says.
    """
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim <= 1]
    inner, outer = (weights[1:-1], weights[:1] + weights[1:][-1:]) if recipe.muon else (weights, [])
    groups = [
        {"params": inner, "weight_decay": recipe.weight_decay},
        {"params": outer, "weight_decay": 0.0},
        {"params": biases, "weight_decay": 0.0, "lr": recipe.learning_rate * recipe.bias_rate},
    ]
    if recipe.muon:
        fast = {pick_precision(p.device) for p in inner} == {torch.bfloat16}
        groups[0] |= {"orthogonal": True, "bfloat16": fast}
    return (Muon if recipe.muon else torch.optim.SGD)(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        fused=all(p.device.type in ("cpu", "cuda") for p in model.parameters()),
    )


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    """The one-cycle schedule over ``steps`` steps: up in a straight line, then down to zero."""
    total = steps + 1  # it counts one ahead: the rate is set for the step to come
    # A rise of exactly one step, that is of no time at all, makes OneCycleLR divide by zero.
    warmup = recipe.warmup * (1 + 1e-9) if recipe.warmup * total == 1 else recipe.warmup
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total,
        pct_start=warmup,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=10,
        final_div_factor=1000,
    )


def fit(
    model: nn.Module,
    data: Images,
    recipe: Recipe,
    *,
    device: str | torch.device | None = None,
    resume: History | None = None,
    progress: bool = True,
    after_epoch: Callable[[History], None] | None = None,
) -> History:
    """Train ``model`` in place and return the history of the run.

    After each epoch the network is judged by the images held out (``recipe.validation``), not by the test images.

    Interrupting (Ctrl-C, or the notebook's stop button) is not an error: the model keeps what it has learnt, and
    the history that comes back goes on with ``fit(model, data, recipe, resume=history)``, to the same end as
    without a stop. A step under way is finished first; a second Ctrl-C goes back to the start of the epoch.

    Args:
        model: takes N×C×height×width float from 0 to 1 and returns N×classes logits; images of all
            ``recipe.sizes``, too. A part that is frozen stays as it is, its batch norm, too. A model that
            has been trained before is trained on from its weights, and a printed line says so.
        data: has ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` and ``classes`` as ``Images`` says
            them, which ``load_cifar10()`` returns. Without ``classes`` the logits say how many there are.
        recipe: how to train.
        device: default: the fastest there is.
        resume: the history of an interrupted run of such a model, the same data and recipe; the model
            gets the weights with which that run stopped.
        progress: show one line per epoch.
        after_epoch: called with the history after each epoch, when ``model`` and ``history.state``
            are up to date; ``helpers.runs`` saves them there. It may look at the network, not change it.

    Started by ``torchrun`` (see ``helpers.plumbing.processes``), every process calls it with the
    same arguments. They share each batch, and all end with the same model and history.
    An interruption then ends the run.

    Raises:
        ValueError: data of a wrong shape, dtype or range; ``resume`` of another recipe, model or data, or
            without its state; a model that cannot be trained so (the message says why).
        FloatingPointError: the loss is no longer a number (the rate is too high).
        MemoryError: a batch does not fit into the device's memory.
    """
    _check_arguments(data, recipe, resume)
    classes = _check_data(data)
    device = pick_device(device)
    history = resume or History(recipe)
    _check_resumable(history, recipe)
    training, put_back = None, torch_modes(device)
    try:
        with _explain_memory(recipe):
            training = _Training(model, data, history, device, progress, classes)
            return training.run(after_epoch)
    except KeyboardInterrupt:
        put_back()
        if training:
            training.ctrl_c.put_back()
        if processes.size() > 1:  # the others wait for this process and would wait for ever
            raise
        return training.stopped() if training else history


_TRAINED: dict[int, weakref.ref] = {}
"""The models that ``fit`` has trained in this process. Not a WeakSet: it would clear up in a callback, where a Ctrl-C is lost."""


def _trained_before(model: nn.Module) -> bool:
    known = _TRAINED.get(id(model))
    return known is not None and known() is model


def _check_recipe(recipe) -> None:
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe is {recipe!r:.60}, which is no Recipe. Pass one, e.g. Recipe.quick().")


def _check_arguments(data, recipe, resume) -> None:
    _check_recipe(recipe)
    if not isinstance(resume, History | None):
        raise ValueError(f"resume is {resume!r:.60}, which is no History. Pass the one that fit returned.")
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        if not hasattr(data, name):
            raise ValueError(
                f"data is a {type(data).__name__} without {name}. Pass what load_cifar10() returns."
            )


def _check_data(data) -> int | None:
    """The number of classes, if the data says it, once both splits are fit for training."""
    names = getattr(data, "classes", None)
    classes = len(names) if isinstance(names, Sized) and not isinstance(names, str) else None
    check_split(data.train_images, data.train_labels, "train", classes)
    check_split(data.test_images, data.test_labels, "test", classes)
    if data.test_images.dtype != data.train_images.dtype:
        raise ValueError(
            f"test_images holds {data.test_images.dtype} and train_images {data.train_images.dtype}. Give both as "
            "torch.uint8 from 0 to 255, or both as torch.float32 from 0 to 1."
        )
    own, other = (tuple(images.shape[1:]) for images in (data.train_images, data.test_images))
    if own != other:
        raise ValueError(
            f"The training images are {'×'.join(map(str, own))} and the test images {'×'.join(map(str, other))}. Give both the "
            "same channels, height and width."
        )
    return classes


def _check_resumable(history: History, recipe: Recipe) -> None:
    if history.recipe != recipe:
        raise ValueError(
            "The history to resume comes from another recipe. Pass the recipe it was made with, history.recipe."
        )
    if history.finished:
        raise ValueError(
            "This run has finished; there is nothing to resume. Train a new model without resume."
        )
    if history.steps and not history.state:
        raise ValueError(
            "The history to resume lacks the state of the optimiser, which History.save leaves out. Pass the "
            "history that fit returned, or train with helpers.runs, which keeps all of it; or train a new model "
            "without resume."
        )


class _Training:
    """One call of ``fit``: the network, its optimiser, and how far they are.

    An interruption may come between any two instructions. So whatever is counted follows from the steps
    done and the rows, and doing it twice changes nothing; only inside a step, while ``whole`` is
    False, the weights belong to no step, and the run falls back to ``history.state``.
    """

    def __init__(self, model, data, history: History, device, progress: bool, classes: int | None):
        recipe, state = history.recipe, history.state
        self.model, self.data, self.history, self.recipe = model, data, history, recipe
        self.precision = pick_precision(device)
        channels, *own = data.train_images.shape[1:]
        history.sizes = recipe.image_sizes(*own)
        shapes = [(channels, *size) for size in (own, *reversed(history.sizes))]
        self.layout, self.classes = check_model(model, shapes, device, classes, LAYOUT)
        for name in ("train", "test"):  # the data need not say how many classes there are
            check_labels(getattr(data, f"{name}_labels"), name, self.classes)
        evaluate(model, data.train_images[:1], data.train_labels[:1])  # which refuses one that is random
        rank, size = processes.rank(), processes.size()
        history.device = describe_device(device) + (f", {size} processes" if size > 1 else "")
        held = hold_out(data.train_labels, recipe.validation)
        self.validation = data.train_images[held], data.train_labels[held]
        self.batches = Batches(*_for_training(data, held, recipe), recipe, device, rank, size)
        self.losses, self.hits = torch.zeros(2, self.batches.steps, device=device)
        if state:
            self._check_state(state)
            model.load_state_dict(state["model"])
        self.trained = processes.shared(model)
        self.optimizer = make_optimizer(self.trained, recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe, recipe.epochs * self.batches.steps)
        if state:
            self._take_up(state)
        self.learn: Step = self._learn
        if recordable(model, device, {AlexNet, Normalise}):
            self.learn = Recorded(self._learn, self.optimizer)
        self.clock = (len(history.rows), state["spent"] if state else 0.0, time.perf_counter())
        self.whole, self.ctrl_c = True, Interrupts()
        self.shown = Progress(progress and rank == 0, recipe.epochs)

    def _check_state(self, state: dict) -> None:
        mine, its = (
            {name: t.shape for name, t in d.items()} for d in (self.model.state_dict(), state["model"])
        )
        if mine != its:
            raise ValueError(
                "The history to resume comes from another model. Pass the one that was trained, or one made like it."
            )
        if len(state["row"]["losses"]) != self.batches.steps:
            raise ValueError(
                f"The history to resume comes from other data: its epochs have {len(state['row']['losses'])} steps, "
                f"and with this data they have {self.batches.steps}. Pass the data it was made with."
            )

    def _take_up(self, state: dict) -> None:
        """Go on where this state was kept."""
        self.optimizer.load_state_dict(
            copy.deepcopy(state["optimizer"])
        )  # it would go on with the same tensors
        self.scheduler.load_state_dict(state["scheduler"])
        self.losses.copy_(state["row"]["losses"])
        self.hits.copy_(state["row"]["hits"])
        self.history.steps = state["steps"]
        del self.history.rows[state["steps"] // self.batches.steps :]

    def keep_state(self) -> None:
        """Keep where the run stands, in copies that no later step changes."""
        processes.take_back(self.trained, self.model)
        self.history.finished = len(self.history.rows) == self.recipe.epochs
        self.history.state = copy.deepcopy(
            {
                "steps": self.history.steps,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "row": {"losses": self.losses, "hits": self.hits},
                "spent": self.spent(),
            }
        )

    def spent(self) -> float:
        """Seconds spent on the current epoch, before an interruption too."""
        epoch, before, started = self.clock
        return before + time.perf_counter() - started if epoch == len(self.history.rows) else 0.0

    def run(self, after_epoch) -> History:
        """Train to the end."""
        if _trained_before(self.model) and not self.history.steps:
            self.shown.say(
                "This model has been trained before: it goes on from its weights, at the start of the recipe. "
                "recipe.model() makes a new one; after an interruption, resume=history goes on."
            )
        _TRAINED[id(self.model)] = weakref.ref(self.model)
        with self.ctrl_c, torch.enable_grad():
            self.keep_state()
            while not self.history.finished:
                self.train_epoch()
                self.end_epoch()
                self.keep_state()
                if after_epoch:
                    after_epoch(self.history)
                self.clock = (len(self.history.rows), 0.0, time.perf_counter())
            self.model.eval()
            return self.history

    def stopped(self) -> History:
        """After an interruption: put everything in order."""
        if self.whole:
            self.keep_state()
        else:
            kept = self.history.state or {}  # there is one before the first step
            self.model.load_state_dict(kept["model"])
            self.history.steps = kept["steps"]
        self.model.eval()
        done = f"{self.history.steps} of {self.recipe.epochs * self.batches.steps} steps"
        if self.history.finished:
            self.shown.say(f"interrupted after {done}: the run is finished all the same")
        else:
            self.shown.say(
                f"interrupted after {done}: the model keeps what it has learnt; fit(..., resume=history) goes on"
            )
        return self.history

    def train_epoch(self) -> None:
        """Train to the end of the current epoch."""
        batches, history = self.batches, self.history
        epoch = len(history.rows)
        before = epoch * batches.steps
        # Reading a loss makes a GPU wait, so there it is read once in 50 steps.
        check_every = 1 if batches.device.type == "cpu" else 50
        first = history.steps - before
        train_mode(self.trained)
        for step, (images, labels) in enumerate(batches.epoch(epoch, first), start=first):
            # Processes that train together wait for each other in a step: there Ctrl-C must not wait for its end.
            with self.ctrl_c.held() if processes.size() == 1 else contextlib.nullcontext():
                self.step(step, images, labels)
            if step % check_every == 0 or step == batches.steps - 1:
                _check_finite(self.losses[: step + 1], before, self.optimizer)
                self.shown.step(epoch + 1, step + 1, batches.steps, self.losses[step].item())

    def step(self, step: int, images, labels) -> None:
        """One step, the given one of the epoch."""
        self.whole = False
        self.losses[step], self.hits[step] = self.learn(images, labels)
        self.scheduler.step()
        self.history.steps += 1
        self.whole = True

    def _learn(self, images, labels) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn from one batch; its loss, and how many of its images were right."""
        use = self.precision != torch.float32
        with torch.autocast(images.device.type, self.precision, enabled=use, cache_enabled=False):
            logits, _ = ask(self.trained, images, self.layout)
        check_answer(logits, len(images), self.classes)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        _backward(loss, self.model)
        self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    def end_epoch(self) -> None:
        """Judge the network and add the row of the epoch that has just been trained."""
        history = self.history
        seen = self.batches.steps * self.recipe.batch_size // processes.size()
        learnt = processes.mean(torch.stack([self.losses.mean(), self.hits.sum() / seen]))
        loss, accuracy = learnt.tolist()
        started = time.perf_counter()
        validation_accuracy = _accuracy(self.trained, *self.validation, self.precision)
        row = {
            "epoch": len(history.rows) + 1,
            "learning_rate": self.scheduler.get_last_lr()[0],
            "train_loss": loss,
            "train_accuracy": accuracy,
            "validation_accuracy": validation_accuracy,
            "validation_seconds": time.perf_counter() - started,
            "seconds": self.spent(),
        }
        history.rows.append(row)
        self.shown.epoch(row)


def _for_training(data, held, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """The images that are not held out, and their labels."""
    if not held.any():
        return data.train_images, data.train_labels
    left = len(held) - int(held.sum())
    if left < recipe.batch_size <= len(held):
        raise ValueError(
            f"A batch of {recipe.batch_size} cannot be filled from {left} images: of {len(held)}, "
            f"{len(held) - left} are held out for validation. Choose a smaller batch_size, or validation=0."
        )
    return data.train_images[~held], data.train_labels[~held]


def _accuracy(model, images, labels, precision) -> float | None:
    """Accuracy on these images, None if there are none; each process answers for its share of them."""
    if not len(labels):
        return None
    share = slice(processes.rank(), None, processes.size())
    network = model.module if processes.size() > 1 else model
    if not len(labels[share]):  # more processes than images
        right = torch.zeros(())
    else:
        result = evaluate(network, images[share], labels[share], precision=precision)
        if processes.size() == 1:
            return result.accuracy
        right = (result.predictions == result.labels).sum().float()
    right = right.to(next(network.parameters()).device)
    return processes.mean(right).item() * processes.size() / len(labels)


def time_per_step(recipe: Recipe, *, device: str | torch.device | None = None, steps: int = 10) -> float:
    """Seconds that one training step of this recipe takes here, on random pixels.

    On an NVIDIA GPU, where ``fit`` records the steps of ``AlexNet``, ``fit`` takes less.

    Returns:
        The median of ``steps`` steps; with several ``recipe.sizes`` the mean of their medians.

    Raises:
        ValueError: no recipe, or no whole number of steps.
        MemoryError: a batch does not fit into the device's memory.
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps={steps!r} must be a whole number, at least 1.")
    _check_recipe(recipe)
    device = pick_device(device)
    precision = pick_precision(device)
    with _explain_memory(recipe):
        model = recipe.model().to(device).to(memory_format=LAYOUT).train()
        optimizer = make_optimizer(model, recipe)
        medians = {
            size: _step_time(model, optimizer, recipe, size, device, precision, steps)
            for size in set(recipe.sizes)
        }
    return mean(medians[size] for size in recipe.sizes)


def _step_time(model, optimizer, recipe: Recipe, size: int, device, precision, steps: int) -> float:
    """The median of the seconds that a step takes with images of one size."""
    images = torch.randint(0, 256, (recipe.batch_size, 3, size, size), dtype=torch.uint8)
    images = images.to(device).contiguous(memory_format=LAYOUT)
    labels = torch.randint(0, 10, (recipe.batch_size,), device=device)
    seconds = []
    for _ in range(steps + 2):  # the first two are slower: memory is set up, kernels are chosen
        started = time.perf_counter()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = model(images.float() / 255)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()  # waits until a GPU has finished
        seconds.append(time.perf_counter() - started)
    return median(seconds[2:])


def _backward(loss, model) -> None:
    """Compute the gradients.

    Raises:
        ValueError: there are none, or the network's code is in their way; the message says which.
    """
    kind = type(model).__name__
    if not loss.requires_grad:
        raise ValueError(
            f"No weight of this {kind} that can be trained has a part in its answer: those that have are frozen, or its "
            "forward cuts them off, with .detach(), .data, torch.no_grad() or NumPy. Take that out."
        )
    try:
        loss.backward()
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise ValueError(
            f"PyTorch cannot compute the gradients of this {kind}: {first_line(error)}. Write its forward without "
            "operations in place (names that end in _, inplace=True, +=)."
        ) from error


def _check_finite(losses, steps_before: int, optimizer) -> None:
    """Stop at the first loss that is not a number."""
    wrong = (~losses.isfinite()).nonzero()
    if len(wrong):
        rate = optimizer.param_groups[0]["lr"]
        raise FloatingPointError(
            f"The loss is {losses[wrong[0, 0]].item()} at step {steps_before + wrong[0, 0].item() + 1}, with a "
            f"learning rate near {rate:.3g}: the training diverged. Lower learning_rate (a third is a good next "
            "try) and start with a new model; this one's weights are spoilt."
        )


@contextlib.contextmanager
def _explain_memory(recipe: Recipe):
    """Turn 'out of memory' into a sentence that names the batch size."""
    try:
        yield
    except RuntimeError as error:
        if out_of_memory(error):
            raise MemoryError(
                f"A batch of {recipe.batch_size} images does not fit into the memory. "
                "Use dataclasses.replace(recipe, batch_size=…) with half of it."
            ) from error
        raise
