"""The language in which the code speaks to a learner: English, or one that has a translation.

``CHAPTER_LANGUAGE`` chooses it. Where it is not set, the folder does: a notebook in ``notebooks/zh/`` is answered in
Chinese. ``messages/`` holds the translations, which ``helpers.workshop.translate`` makes of ``notebooks/zh/messages/``.
``make setup`` imports this with whatever Python 3 the machine has.
"""

import contextlib
import functools
import gettext
import os
import re
import unicodedata

from helpers.plumbing import variables

ENGLISH = "en"
MESSAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "messages")


def languages() -> list:
    """The languages that there are: ``["en", "zh"]``."""
    return [ENGLISH] + sorted(name[:-3] for name in os.listdir(MESSAGES) if name.endswith(".mo"))


def language() -> str:
    """The language of this process: ``"en"``, ``"zh"``.

    Raises:
        ValueError: ``CHAPTER_LANGUAGE`` names one that is not there.
    """
    chosen = variables.read("CHAPTER_LANGUAGE")
    if not chosen:
        with contextlib.suppress(OSError):  # the folder may have been deleted
            found = re.findall(r"/notebooks/(\w+)(?=/|$)", os.getcwd())
            return found[-1] if found and found[-1] in languages() else ENGLISH
        return ENGLISH
    if chosen not in languages():
        raise ValueError(
            "CHAPTER_LANGUAGE is %r. The languages are %s: set one of these."
            % (chosen, ", ".join(languages()))
        )
    return chosen


@functools.lru_cache(maxsize=None)
def catalogue(name: str) -> gettext.NullTranslations:
    """The translations into a language, as ``gettext`` reads them; every text as it is for English."""
    if name == ENGLISH:
        return gettext.NullTranslations()
    with open(os.path.join(MESSAGES, name + ".mo"), "rb") as file:
        return gettext.GNUTranslations(file)


def marked(text: str) -> str:
    """Mark a text for the catalogue that is translated later, when it is shown."""
    return text


def translated(text: str, **values: object) -> str:
    """A text that a learner sees, in the language of this process.

    Args:
        text: in English, as a whole: Babel's extractor takes it from the code, so it is no f-string.
        values: what stands in place of ``{name}`` or ``{share:.0%}`` in it.
    """
    found = catalogue(language()).gettext(text) if text else text
    return found.format(**values) if values else found


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: a Chinese sign takes two."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def padded(text: str, width: int, before: bool = False) -> str:
    """The text with blanks after (or before) it, up to this many columns of a terminal."""
    blanks = " " * (width - columns(text))
    return blanks + text if before else text + blanks
