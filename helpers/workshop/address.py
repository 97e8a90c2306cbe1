"""Where the repository is on GitHub: one line of pyproject.toml, and what is made from it.

    python -m helpers.workshop.address https://github.com/OWNER/NAME    (--none takes it away again)

The README's badges open a notebook on Colab or the project on Binder; the first cell of a notebook that was
opened alone fetches the rest. Without an address there are no badges, and the first cell says what is missing.
"""

import re
import sys
import tomllib

import nbformat

from helpers.plumbing import paths

PROJECT = paths.ROOT / "pyproject.toml"
CITATION = paths.ROOT / "CITATION.cff"
CITED = re.compile(r"^repository-code: .*\n", re.MULTILINE)
TABLE = re.compile(r"\[project\.urls\]\nRepository = \"[^\"]*\"\n\n")
GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+)")
NOTEBOOKS = sorted((paths.ROOT / "notebooks").glob("0*.ipynb"))

ALONE = """\
try:
    from helpers import chapter
except ImportError:
    raise ImportError(
        "The helpers of this project are not here. Run `make lab` in its folder and take the kernel Python 3; "
        "with this file alone, or on Colab, get the whole project first: notebooks/troubleshooting.md, 1."
    ) from None
"""
"""How a notebook begins while nobody knows where the project is."""

FETCHING = """\
try:
    from helpers import chapter
except ImportError:  # this notebook is alone, as on Colab: fetch the project, and install what is missing
    import io, pathlib, sys, urllib.request, zipfile  # noqa: E401

    archive = urllib.request.urlopen("{address}/archive/HEAD.zip").read()
    zipfile.ZipFile(io.BytesIO(archive)).extractall()
    sys.path.insert(0, str(next(pathlib.Path.cwd().glob("*/helpers/chapter.py")).parents[1]))
    from helpers.workshop import colab

    colab.install()
    from helpers import chapter
"""
"""How a notebook begins that knows the address."""


def address() -> str | None:
    """The address in pyproject.toml, None while there is none."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository")


def beginning(where: str | None) -> str:
    """The lines with which the first code cell of every notebook begins."""
    return FETCHING.format(address=where) if where else ALONE


def badges(where: str | None) -> str:
    """A line of Markdown for the README: a link to Colab and one to Binder; without an address what to do."""
    if where is None:
        return (
            "One click on Colab or Binder: whoever has this project on GitHub types "
            "`python -m helpers.workshop.address https://github.com/OWNER/NAME`, and the links stand here."
        )
    name = where.removeprefix("https://github.com/")
    first = f"notebooks/{NOTEBOOKS[0].name}"
    colab = f"https://colab.research.google.com/github/{name}/blob/HEAD/{first}"
    binder = f"https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/{first}"
    return f"Open without installing anything: [on Colab]({colab}) · [on Binder]({binder})"


def write(where: str | None) -> None:
    """Put the address into pyproject.toml and CITATION.cff, and make the notebooks' first cells and the README from it.

    Raises:
        ValueError: a notebook does not begin as the address before made it.
    """
    before = beginning(address())
    changed = {}
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
        if not cell.source.startswith(before.rstrip()):
            raise ValueError(f"{path.name} does not begin as expected. Put it back: `make reset`.")
        cell.source = cell.source.replace(before.rstrip(), beginning(where).rstrip(), 1)
        changed[path] = notebook
    text = TABLE.sub("", PROJECT.read_text(encoding="utf-8"))
    if where:
        text = text.replace(
            "[tool.setuptools]\n", f'[project.urls]\nRepository = "{where}"\n\n[tool.setuptools]\n', 1
        )
    cited = CITED.sub("", CITATION.read_text(encoding="utf-8"))
    if where:
        cited = cited.replace("license: ", f"repository-code: {where}\nlicense: ", 1)
    for path, content in {PROJECT: text, CITATION: cited}.items():
        with paths.replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    for path, notebook in changed.items():
        with paths.replacing(path) as temporary:
            nbformat.write(notebook, temporary)
    from . import readme  # which asks this module

    readme.update()


def main(arguments: list[str]) -> int:
    given = arguments[0] if len(arguments) == 1 else ""
    where = given.rstrip("/").removesuffix(".git")
    if given != "--none" and not GITHUB.fullmatch(where):
        print(
            "Say where the repository is: python -m helpers.workshop.address https://github.com/OWNER/NAME\n"
            "(Colab and Binder open it from GitHub), or --none to take the address away.",
            file=sys.stderr,
        )
        return 2
    try:
        write(None if given == "--none" else where)
        print(
            "The notebooks and the README have changed. Carry that into the other languages: make translate"
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
