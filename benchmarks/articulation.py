"""Lip opening, width and outer opening told from speech on held-out frames: own data, prior, and both, clip by clip.

    python benchmarks/articulation.py PORTRAIT... --pool DIR [--same lieu-45s=office-man-60s] [--out FILE]

The linear baseline is fitted on the clip's own training frames; the prior has not seen the person (a pool's clip named
like the portrait's source, or as --same says, is left out); adapted is what the encoder `articulation` feeds to a
method. No avatar is trained. Portraits must have been prepared with the offset between sound and picture taken out.
Each is judged twice: on the frames that evaluations hold out, and on every fifth of the clip in turn, with the frames
next to it left out (means of the five; the held-out frames of short clips are two seconds). Ends with one line of JSON:
correlations by clip.
"""

import json

import numpy as np
import torch
from jaxtyping import Float, Int64
from offsets import strangers

from talksplat.dataset import PortraitDataset
from talksplat.metrics.sync import correlation
from talksplat.model.articulation import person_articulation
from talksplat.portrait import Portrait
from talksplat.speech.articulator import fit_articulator
from talksplat.speech.baseline import fit_lip_baseline
from talksplat.speech.prior import MEASURES, ArticulationPrior
from talksplat.speech.ridge import blocks
from talksplat.storage import write_json

Frames = Int64[np.ndarray, " n"]


def correlations(
    portrait: Portrait,
    heard: Float[np.ndarray, "steps channels"],
    prior: ArticulationPrior,
    train: Frames,
    test: Frames,
) -> dict[str, list[float]]:
    """Of each measure, by who tells it."""
    components = torch.from_numpy(prior.components)
    lips = person_articulation(portrait.tracks, components, torch.from_numpy(train)).numpy()
    own = fit_lip_baseline(heard, lips, train, spectral_channels=prior.spectral_channels)
    told = {
        "own": own.predict(heard, test),
        "prior": prior.tell(heard, test),
        "adapted": fit_articulator(prior, heard, lips, train).channels_of(heard, test),
    }
    return {
        who: [correlation(lips_told[:, n], lips[test, n]) for n in range(len(MEASURES))]
        for who, lips_told in told.items()
    }


def main() -> None:
    """Print rows a clip and one line of JSON."""
    clips, out = strangers(__doc__)
    found = {}
    columns = " ".join(f"{name:>8}" for name in MEASURES)
    print(f"{'clip':<28} {'told by':<10} {columns}   in fifths {columns}")
    for name, (portrait, prior) in clips.items():
        dataset = PortraitDataset(portrait, "embedding")
        heard, held_out = dataset.heard.numpy(), (np.array(dataset.train_frames), np.array(dataset.test_frames))
        every = np.concatenate(held_out)
        fifths = [(every[kept], every[held]) for kept, held in blocks(every)]
        parts = [correlations(portrait, heard, prior, *part) for part in (held_out, *fifths)]
        found[name] = {
            who: {
                "held out": dict(zip(MEASURES, parts[0][who], strict=True)),
                "fifths": dict(zip(MEASURES, np.mean([part[who] for part in parts[1:]], axis=0).tolist(), strict=True)),
            }
            for who in parts[0]
        }
        for who, values in found[name].items():
            rows = [" ".join(f"{value:8.2f}" for value in by_measure.values()) for by_measure in values.values()]
            print(f"{name:<28} {who:<10} {rows[0]}             {rows[1]}", flush=True)
    if out:
        write_json(out, found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
