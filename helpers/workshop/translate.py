"""The series in other languages, from the English texts and a catalogue: ``python -m helpers.workshop.translate``.

``notebooks/<language>/messages/`` holds a catalogue for each notebook and page, and one for what the code of
``helpers`` shows (``helpers.po``). The command brings them up to date: a new English text has no translation, a
changed one a translation that is marked ``fuzzy``, and one that is gone takes its translation along. Then it writes
the notebooks and pages of that language: the same code, outputs and ids, other words. ``--check`` only says what is
missing, fuzzy, obsolete or not as it would be written, and in which cell.
"""

import argparse
import ast
import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from babel.messages import Catalog, Message
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from helpers.plumbing import paths
from helpers.workshop import messages
from helpers.workshop.messages import Piece

LANGUAGES = {"en": {"name": "English", "html": "en"}, "zh": {"name": "简体中文", "html": "zh-Hans"}}
"""Folder → the language's own name, and what HTML calls it. The first one is the source."""

HELPERS = "helpers"
"""The catalogue of what the code shows."""

MARKED = {"translated": None, "_": None, "marked": None, "Wrong": None, "Exercise": (2, 3)}
"""What is called with a text that a learner sees → which of its arguments are texts (None: the first)."""


class Messages(Catalog):
    """A catalogue whose head says what a program needs to read it; who wrote it and when, git knows."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        coding = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Transfer-Encoding", "8bit")]
        return [("Language", self.locale_identifier or ""), ("MIME-Version", "1.0"), *coding]


class Edition:
    """One language of the series.

    Args:
        language: its folder in ``notebooks/``.
        root: the checkout.
    """

    def __init__(self, language: str, root: Path = paths.ROOT):
        self.language, self.root, self.folder = language, root, root / "notebooks" / language
        notebooks = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
        pages = [*sorted((root / "notebooks").glob("*.md")), root / "README.md"]
        self.sources = {path.stem: path for path in [*notebooks, *pages]}
        self.solutions = {path.stem: path for path in (root / "notebooks/solutions").glob("*.ipynb")}
        self.names = (*self.sources, HELPERS)

    # -- what there is to say ------------------------------------------------------------------------

    def texts(self, name: str) -> Iterator[tuple[str, str]]:
        """The English texts of a notebook, its solutions, or a page: place → Markdown."""
        source = self.sources[name]
        if source.suffix == ".md":
            yield "", source.read_text(encoding="utf-8")
            return
        for path in (source, self.solutions.get(name)):
            for cell in _read(path).cells if path else ():
                if cell.cell_type == "markdown":
                    yield place(path, cell), cell.source

    def template(self, name: str) -> Catalog:
        """The English messages of a catalogue."""
        found = Messages(self.language, fuzzy=False)
        if name == HELPERS:
            for path, text in shown(self.root / HELPERS):
                found.add(text, locations=[(path.relative_to(self.root).as_posix(), None)])
            return found
        for where, text in self.texts(name):
            for one in messages.pieces(text):
                if one.message:
                    found.add(
                        one.text, context=where or one.heading, auto_comments=[one.row] if one.row else []
                    )
        return found

    # -- the catalogues ------------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        return self.folder / "messages" / f"{name}.po"

    def catalogue(self, name: str) -> Catalog:
        """A catalogue as it is; an empty one where there is none.

        Raises:
            ValueError: the file cannot be read.
        """
        found = Messages(self.language, fuzzy=False)
        if self.path(name).exists():
            try:
                with open(self.path(name), "rb") as file:
                    read = read_po(file, abort_invalid=True)
            except Exception as error:  # Babel has several errors for a damaged file
                raise ValueError(f"{paths.shorten(self.path(name))} cannot be read: {error}") from error
            for one in read:
                if one.id:
                    found[one.id] = _with_previous(one)
        return found

    def updated(self, name: str) -> Catalog:
        """A catalogue brought up to date with the English texts. A text that only moved keeps its translation."""
        before, found = self.catalogue(name), self.catalogue(name)
        finished = {one.id: one.string for one in before if one.id and one.string and not one.fuzzy}
        found.update(self.template(name), update_creation_date=False)
        found.obsolete.clear()
        for one in found:
            old = before.get(one.id, one.context) if one.id else None
            if one.id and one.fuzzy and old is None and one.id in finished:
                one.string, one.previous_id = finished[one.id], []
                one.flags.discard("fuzzy")
            elif old is not None and one.fuzzy:
                one.previous_id = old.previous_id
            one.flags &= {"fuzzy"}
        return found

    def fill(self, name: str, translations: dict[tuple[str | None, str], str]) -> None:
        """Put translations into a catalogue.

        Args:
            translations: (context, English text) → translation.

        Raises:
            KeyError: there is no such message.
        """
        found = self.updated(name)
        for (context, text), translation in translations.items():
            one = found.get(text, context)
            if one is None:
                raise KeyError(f"{self.path(name).name} has no message {text!r} in {context!r}.")
            one.string, one.previous_id, one.flags = translation, [], set()
        self._save(name, found)

    def update(self, name: str) -> None:
        """Bring a catalogue up to date."""
        self._save(name, self.updated(name))

    def _save(self, name: str, found: Catalog) -> None:
        """Write a catalogue, and of that of the code also the form that Python reads."""
        text = io.BytesIO()
        found.header_comment = ""
        write_po(text, found, width=0, ignore_obsolete=True, include_previous=True, include_lineno=False)
        _write(self.path(name), text.getvalue().lstrip())
        if name == HELPERS:
            _write(self.compiled(), compiled(found))

    def compiled(self) -> Path:
        return self.root / HELPERS / "plumbing/messages" / f"{self.language}.mo"

    # -- the texts -----------------------------------------------------------------------------------

    def made(self, name: str) -> dict[Path, str]:
        """What is made of a notebook (its solutions, too) or a page: path → content."""
        if name == HELPERS:
            return {}
        known = self.catalogue(name)
        source = self.sources[name]
        if source.suffix == ".md":
            text = self._translated(source.read_text(encoding="utf-8"), known, "", source)
            return {self.target(source): text.rstrip("\n") + "\n"}
        found = {}
        for path in filter(None, (source, self.solutions.get(name))):
            notebook = _read(path)
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = self._translated(cell.source, known, place(path, cell), path)
            found[self.target(path)] = nbformat.writes(notebook) + "\n"
        return found

    def _translated(self, markdown: str, known: Catalog, where: str, source: Path) -> str:
        def words(one: Piece) -> str:
            return _words(known.get(one.text, where or one.heading)) or one.text

        text = messages.filled(list(messages.pieces(markdown)), words, self._time)
        return LINK.sub(lambda found: f"]({self.link(found[1], source)})", text)

    def _time(self, value: str) -> str:
        """ "3 minutes" in this language, as the code says it."""
        number, unit = value.split()
        known = self.catalogue(HELPERS).get(f"{{number}} {unit}")
        return (_words(known) or f"{{number}} {unit}").format(number=number)

    def target(self, source: Path) -> Path:
        """Where the counterpart of a source lies; the source itself where there is none."""
        known = {*self.sources.values(), *self.solutions.values()}
        if source not in known:
            return source
        if source.parent == self.root:
            return source.with_name(f"{source.stem}.{self.language}{source.suffix}")
        return self.folder / source.relative_to(self.root / "notebooks")

    def link(self, link: str, source: Path) -> str:
        """Where a link of a source leads in this edition: to the counterpart, where there is one."""
        address, mark, rest = link.partition("#")
        if HOSTS.match(address):
            return re.sub(r"(?<=/notebooks/)(?=\d\d_)", f"{self.language}/", link)
        if not address or re.match(r"\w+:", address):
            return link
        english = Path(os.path.normpath(source.parent / address))
        # A page that links to itself names its languages: that link leads to the English one.
        there = english if english == source and not mark else self.target(english)
        return Path(os.path.relpath(there, self.target(source).parent)).as_posix() + mark + rest

    def write(self, name: str) -> None:
        """Write what is made of a notebook or page."""
        for path, text in self.made(name).items():
            _write(path, text.encode())

    # -- what is wrong -------------------------------------------------------------------------------

    def problems(self, name: str) -> list[str]:
        """What is missing, fuzzy, obsolete, damaged or not as it would be written; each with its cell or heading."""
        wanted, known = self.template(name), self.catalogue(name)
        found = []
        for one in wanted:
            mine = known.get(one.id, one.context) if one.id else None
            if one.id and mine is None:
                found.append((one, "is not in the catalogue"))
            elif mine is not None and not mine.string:
                found.append((one, "is not translated"))
            elif mine is not None and mine.fuzzy:
                found.append(
                    (one, "was changed, and its translation is still that of the former text (fuzzy)")
                )
            elif mine is not None:
                found += [(one, f"its translation {what}") for what in messages.lost(one.id, mine.string)]
        found += [
            (one, "is obsolete: no English text has it")
            for one in known
            if one.id and wanted.get(one.id, one.context) is None
        ]
        said = [f"{name}, {_where(one)}: {one.id!r:.90} {what}" for one, what in found]
        if said:
            return said
        made = {path: text.encode() for path, text in self.made(name).items()}
        if name == HELPERS:
            made = {self.compiled(): compiled(known)}
        return [
            f"{name}: {path.relative_to(self.root)} is not what the English text and the catalogue give"
            for path, content in made.items()
            if not path.exists() or path.read_bytes() != content
        ]


LINK = re.compile(r"\]\(([^)\s]+)\)")
HOSTS = re.compile(r"https://(colab\.research\.google\.com|mybinder\.org)/")


def place(path: Path, cell) -> str:
    """The context of a cell's messages. The text of an exercise is the same in the notebook and in its solutions."""
    if "exercise" in cell.metadata:
        return f"exercise {cell.metadata['exercise']}"
    return f"solutions, cell {cell.id}" if path.parent.name == "solutions" else f"cell {cell.id}"


