"""The house in a picture, drawn from the imports: ``python -m helpers.workshop.house``.

It stands in CONTRIBUTING.md between ``<!-- house -->`` and ``<!-- end house -->``, as a text that GitHub draws
(Mermaid). An arrow goes from a module to one that it imports. Left out are what an arrow by way of
others says already, and what holds for all: everybody may import the plumbing, and the workshop everybody.
"""

import ast
import graphlib
import re

from helpers.plumbing import paths

HELPERS = paths.ROOT / "helpers"
CONTRIBUTING = paths.ROOT / "CONTRIBUTING.md"
ROOMS = ("plumbing", "workshop")
PLACE = re.compile(r"(<!-- house -->\n).*?(<!-- end house -->)", re.DOTALL)


def _name(parts: tuple[str, ...]) -> str:
    """What a module is called: a machine counts as one, a room's modules each for itself."""
    return ".".join(parts[: 2 if parts[0] in ROOMS else 1])


def imports() -> dict[str, set[str]]:
    """Module → the modules of ``helpers`` that it imports anywhere, e.g. ``"plumbing.paths"``."""
    found: dict[str, set[str]] = {}
    for path in sorted(HELPERS.rglob("*.py")):
        parts = path.relative_to(HELPERS).with_suffix("").parts
        if parts[-1] == "__init__" and (len(parts) == 1 or parts[0] in ROOMS):
            continue  # there is nothing in these but words
        used = found.setdefault(_name(parts), set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "helpers":
                used |= {_name(tuple(f"{node.module}.{one.name}".split(".")[1:])) for one in node.names}
    return {name: used - {name} for name, used in found.items()}


def arrows() -> list[tuple[str, str]]:
    """The imports that are drawn: from the top of the house down, none that others say already."""
    graph = {
        name: {one for one in used if one.split(".")[0] not in ROOMS} for name, used in imports().items()
    }
    graph = {name: graph[name] for name in sorted(graph) if name.split(".")[0] not in ROOMS}
    order = list(graphlib.TopologicalSorter({name: sorted(graph[name]) for name in graph}).static_order())
    below: dict[str, set[str]] = {}
    for name in order:
        below[name] = graph[name].union(*(below[one] for one in graph[name]))
    return [
        (name, one)
        for name in reversed(order)
        for one in sorted(graph[name])
        if not any(one in below[other] for other in graph[name])
    ]


def picture() -> str:
    """The house as a Mermaid flowchart."""
    names = sorted(imports())
    machines = [name for name in names if (HELPERS / name).is_dir()]
    lessons = [name for name in names if "." not in name and name not in machines]
    inside = {
        room: " · ".join(name.split(".")[1] for name in names if name.startswith(f"{room}."))
        for room in ROOMS
    }
    lines = ["```mermaid", "flowchart TD"]
    lines += [f'  workshop["workshop: {inside["workshop"]}"] -.-> house', '  subgraph house [" "]']
    lines += [f"    {name}" for name in lessons]
    lines += [f'    {name}[["{name}"]]' for name in machines]
    lines += [f"    {above} --> {below}" for above, below in arrows()]
    lines += ["  end", f'  house -.-> plumbing["plumbing: {inside["plumbing"]}"]', "```"]
    return "\n".join(lines)


def filled(text: str) -> str:
    """CONTRIBUTING.md's text with the picture drawn anew.

    Raises:
        ValueError: it has no place for it.
    """
    if not PLACE.search(text):
        raise ValueError("CONTRIBUTING.md has no place for the picture: <!-- house --> … <!-- end house -->.")
    return PLACE.sub(lambda place: f"{place[1]}{picture()}\n{place[2]}", text)


def update() -> None:
    """Draw the picture in CONTRIBUTING.md anew."""
    text = filled(CONTRIBUTING.read_text(encoding="utf-8"))
    with paths.replacing(CONTRIBUTING) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    update()
