"""Where the project's texts lead to: inside, to files and headings; outside, to addresses.

``python -m helpers.workshop.links`` prints every address outside with the places that name it; ``--check`` asks
each of them whether it is still there, which a workflow does once a month. It needs no package.
"""

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from helpers.workshop import texts

ADDRESS = re.compile(r"https://[^\s<>\"'`|\\^{}()\[\]]++(?!\{)")
EXAMPLE = re.compile(r"https://([^/.]*$|github\.com/(OWNER|$)|[^/]*example\.)")
"""What begins like an address and is none that could be asked."""
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)|<(?:a|img)\b[^>]*\b(?:href|src)=\"([^\"]+)\"")
OTHERS = [*texts.CODE, "*.toml", "*.txt", "*.cff", "Makefile", "LICENSE", ".github/workflows/*.yml"]
OTHERS += [f"helpers/**/*.{ending}" for ending in ("html", "js", "css", "swift", "toml", "json", "txt")]
OTHERS += ["notebooks/zh/**/*.po", "notebooks/zh/**/*.csv"]
WAIT_S = 30
GONE = {404, 410}
"""What a server says of an address that is no longer there. Others may just not like to be asked by a program."""


def inside(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """The links of a Markdown text to files and headings of the project: file ("" for its own) and heading or ""."""
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    for markdown, tag in LINK.findall(text):
        target = markdown or tag
        if not re.match(r"[a-z]+:", target):
            yield tuple(target.partition("#")[::2])


def headings(path: Path) -> set[str]:
    """The places of a Markdown file or notebook that a link may name behind ``#``.

    In a notebook they are spelt as JupyterLab does, elsewhere as GitHub does.
    """
    found = set()
    for _, _, text in texts.markdown(texts.place(path)):
        text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        found |= set(re.findall(r"<\w+ [^>]*\bid=\"([^\"]+)\"", text))
        for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.MULTILINE):
            words = re.sub(r"\]\([^)]*\)|[`*\[\]]", "", heading)
            github = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            found.add(words.replace(" ", "-") if path.suffix == ".ipynb" else github)
    return found


def broken() -> list[str]:
    """Every link to a file or a heading of the project that is not there: "place: link"."""
    found = []
    for path, where, text in [*texts.markdown(*texts.MARKDOWN), *texts.markdown(*texts.TRANSLATED)]:
        for file, heading in inside(path, text):
            target = (path.parent / file).resolve() if file else path
            readable = target.suffix in (".md", ".ipynb")
            if not target.exists() or (heading and readable and heading not in headings(target)):
                found.append(f"{where}: {file}{'#' if heading else ''}{heading}")
    return found


def outside() -> dict[str, list[str]]:
    """Every address outside → the places that name it, in texts, code, pages and settings; tests have their own."""
    pieces = [one[1:] for one in [*texts.markdown(*texts.MARKDOWN), *texts.markdown(*texts.TRANSLATED)]]
    for path in texts.files(*texts.MARKDOWN):
        pieces += texts.cells(path, "code") if path.suffix == ".ipynb" else []
    pieces += [(texts.place(path), path.read_text(encoding="utf-8")) for path in texts.files(*OTHERS)]
    found: dict[str, list[str]] = {}
    for where, text in pieces:
        text = re.sub(r'"\n\s*f?"', "", text)  # a text of Python that goes on in the next line
        for address in (one.rstrip(".,;:!?*") for one in ADDRESS.findall(text)):
            if not EXAMPLE.match(address) and where not in found.setdefault(address, []):
                found[address].append(where)
    return dict(sorted(found.items()))


def fault(address: str) -> str:
    """Why this address is no use any more; "" if it is there, or if only its server knows."""
    request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (links of a project)"})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.reason}" if error.code in GONE else ""
    except (OSError, ValueError) as error:
        return str(error)


def main(arguments: list[str]) -> int:
    """Print the addresses, or with ``--check`` those that are gone; return the exit code."""
    found = outside()
    if "--check" not in arguments:
        print("\n".join(f"{address}  {'; '.join(places)}" for address, places in found.items()))
        return 0
    with ThreadPoolExecutor(8) as pool:
        faults = dict(zip(found, pool.map(fault, found), strict=True))
    for address, why in faults.items():
        if why:
            print(f"{address}: {why}. Named in {'; '.join(found[address])}", file=sys.stderr)
    print(f"{len(found)} addresses, {sum(map(bool, faults.values()))} of them gone.")
    return 1 if any(faults.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
