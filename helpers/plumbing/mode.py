"""How long the road may take: the one place that reads ``CHAPTER_MODE``.

=======  ====================================================================
quick    a short training that still passes 80 %: what a learner wants, and
         the default of ``make run`` and of a notebook opened by hand
full     the recipe of the shipped checkpoint
smoke    seconds, on drawings: for tests
=======  ====================================================================

``make setup`` reads it before anything is installed, with whatever Python the
machine has, so no word here is new to an old one.
"""

import os

MODES = ("quick", "full", "smoke")


def mode():
    """The mode of this run: ``"quick"``, ``"full"`` or ``"smoke"``.

    Raises:
        ValueError: ``CHAPTER_MODE`` holds another word.
    """
    chosen = os.environ.get("CHAPTER_MODE") or "quick"
    if chosen not in MODES:
        raise ValueError(
            "CHAPTER_MODE is %r. The modes are %s: set one of these." % (chosen, ", ".join(MODES))
        )
    return chosen
