"""The eight windows around a frame: which steps they hold, and the same for films and streams."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from talksplat.speech.windows import LOOKAHEAD_STEPS, WindowStream, windows_of, windows_of_frames

STEPS = 60
RAMP = torch.arange(1.0, STEPS + 1)[:, None] * torch.tensor([1.0, -1.0])
"""Step m holds m + 1 and its negative, so that zeros can only come from outside."""


def test_every_entry_by_its_definition():
    """Window w of frame n belongs to frame m = n - 4 + w and holds steps 2 m + 1 - 8 ... 2 m + 1 + 7."""
    for frame in (0, 1, 7, 15, 28, 29):
        windows = windows_of(RAMP, frame)
        assert windows.shape == (8, 2, 16)
        for w in range(8):
            for s in range(16):
                step = 2 * (frame - 4 + w) + 1 - 8 + s
                expected = step + 1 if 0 <= step < STEPS else 0
                assert windows[w, 0, s] == expected
                assert windows[w, 1, s] == -expected


def test_a_window_is_centred_on_the_middle_of_its_frame():
    own = windows_of(RAMP, 15)[4, 0]
    assert own.mean() - 1 == pytest.approx(2 * 15 + 0.5)


def test_batches_equal_single_frames_outside_too():
    frames = torch.tensor([-20, -1, 0, 3, 29, 30, 90])
    batch = windows_of_frames(RAMP, frames)
    assert torch.equal(batch, torch.stack([windows_of(RAMP, int(frame)) for frame in frames]))
    assert not batch[0].any()
    assert not batch[-1].any()


@settings(deadline=None, max_examples=40)
@given(pieces=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any))
def test_stream_equals_the_whole(pieces):
    features = torch.randn(sum(pieces), 3, generator=torch.Generator().manual_seed(0))
    stream, popped = WindowStream(3), []
    for piece in features.split(pieces):
        stream.push(piece)
        while (windows := stream.pop()) is not None:
            popped.append(windows)
    stream.finish()
    while (windows := stream.pop()) is not None:
        popped.append(windows)
    frames = torch.arange((len(features) + 1) // 2)
    assert torch.equal(torch.stack(popped), windows_of_frames(features, frames))


def test_stated_lookahead_is_exact():
    stream = WindowStream(2)
    stream.push(RAMP[: 2 + LOOKAHEAD_STEPS - 1])
    assert stream.pop() is None
    stream.push(RAMP[2 + LOOKAHEAD_STEPS - 1 : 2 + LOOKAHEAD_STEPS])
    first = stream.pop()
    assert first is not None
    assert torch.equal(first, windows_of(RAMP, 0))
    assert stream.pop() is None


def test_gradients_flow_to_the_features():
    features = RAMP.clone().requires_grad_()
    windows_of(features, 15).sum().backward()
    assert features.grad is not None
    assert set(features.grad[15:45, 0].tolist()) <= {float(i) for i in range(1, 9)}
    assert not features.grad[:15].any()
    assert not features.grad[45:].any()
