"""What the recording shows behind the head."""

import numpy as np
import pytest

from talksplat.frame import Label
from talksplat.recorded import FADE, NECK_REACH, TORSO_REACH, recorded_torso

SIZE = 120
PLATE = np.full((SIZE, SIZE, 3), 0.25, np.float32)


def bust(neck_rows: slice = slice(80, 100)) -> tuple[np.ndarray, np.ndarray]:
    """A face over a neck over a torso, with hair aside; every part has its own colour."""
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[10:80, 40:80] = Label.FACE
    labels[10:100, 20:40] = Label.HAIR
    labels[60:66, 55:65] = Label.MOUTH
    labels[neck_rows, 50:70] = Label.NECK
    labels[100:, 10:110] = Label.TORSO
    image = np.zeros((SIZE, SIZE, 3), np.float32)
    colors = {Label.FACE: 0.9, Label.HAIR: 0.1, Label.MOUTH: 0.3, Label.NECK: 0.7, Label.TORSO: 0.5}
    for label, shade in colors.items():
        image[labels == label] = shade
    return image, labels


def test_nothing_of_the_head_is_left() -> None:
    image, labels = bust()
    behind = recorded_torso(image, labels, PLATE)
    for shade in (0.9, 0.1, 0.3):  # face, hair, inner mouth
        assert not np.isclose(behind, shade, atol=1e-6).any()


def test_neck_and_torso_are_as_recorded_and_the_rest_is_the_plate() -> None:
    image, labels = bust()
    behind = recorded_torso(image, labels, PLATE)
    assert np.array_equal(behind[100:, 10:110], image[100:, 10:110])
    assert np.array_equal(behind[:20], PLATE[:20])
    assert np.array_equal(behind[:, 22:38][:96], PLATE[:, 22:38][:96]), "under hair nothing goes on upwards"


def test_the_neck_goes_on_under_the_face_and_darkens() -> None:
    image, labels = bust()
    column = recorded_torso(image, labels, PLATE)[:, 60, 0]
    # The dilated neck begins at 77; four pixels below it is the color that goes on for 53 pixels.
    top = 77 + 4 - NECK_REACH + 1
    assert column[top - 1] == pytest.approx(0.25)
    assert column[top + 4] == pytest.approx(0.7 * FADE ** (NECK_REACH - 5), rel=0.02)
    assert (np.diff(column[top + 3 : 78]) > 0).all()


def test_a_torso_that_touches_the_face_goes_on_a_little() -> None:
    image, labels = bust(neck_rows=slice(0, 0))
    labels[80:100, 45:75] = Label.TORSO
    image[80:100, 45:75] = 0.5
    column = recorded_torso(image, labels, PLATE)[:, 60, 0]
    assert column[80 - TORSO_REACH + 1] == pytest.approx(0.5 * FADE ** (TORSO_REACH - 1))
    assert column[80 - TORSO_REACH] == pytest.approx(0.25)


def test_a_picture_without_neck_or_torso_is_the_plate() -> None:
    image, labels = bust()
    labels[(labels == Label.NECK) | (labels == Label.TORSO)] = Label.BACKGROUND
    assert np.array_equal(recorded_torso(image, labels, PLATE), PLATE)
