"""What the page says, in every language that there is. The phone's own language chooses, and a button."""

from helpers.plumbing.language import catalogue, languages
from helpers.plumbing.language import marked as _

TEXTS = {
    "html": _("en"),  # what HTML calls the language, e.g. zh-Hans
    "language": _("English"),  # what the language calls itself
    "title": _("What does it see?"),
    "take": _("Take a photo"),
    "choose": _("Choose a photo"),
    "live": _("Live camera"),
    "stop": _("End the live camera"),
    "insecure": _(
        "The live camera needs a secure address (https, or this computer itself). Taking photos works here."
    ),
    "used": _("The frame is the part that is used."),
    "all": _("{side}×{side}: this is all it sees."),
    "photo": _("The photo"),
    "seen": _("What the network sees, enlarged"),
    "freeze": _("Take this picture"),
    "crops": _("All three ways to make it square"),
    "networks": _("All networks, side by side"),
    "sees": _("sees"),
    "road": _("way"),
    "says": _("says"),
    "sure": _("{label} · {p}"),
    "unsure": _("Not sure ({label}? {p})"),
    "time": _("{milliseconds} ms on the computer, {all} ms with the way there and back"),
    "really": _("What is it really?"),
    "none": _("None of these"),
    "skip": _("Skip"),
    "same": _("The same thing as in the photo before"),
    "nothing": _("No photo labelled yet."),
    "one": _("1 photo, {right} right: {share} ({low} to {high})."),
    "count": _("{photos} photos, {right} right: {share} ({low} to {high})."),
    "more": _("{more} more narrow that to ±5 points."),
    "enough": _("That is within ±5 points."),
    "privacy": _(
        "A photo goes to the notebook on the computer, and nowhere else. It is kept only when you say what it is, "
        "without place and time."
    ),
    "busy": _("Too many photos at once. Wait a moment, then try again."),
    "large": _("That photo has more than 20 MB. Choose a smaller one."),
    "unreadable": _("That is no picture that can be read here."),
    "disk": _("The computer could not keep the photo. Is its disk full?"),
    "gone": _("The notebook no longer answers. Start the page there again, and scan the new code."),
    "camera": _("The camera cannot be used: {why}"),
    "failed": _("Something went wrong in the notebook. Try another photo."),
    "centre crop": _("centre crop"),
    "squash": _("squash"),
    "letterbox": _("letterbox"),
    "plain network": _("plain network"),
    "camera network": _("camera network"),
}
"""Key → text; the page fills the places in it."""


def everywhere() -> dict[str, dict[str, str]]:
    """The texts in every language: language → key → text."""
    return {name: {key: catalogue(name).gettext(text) for key, text in TEXTS.items()} for name in languages()}
