"""A contact sheet: some pictures of a film on one page, each with its time, kept small while the film goes by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from talksplat.clock import FRAME_RATE
from talksplat.storage import replacing

CAPTION = 16
"""Height of the line under a picture, pixels."""


class ContactSheet:
    """Evenly spaced pictures of a film of known length."""

    def __init__(self, frames: int, columns: int = 6, rows: int = 4, edge: int = 224) -> None:
        """A sheet of at most ``columns`` x ``rows`` pictures, ``edge`` pixels wide each."""
        count = min(frames, columns * rows)
        self.indices = [int((place + 0.5) * frames / count) for place in range(count)]
        """The frames that are shown."""
        self._columns, self._edge = min(columns, count), edge
        self._kept: dict[int, UInt8[np.ndarray, "h w 3"]] = {}

    def offer(self, index: int, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Keep the picture of frame ``index``, scaled down, if the sheet shows it."""
        from PIL import Image

        if index in self.indices:
            height = round(self._edge * picture.shape[0] / picture.shape[1])
            small = Image.fromarray(picture).resize((self._edge, height), Image.Resampling.LANCZOS)
            self._kept[index] = np.asarray(small)

    def save(self, path: Path, comment: str = "") -> None:
        """Write the sheet as PNG; ``comment`` goes into its text chunk of that name.

        Raises:
            DiskFull: no space left.
        """
        from PIL import Image, ImageDraw
        from PIL.PngImagePlugin import PngInfo

        height = max(picture.shape[0] for picture in self._kept.values())
        rows = -(-len(self._kept) // self._columns)
        page = Image.new("RGB", (self._columns * self._edge, rows * (height + CAPTION)), "white")
        draw = ImageDraw.Draw(page)
        for place, (index, picture) in enumerate(sorted(self._kept.items())):
            left = place % self._columns * self._edge
            top = place // self._columns * (height + CAPTION)
            page.paste(Image.fromarray(picture), (left, top))
            draw.text((left + 4, top + height + 1), f"{index / FRAME_RATE:.2f} s", fill="black")
        notes = PngInfo()
        notes.add_itxt("Comment", comment)
        with replacing(path) as temporary:
            page.save(temporary, format="PNG", pnginfo=notes)
