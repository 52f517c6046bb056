"""Training: forward, loss, zero_grad, backward and optimizer step, on one batch after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainmark.store.parameters import TRAINING_PARAMETERS, USUAL_BATCH, Value
from trainmark.workloads import product_of
from trainmark.workloads.stepping import StepWorkload, speed_gallery

if TYPE_CHECKING:
    from trainmark.measure.machine import Machine
    from trainmark.page.galleries import Drawn, Gallery
    from trainmark.workloads.planning import Request


@dataclass(frozen=True, kw_only=True)
class Train(StepWorkload):
    """The step that a training repeats."""

    def combinations(self, request: Request, machine: Machine) -> Iterable[Mapping[str, Value]]:
        """The grid, and in a quick one what else may be faster: another layout, and a compiled cell of each family."""
        yield from super().combinations(request, machine)
        if request.values.exhaustive:
            return
        yield from self._of_another_layout(request, machine)
        given = {name: values for name, values in request.given.items() if name in self.parameters}
        if "compile" in given:
            return
        for model in request.models_on(machine):
            for device in request.given.get("device", machine.devices):
                if self._compiles_quickly(model, str(device), request, machine):
                    choices = {**self.choices(model, str(device), request, machine), **given}
                    first = {
                        name: (min(values) if name == "batch_size" else values[0],) for name, values in choices.items()
                    }
                    fixed = {"model": (model,), "device": (device,), "compile": ("default",)}
                    yield from product_of(self.parameters, {**first, **fixed})

    def _of_another_layout(self, request: Request, machine: Machine) -> Iterable[Mapping[str, Value]]:
        """With channels_last, at the usual batch size, each of the suite's models that has a convolution."""
        if {"memory_format", "batch_size", "compile"} & set(request.given):
            return
        for values in super().combinations(request, machine):
            facts = machine.models[str(values["model"])]
            registered = facts.sample_flops is not None
            if registered and facts.has_convolution and values["batch_size"] == USUAL_BATCH:
                yield {**values, "memory_format": "channels_last"}

    def _compiles_quickly(self, model: str, device: str, request: Request, machine: Machine) -> bool:
        """One model of each family, where it takes seconds."""
        family = machine.models[model].family
        first = next(name for name in request.models_on(machine) if machine.models[name].family == family)
        return model == first and (device != "cpu" or family in request.values.compiled)

    def galleries(self, drawn: Drawn) -> Iterable[Gallery]:
        """Speed, and memory against the batch size."""
        from trainmark.page.galleries import Gallery
        from trainmark.page.plots.cost import memory_plots

        yield speed_gallery(drawn, self.name, "throughput", "Training speed", "no training was measured")
        yield Gallery(
            "memory",
            "Memory",
            "Lower is better. On an accelerator: the peak of live tensors; on a CPU: of the cell's whole process.",
            tuple(memory_plots(drawn.of(self.name), drawn.run)),
            "no model's memory was read at two batch sizes",
        )


TRAIN = Train(
    name="train",
    parameters=TRAINING_PARAMETERS,
    meaning="forward, loss, zero_grad, backward, optimizer step",
    place=10,
    steps="trainmark.measure.steps:training_steps",
    role="training",
)
