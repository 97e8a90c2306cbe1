"""How long the road may take: what ``CHAPTER_MODE`` says.

=======  ====================================================================
quick    a short training that still passes 80 %: what a learner wants, and
         the default of ``make run`` and of a notebook opened by hand
full     the recipe of the shipped checkpoint
smoke    seconds, on drawings: for tests
=======  ====================================================================

``make setup`` reads it before anything is installed, with whatever Python 3 the
machine has, so no word here is new to an old one.
"""

from helpers.plumbing import variables

MODES = ("quick", "full", "smoke")


def mode() -> str:
    """The mode of this run: ``"quick"``, ``"full"`` or ``"smoke"``.

    Raises:
        ValueError: ``CHAPTER_MODE`` holds another word.
    """
    chosen = variables.read("CHAPTER_MODE") or "quick"
    if chosen not in MODES:
        raise ValueError(f"CHAPTER_MODE is {chosen!r}. The modes are {', '.join(MODES)}: set one of these.")
    return chosen