def shown(folder: Path) -> Iterator[tuple[Path, str]]:
    """The texts in the code of a folder that a learner sees: file, text."""
    for path in sorted(folder.rglob("*.py")):
        if "plumbing.language" not in path.read_text(encoding="utf-8") and "exercises" not in path.parts:
            continue
        for _, texts, _, _ in extract_from_file("python", path, keywords=MARKED):
            for text in [texts] if isinstance(texts, str) else texts:
                yield path, text


def compiled(catalog: Catalog) -> bytes:
    """A catalogue as ``gettext`` reads it, without what is fuzzy."""
    content = io.BytesIO()
    write_mo(content, catalog)
    return content.getvalue()


def _with_previous(message: Message) -> Message:
    """A message with the former English of a fuzzy one, which Babel writes and reads as a comment."""
    former = [line[1:].strip() for line in message.user_comments if line.startswith("|")]
    if former:
        message.user_comments = [line for line in message.user_comments if not line.startswith("|")]
        message.previous_id = [ast.literal_eval(" ".join(former).removeprefix("msgid").strip())]
    return message


def _words(message: Message | None) -> str:
    return "" if message is None or message.fuzzy else message.string


def _where(message: Message) -> str:
    return message.context or ", ".join(path for path, _ in message.locations) or "above the first heading"


def _read(path: Path):
    return nbformat.read(path, as_version=4)


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; one that is the same already stays as it is."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    with paths.replacing(path) as temporary:
        temporary.write_bytes(content)


def main(arguments: list[str] | None = None) -> int:
    """Update and write every language, or check it; 0 when nothing is left to translate."""
    parser = argparse.ArgumentParser(prog="python -m helpers.workshop.translate")
    parser.add_argument("--check", action="store_true", help="change nothing, only say what is not right")
    parser.add_argument("--language", choices=list(LANGUAGES)[1:], help="only this one")
    parser.add_argument("names", nargs="*", help="only notebooks and pages that begin like this, e.g. 03")
    chosen, problems = parser.parse_args(arguments), []
    for language in [chosen.language] if chosen.language else list(LANGUAGES)[1:]:
        edition = Edition(language)
        names = [one for one in edition.names if one.startswith(tuple(chosen.names) or "")]
        if not chosen.check:
            for name in names:
                edition.update(name)
            for name in names:
                edition.write(name)
        problems += [f"{language}: {said}" for name in names for said in edition.problems(name)]
    print(*problems, f"{len(problems)} to do" if problems else "Everything is translated.", sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
