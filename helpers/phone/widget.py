"""The same answers where no phone can reach the kernel: a button for uploading, in the notebook."""

import html
import io

import ipywidgets
from PIL import Image

from helpers import photos
from helpers.phone.collection import NONE, Collection


class Widget:
    """A photo is uploaded, answered, and kept if it is labelled. ``box`` is displayed.

    Attributes:
        counts, chart: as ``Collection.counts`` and ``Collection.chart``.
    """

    def __init__(self, collection: Collection):
        self._collection, self.counts, self.chart = collection, collection.counts, collection.chart
        self.photo = ipywidgets.FileUpload(accept="image/*", description="A photo")
        self.seen = ipywidgets.Image(width=160, layout={"visibility": "hidden"})
        self.said = ipywidgets.HTML()
        labels = [(label, place) for place, label in enumerate(collection.roads.labels)]
        self.label = ipywidgets.Dropdown(options=[*labels, (NONE, -1)], description="It really is")
        self.keep = ipywidgets.Button(description="Keep it", disabled=True)
        self.photo.observe(lambda change: self._answer(), "value")
        self.keep.on_click(lambda button: self._label())
        self.box = ipywidgets.VBox([self.photo, self.seen, self.said, self.label, self.keep])

    def stop(self) -> None:
        """Take it away. What was kept stays."""
        self.box.close()

    def _answer(self) -> None:
        self.keep.disabled = True
        if not self.photo.value:
            return
        try:
            picture = photos.open_photo(bytes(self.photo.value[0]["content"]))
        except ValueError as error:
            self.said.value = html.escape(str(error))
            return
        answers = self._collection.roads.ask(picture)
        png = io.BytesIO()
        Image.fromarray(answers[0].seen.permute(1, 2, 0).numpy()).resize((160, 160), 0).save(png, "PNG")
        self.seen.value, self.seen.layout.visibility, self.keep.disabled = png.getvalue(), "visible", False
        self.said.value = "<br>".join(
            html.escape(
                f"{one.network}, {one.crop}: {'' if one.probs.max() >= one.threshold else 'not sure, perhaps '}"
                f"{one.label} ({one.probs.max():.0%})"
            )
            for one in answers
        )

    def _label(self) -> None:
        self.keep.disabled = True
        place = None if self.label.value == -1 else self.label.value
        try:
            self._collection.keep(bytes(self.photo.value[0]["content"]), place)
        except (OSError, ValueError) as error:
            self.said.value = html.escape(str(error))
            return
        self.said.value = html.escape("; ".join(f"{name}: {share}" for name, share in self.counts().items()))
