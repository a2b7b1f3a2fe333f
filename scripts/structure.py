"""Print the structure of the code in numbers: folders, cycles, long files and functions, names.

    python scripts/structure.py            a table; exit code 1 where a bound is broken
    python scripts/structure.py --details  and every place that is over a bound

Imports inside functions count like those at the top of a file; imports for type checkers do too.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("a2h_models", "pipelines")

MAX_MODULES = 14  # of one folder, without __init__.py
MAX_FILE_LINES = 450
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6  # without self and cls


@dataclass(frozen=True)
class Measure:
    """One number, its bound, and the places that are counted."""

    name: str
    bound: str
    places: tuple[str, ...]
    value: str
    holds: bool


Function = ast.FunctionDef | ast.AsyncFunctionDef


def parse_packages(root: Path) -> dict[str, ast.Module]:
    """Read every module of the packages; keys are dotted names, a folder's is its `__init__`."""
    files = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return {_module_name(path.relative_to(root)): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(modules: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Map each module to the project modules that it imports anywhere in its text."""
    graph: dict[str, set[str]] = {}
    for name, tree in modules.items():
        imported: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                full_names = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= {full if full in modules else node.module for full in full_names}
        graph[name] = (imported & modules.keys()) - {name}
    return graph


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Find the strongly connected components of more than one node (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for neighbour in sorted(graph[node]):
            if neighbour not in index:
                visit(neighbour)
                lowest[node] = min(lowest[node], lowest[neighbour])
            elif neighbour in stack:
                lowest[node] = min(lowest[node], index[neighbour])
        if lowest[node] == index[node]:
            position = stack.index(node)
            component, stack[position:] = stack[position:], []
            if len(component) > 1:
                components.append(sorted(component))

    sys.setrecursionlimit(10_000)
    for node in sorted(graph):
        if node not in index:
            visit(node)
    return components


def room(module: str) -> str:
    """Name the folder right below a package that a module belongs to; a module at the top is its own room."""
    return ".".join(module.split(".")[:2])


def room_graph(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Join modules to rooms. A package's own `__init__` belongs to no room."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, imported in graph.items():
        if module not in PACKAGES:
            rooms[room(module)] |= {room(name) for name in imported if name not in PACKAGES} - {room(module)}
    return {name: imported & rooms.keys() for name, imported in rooms.items()}


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameter_count(function: Function) -> int:
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in {"self", "cls"}])


def measure(root: Path = ROOT) -> list[Measure]:
    """Take all measures of a checkout."""
    modules = parse_packages(root)
    graph = import_graph(modules)
    folders: dict[str, int] = defaultdict(int)
    files = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    for path in files:
        folders[str(path.parent.relative_to(root))] += path.name != "__init__.py"
    lines = {str(path.relative_to(root)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    every_function = [(module, function) for module, tree in modules.items() for function in functions(tree)]
    lengths = {f"{m}:{f.name}": (f.end_lineno or f.lineno) - f.lineno + 1 for m, f in every_function}
    parameters = {f"{m}:{f.name}": parameter_count(f) for m, f in every_function}
    without_type = [f"{m}:{f.name}" for m, f in every_function if f.returns is None and f.name != "__init__"]
    return [
        _at_most("modules in a folder", folders, MAX_MODULES),
        _none("loose modules in pipelines/", [m for m in modules if m.count(".") == 1 and _is_loose(m, root)]),
        _none("cycles between files", [" · ".join(cycle) for cycle in cycles(graph)]),
        _none("cycles between folders", [" · ".join(cycle) for cycle in cycles(room_graph(graph))]),
        _at_most("lines of a file", lines, MAX_FILE_LINES),
        _at_most("lines of a function", lengths, MAX_FUNCTION_LINES),
        _at_most("parameters of a function", parameters, MAX_PARAMETERS),
        _none("functions without a return type", without_type),
        _none("public class names that stand twice", _duplicate_classes(modules)),
    ]


def _is_loose(module: str, root: Path) -> bool:
    return module.startswith("pipelines.") and not (root / module.replace(".", "/")).is_dir()


def _duplicate_classes(modules: Mapping[str, ast.Module]) -> list[str]:
    owners: dict[str, list[str]] = defaultdict(list)
    for module, tree in modules.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                owners[node.name].append(module)
    return [f"{name}: {', '.join(where)}" for name, where in sorted(owners.items()) if len(where) > 1]


def _at_most(name: str, values: Mapping[str, int], bound: int) -> Measure:
    over = tuple(f"{value} {place}" for place, value in sorted(values.items()) if value > bound)
    return Measure(name, f"≤ {bound}", over, f"{max(values.values())} at most, {len(over)} over", holds=not over)


def _none(name: str, places: list[str]) -> Measure:
    return Measure(name, "0", tuple(places), str(len(places)), holds=not places)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--details", action="store_true", help="name the places that are over a bound")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout")
    arguments = parser.parse_args()
    measures = measure(arguments.root)
    width = max(len(each.name) for each in measures)
    for each in measures:
        print(f"{'ok  ' if each.holds else 'OVER'} {each.name:<{width}}  {each.value} (bound {each.bound})")
        if arguments.details:
            print("".join(f"       {place}\n" for place in each.places), end="")
    return 0 if all(each.holds for each in measures) else 1


if __name__ == "__main__":
    sys.exit(main())
