"""The same answers where no phone can reach the kernel: a button for uploading, in the notebook."""

import html
import io

import ipywidgets
from PIL import Image

from helpers import photos
from helpers.phone.collection import Collection
from helpers.plumbing.language import translated as _


class Widget:
    """A photo is uploaded, answered, and kept if it is labelled. ``box`` is displayed.

    Attributes:
        counts, chart: as ``Collection.counts`` and ``Collection.chart``.
    """

    def __init__(self, collection: Collection):
        self._collection, self.counts, self.chart = collection, collection.counts, collection.chart
        self.photo = ipywidgets.FileUpload(accept="image/*", description=_("A photo"))
        self.seen = ipywidgets.Image(width=160, layout={"visibility": "hidden"})
        self.said = ipywidgets.HTML()
        labels = [(label, place) for place, label in enumerate(collection.roads.labels)]
        self.label = ipywidgets.Dropdown(
            options=[*labels, (_("none of these"), -1)], description=_("It really is")
        )
        self.keep = ipywidgets.Button(description=_("Keep it"), disabled=True)
        self.photo.observe(lambda change: self._try(self._answer), "value")
        self.keep.on_click(lambda button: self._try(self._label))
        self.box = ipywidgets.VBox([self.photo, self.seen, self.said, self.label, self.keep])

    def stop(self) -> None:
        """Take it away. What was kept stays."""
        self.box.close()

    def _try(self, step) -> None:
        self.keep.disabled = True
        try:
            said = step(bytes(self.photo.value[0]["content"])) if self.photo.value else []
        except (OSError, ValueError) as error:
            said = [str(error)]
        self.said.value = "<br>".join(map(html.escape, said))

    def _answer(self, photo: bytes) -> list[str]:
        answers, png = self._collection.roads.ask(photos.open_photo(photo)), io.BytesIO()
        Image.fromarray(answers[0].seen.permute(1, 2, 0).numpy()).resize((160, 160), 0).save(png, "PNG")
        self.seen.value, self.seen.layout.visibility, self.keep.disabled = png.getvalue(), "visible", False
        said = []
        for one in answers:
            words = _("not sure, perhaps {label}", label=one.label)
            words = one.label if one.probs.max() >= one.threshold else words
            said.append(f"{one.network}, {one.crop}: {words} ({one.probs.max():.0%})")
        return said

    def _label(self, photo: bytes) -> list[str]:
        self._collection.keep(photo, None if self.label.value == -1 else self.label.value)
        return [f"{name}: {share}" for name, share in self.counts().items()]
