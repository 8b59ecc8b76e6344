"""The split, the order of draws and the rest state."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from drawn import draw_portrait
from talksplat.dataset import PortraitDataset, draws, prefetched, split_frames
from talksplat.errors import MissingInput, PortraitError
from talksplat.portrait import FORMAT, Portrait


@pytest.mark.parametrize(("count", "test"), [(200, 50), (331, 50), (1130, 103), (7500, 682), (125, 41), (60, 20)])
def test_split_is_a_last_eleventh_of_at_least_two_seconds_and_at_most_a_third(count: int, test: int) -> None:
    train, held_out = split_frames(count)
    assert len(held_out) == test
    assert [*train, *held_out] == list(range(count))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_portrait(tmp_path_factory.mktemp("drawn") / "portrait").folder


def test_draws_are_shuffled_passes_and_a_function_of_the_step(folder: Path) -> None:
    dataset = PortraitDataset(Portrait(folder), "embedding")
    count = len(dataset.train_frames)
    order = [drawn.index for drawn in draws(dataset, 5, "head", 0, 3 * count)]
    assert set(Counter(order).values()) == {3}
    assert order[:count] != order[count : 2 * count]
    later = [drawn.index for drawn in draws(dataset, 5, "head", count + 7, 3 * count)]
    assert later == order[count + 7 :]


def test_every_tenth_draw_rests_on_a_closed_mouth(folder: Path) -> None:
    portrait = Portrait(folder)
    dataset = PortraitDataset(portrait, "embedding")
    drawn = list(draws(dataset, 0, "head", 0, 40, resting=True))
    assert [n for n, item in enumerate(drawn) if item.resting] == [9, 19, 29, 39]
    opening = portrait.tracks.mouth[:, 0]
    assert all(opening[item.index] <= opening[dataset.train_frames].quantile(0.1) for item in drawn if item.resting)
    shut = [item.index for n, item in enumerate(drawn) if n % 4 == 1 and not item.resting]
    assert len(shut) == 8
    assert all(index in dataset.closed_frames for index in shut)
    frame = dataset.frame(drawn[9].index, resting=True)
    assert torch.equal(frame.condition.speech[3, :, 5], dataset.rest_speech)


def test_seldom_seen_eyes_are_shown_often(tmp_path: Path) -> None:
    """One frame of closed eyes is drawn as often as all those of any other opening, and only while the face moves."""
    portrait = draw_portrait(tmp_path / "portrait")
    path = portrait.folder / "tracks.safetensors"
    tracks = load_file(path)
    opening = torch.full_like(tracks["eye_opening"], 0.9)
    opening[::3], opening[7] = 1.0, 0.05
    save_file({**tracks, "eye_opening": opening}, path)
    dataset = PortraitDataset(Portrait(portrait.folder), "embedding")
    assert dataset.blink_frame == 7
    assert dataset.eye_levels[0] == [7]
    assert sorted(n for level in dataset.eye_levels for n in level) == dataset.train_frames
    drawn = [item.index for item in draws(dataset, 0, "head", 0, 2000, resting=True)]
    chosen = [index for step, index in enumerate(drawn) if step % 5 == 2 and step % 4 != 1]
    assert 0.4 < chosen.count(7) / len(chosen) < 0.6
    still = [item.index for item in draws(dataset, 0, "head", 0, 2000)]
    assert still.count(7) <= 2000 // len(dataset.train_frames) + 1


def test_prefetched_frames_come_in_order(folder: Path) -> None:
    dataset = PortraitDataset(Portrait(folder), "embedding")
    wanted = list(draws(dataset, 1, "x", 0, 9))
    assert [frame.index for frame in prefetched(dataset, iter(wanted))] == [item.index for item in wanted]


def test_portraits_that_do_not_hold_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="no such folder"):
        Portrait(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PortraitError, match="is missing"):
        Portrait(tmp_path / "empty")
    portrait = draw_portrait(tmp_path / "one")
    with pytest.raises(PortraitError, match="no speech features `mel`"):
        PortraitDataset(portrait, "mel")
    path = portrait.folder / "tracks.safetensors"
    tracks = load_file(path)
    save_file({**tracks, "usable": torch.zeros_like(tracks["usable"])}, path)
    with pytest.raises(PortraitError, match="0 usable training frames"):
        PortraitDataset(Portrait(portrait.folder), "embedding")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PortraitError, match="cannot be read"):
        Portrait(portrait.folder)
    portrait.mask_path(3).unlink()
    with pytest.raises(PortraitError, match="should have 60 masks, found 59"):
        Portrait(portrait.folder)
    info = portrait.folder / "portrait.json"
    info.write_text(info.read_text().replace(f'"format": {FORMAT}', '"format": 99'))
    with pytest.raises(PortraitError, match="has format 99"):
        Portrait(portrait.folder)


def test_a_restricted_step_draws_from_the_frames_allowed_and_never_waits(folder: Path) -> None:
    dataset = PortraitDataset(Portrait(folder), "embedding")
    count = len(dataset.train_frames)
    allowed, nothing = torch.zeros(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
    allowed[[3, 8]] = True

    def eligible(step: int) -> torch.Tensor | None:
        return {0: allowed, 1: nothing}.get(step % 3)

    steps = range(3 * count)
    order = [drawn.index for drawn in draws(dataset, 2, "x", 0, len(steps), eligible=eligible)]
    plain = [drawn.index for drawn in draws(dataset, 2, "x", 0, len(steps))]
    restricted = {order[step] for step in steps if step % 3 == 0}
    assert restricted == {dataset.train_frames[3], dataset.train_frames[8]}
    assert all(order[step] == plain[step] for step in steps if step % 3)
    later = [drawn.index for drawn in draws(dataset, 2, "x", 7, len(steps), eligible=eligible)]
    assert later == order[7:]


def test_mouth_pixels_are_those_of_the_label_maps(folder: Path) -> None:
    dataset = PortraitDataset(Portrait(folder), "embedding")
    expected = [int((dataset.portrait.labels(n) >= 6).sum()) for n in dataset.train_frames]
    assert dataset.mouth_pixels == expected
    assert max(expected) > 0
