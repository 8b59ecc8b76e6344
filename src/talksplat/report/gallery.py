"""Pictures kept for the report: some test frames, as recorded and as each candidate shows them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "H W 3"]
Square = tuple[int, int, int]
"""Top, left and edge of a square part of a picture, pixels."""


@dataclass(frozen=True)
class Exhibit:
    """One test frame."""

    index: int
    caption: str
    pictures: dict[str, Picture]
    """By candidate, the truth among them."""
    mouth: Square
    """The mouth crop, the same for all candidates."""


@dataclass
class Gallery:
    """The exhibits in the order of time."""

    exhibits: list[Exhibit] = field(default_factory=list)
    silent: list[Picture] = field(default_factory=list)
    """The avatar in silence."""

    def add(self, exhibit: Exhibit) -> None:
        """Hang one more."""
        self.exhibits.append(exhibit)
        self.exhibits.sort(key=lambda shown: shown.index)


def cut(picture: Picture, square: Square) -> UInt8[np.ndarray, "h w 3"]:
    """A square part of a picture."""
    top, left, edge = square
    return picture[top : top + edge, left : left + edge]


def data_uri(picture: Picture, edge: int, quality: int = 85) -> str:
    """A picture scaled to ``edge`` pixels, as a JPEG inside an address."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture))
    if image.size != (edge, edge):
        image = image.resize((edge, edge), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def contact_sheet(gallery: Gallery, candidates: tuple[str, ...], edge: int = 256) -> Picture:
    """One picture of all exhibits: a row a frame, a column a candidate, the mouth enlarged beside each face."""
    from PIL import Image, ImageDraw

    heading = 18
    sheet = Image.new("RGB", (len(candidates) * edge * 3 // 2, heading + len(gallery.exhibits) * edge), "white")
    draw = ImageDraw.Draw(sheet)
    for column, candidate in enumerate(candidates):
        left = column * edge * 3 // 2
        draw.text((left + 4, 3), candidate, fill="black")
        for row, exhibit in enumerate(gallery.exhibits):
            picture, top = exhibit.pictures[candidate], heading + row * edge
            mouth = cut(picture, exhibit.mouth)
            sheet.paste(_scaled(picture, edge), (left, top))
            sheet.paste(_scaled(mouth, edge // 2), (left + edge, top))
            error = np.abs(mouth.astype(np.int16) - cut(exhibit.pictures["truth"], exhibit.mouth))
            sheet.paste(_scaled((error * 3).clip(0, 255).astype(np.uint8), edge // 2), (left + edge, top + edge // 2))
    return np.asarray(sheet)


def _scaled(picture: Picture, edge: int):
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(picture)).resize((edge, edge), Image.Resampling.LANCZOS)
