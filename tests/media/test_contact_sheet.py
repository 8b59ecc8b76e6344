from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from talksplat.media.contact_sheet import CAPTION, ContactSheet


@pytest.mark.parametrize("frames", [1, 5, 24, 25, 10_000])
def test_shown_frames_are_evenly_spread_and_exist(frames: int) -> None:
    indices = ContactSheet(frames, columns=6, rows=4).indices
    assert len(indices) == min(frames, 24)
    assert indices == sorted(set(indices))
    assert indices[0] >= 0
    assert indices[-1] < frames
    if frames > 24:
        gaps = np.diff(indices)
        assert gaps.max() - gaps.min() <= 1


def test_pictures_stand_in_reading_order_and_only_the_shown_are_kept(tmp_path: Path) -> None:
    sheet = ContactSheet(40, columns=2, rows=2, edge=32)
    assert sheet.indices == [5, 15, 25, 35]
    for index in range(40):
        sheet.offer(index, np.full((64, 64, 3), 5 * index, np.uint8))
    sheet.save(tmp_path / "sheet.png", comment="made here")
    with Image.open(tmp_path / "sheet.png") as page:
        assert page.size == (64, 2 * (32 + CAPTION))
        assert page.info["Comment"] == "made here"
        shown = [page.getpixel((16 + 32 * column, 16 + 48 * row)) for row in range(2) for column in range(2)]
    assert shown == [(5 * index,) * 3 for index in sheet.indices]
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
