"""A pool holds what sound and tracks tell, and nothing damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made import make_pool

from drawn import draw_portrait
from talksplat.errors import InputError, PriorError
from talksplat.model.articulation import lip_shapes
from talksplat.portrait import Portrait
from talksplat.prior.pool import add_to_pool, read_pool
from talksplat.speech.encoders import EmbeddingEncoder
from talksplat.speech.prior import shipped_prior
from talksplat.speech.standardization import Standardization
from talksplat.synthetic.speech import speech_of


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Portrait:
    drawn = draw_portrait(tmp_path_factory.mktemp("drawn") / "portrait", frames=150)
    soundfile.write(drawn.folder / "audio.wav", speech_of("a").samples[: 150 * 640], 16_000, subtype="PCM_16")
    return drawn


def test_a_portrait_comes_back_as_it_was_measured(portrait: Portrait, tmp_path: Path) -> None:
    add_to_pool(portrait, tmp_path / "pool", "ann", "ann", shipped_prior())
    add_to_pool(portrait, tmp_path / "pool", "ann-again", "ann", shipped_prior())
    first, second = read_pool(tmp_path / "pool")
    assert (first.name, second.name, first.person, second.person) == ("ann", "ann-again", "ann", "ann")
    assert (first.consent, first.source) == ("a drawing", "drawn.mp4")
    assert np.allclose(first.mouth, portrait.tracks.mouth, atol=1e-3)
    assert np.allclose(first.lips, lip_shapes(portrait.tracks.landmarks[..., :2]), atol=2e-3)
    assert {path.suffix for path in (tmp_path / "pool").iterdir()} == {".json", ".npz"}  # no picture, no sound


def test_its_features_are_the_encoders(portrait: Portrait, tmp_path: Path) -> None:
    clip = add_to_pool(portrait, tmp_path / "pool", "ann", "ann", shipped_prior())
    (stored,) = read_pool(tmp_path / "pool")
    raw = EmbeddingEncoder().encode(portrait.audio())
    wanted = Standardization.of(raw).apply(raw)
    assert np.abs(clip.features - wanted)[2:-2].max() < 0.02  # beyond the ends the encoder hears silence
    assert np.sqrt(np.mean((stored.features - wanted) ** 2)) < 0.05  # half precision


def test_names_are_plain_and_used_once(portrait: Portrait, tmp_path: Path) -> None:
    add_to_pool(portrait, tmp_path / "pool", "ann", "ann", shipped_prior())
    for name in ("ann", "../ann", ""):
        with pytest.raises(InputError, match="plain name"):
            add_to_pool(portrait, tmp_path / "pool", name, "ann", shipped_prior())


def test_clips_with_other_blendshapes_are_no_pool(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", ("ann", "bob"))
    with np.load(pool / "bob.npz") as file:
        arrays = dict(file)
    np.savez(pool / "bob.npz", **{**arrays, "names": arrays["names"][::-1]})
    with pytest.raises(PriorError, match=r"`bob` of the pool .* other blendshapes"):
        read_pool(pool)


@pytest.mark.parametrize("text", ["{", "{}", '[{"file": "ann"}]', "[1]"])
def test_a_damaged_index_is_refused(tmp_path: Path, text: str) -> None:
    pool = make_pool(tmp_path / "pool", ("ann",))
    (pool / "index.json").write_text(text)
    with pytest.raises(PriorError, match=r"index\.json"):
        read_pool(pool)


def test_damaged_clips_are_refused(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", ("ann",))
    whole = dict(np.load(pool / "ann.npz"))
    np.savez(pool / "ann.npz", **{**whole, "mel": whole["mel"][:-4]})
    with pytest.raises(PriorError, match=r"`mel` is \(753, 32\); expected \(757, 32\)"):
        read_pool(pool)
    broken = whole["mouth"].copy()
    broken[3] = np.nan
    np.savez(pool / "ann.npz", **{**whole, "mouth": broken})
    with pytest.raises(PriorError, match="all finite"):
        read_pool(pool)
    (pool / "ann.npz").write_bytes(b"no archive")
    with pytest.raises(PriorError, match="cannot be read"):
        read_pool(pool)
    rows = json.loads((pool / "index.json").read_text())
    (pool / "index.json").write_text(json.dumps([*rows, {"file": "eve", "lips_late_frames": 0}]))
    (pool / "ann.npz").unlink()
    with pytest.raises(PriorError, match="cannot be read"):
        read_pool(pool)
