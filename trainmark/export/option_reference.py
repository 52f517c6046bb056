"""Every option of ``pytest bench`` as Markdown, from the registry of parameters: docs/options.md.

python -m trainmark.export.option_reference > docs/options.md
"""

from __future__ import annotations

from collections.abc import Iterator

from trainmark.store.parameters import PARAMETERS, Parameter
from trainmark.workloads import entries

HEAD = """# Options

Every option of `pytest bench`, as the registry of parameters has it. This file is written by
`python -m trainmark.export.option_reference > docs/options.md`; a test says when it is behind.

## Parameters

What varies between benchmarks. Each takes one value or several with commas between, and may be repeated. A record keeps
all of them; one that is older than a parameter was measured with its default. What cannot be run so is skipped, and its
record says why.
"""


def option_reference() -> str:
    """The whole document."""
    taken = {name for entry in entries() for name in entry.parameters}
    known = [parameter for name, parameter in PARAMETERS.items() if name in taken]
    others = "\n".join(["## Others", "", "| option | |", "|---|---|", *_others({one.option for one in known})])
    return "\n".join([HEAD, *map(_section, known), others, ""])


def _section(parameter: Parameter) -> str:
    values = ", ".join(f"`{value}`" for value in parameter.values) or _any(parameter)
    takers = ", ".join(f"`{entry.name}`" for entry in entries() if parameter.name in entry.parameters)
    lines = [
        f"### `{parameter.option}`",
        "",
        f"{parameter.meaning[:1].upper()}{parameter.meaning[1:]}.",
        "",
        f"- Values: {values}; default `{parameter.default}`",
        *(f"  - `{value}`: {meaning}" for value, meaning in parameter.told.items()),
        f"- Of: {takers}",
        *(f"- {limit}" for limit in _limits(parameter)),
        "",
        "```",
        f"pytest bench --benchmark-autosave {parameter.option} {_example(parameter)}",
        "```",
        "",
    ]
    return "\n".join(lines)


def _any(parameter: Parameter) -> str:
    if isinstance(parameter.default, int):
        return f"a whole number from {min(parameter.default, 1)} on"
    return "as above"


def _limits(parameter: Parameter) -> Iterator[str]:
    """What is to be known before it is varied, in sentences."""
    if parameter.same_arithmetic:
        yield "Each value computes the same training: none needs an accuracy of its own to be recommended"
    if parameter.devices:
        yield f"On {' and '.join(parameter.devices)} alone"
    if parameter.needs:
        needed = " and ".join(f"`{PARAMETERS[name].option} {value}`" for name, value in parameter.needs.items())
        yield f"Implies {needed}, where the call says nothing of it"
    for name, why in parameter.excludes.items():
        yield f"Not with `{PARAMETERS[name].option}`: {why}"
    if parameter.own_part:
        yield f"Not for a task that says its own {parameter.own_part}"


def _example(parameter: Parameter) -> str:
    values = [str(value) for value in parameter.values[:2]] or [str(parameter.default)]
    return parameter.example or ",".join(values)


def _others(parameters: set[str]) -> Iterator[str]:
    """A row for each option that is none of a parameter."""
    import pytest

    from trainmark.options import add_options

    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    for group in parser._groups:
        for option in group.options:
            attributes = option.attrs()
            choices = f": {', '.join(attributes['choices'])}" if attributes.get("choices") else ""
            value = f" {attributes['metavar']}" if attributes.get("metavar") else ""
            if option.names()[0] not in parameters:
                meaning = attributes["help"].replace("%%", "%").replace("|", "\\|")
                yield f"| `{option.names()[0]}{value}` | {meaning}{choices} |"


def main() -> None:
    """Writes it, with the workloads of the suite in whose folder it is called."""
    import sys

    from trainmark import suite

    suite.current()
    sys.stdout.write(option_reference())


if __name__ == "__main__":
    main()
