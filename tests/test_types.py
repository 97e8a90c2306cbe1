"""What the type checker looks at: it finds little where nothing is annotated."""

import ast
import tomllib

from helpers.plumbing import paths

PYPROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CHECKED = [path for name in PYPROJECT["tool"]["mypy"]["files"] for path in paths.ROOT.glob(name)]


def offered(path):
    """The names that a machine offers, if the file is one of a machine's; None where every public name counts."""
    face = path.parent / "__init__.py"
    while face.parent.parent != paths.ROOT / "helpers" and face.parent != paths.ROOT / "helpers":
        face = face.parent.parent / "__init__.py"
    for node in ast.parse(face.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


def public_functions(tree, names=None):
    """The functions and methods whose names, and whose class's name, do not begin with an underscore."""
    for node in tree.body:
        if names is not None and getattr(node, "name", None) not in names:
            continue
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def test_public_functions_of_the_modules_that_are_checked_say_what_they_take_and_give():
    bare = []
    for path in (file for one in CHECKED for file in ([one] if one.is_file() else sorted(one.rglob("*.py")))):
        for function in public_functions(ast.parse(path.read_text(encoding="utf-8")), offered(path)):
            taken = function.args
            arguments = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs, taken.vararg, taken.kwarg]
            silent = [
                one.arg for one in arguments if one and not one.annotation and one.arg not in ("self", "cls")
            ]
            if silent or not function.returns:
                bare.append(f"{path.name}: {function.name}({', '.join(silent)})")
    assert bare == []
