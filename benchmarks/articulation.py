"""Lip opening, width and outer opening told from speech on held-out frames: own data, prior, and both, clip by clip.

    python benchmarks/articulation.py PORTRAIT... --pool DIR [--same lieu-45s=office-man-60s] [--out FILE]

The linear baseline is fitted on the clip's own training frames; the prior has not seen the person (a pool's clip named
like the portrait's source, or as --same says, is left out); adapted is what the encoder `articulation` feeds to a
method. No avatar is trained. Portraits must have been prepared with the offset between sound and picture taken out.
Ends with one line of JSON: correlations by clip.
"""

import json

import numpy as np
import torch
from offsets import strangers

from talksplat.dataset import PortraitDataset
from talksplat.metrics.sync import correlation
from talksplat.model.articulation import person_articulation
from talksplat.speech.articulator import fit_articulator
from talksplat.speech.baseline import fit_lip_baseline
from talksplat.speech.prior import MEASURES
from talksplat.storage import write_json


def main() -> None:
    """Print rows a clip and one line of JSON."""
    clips, out = strangers(__doc__)
    found = {}
    print(f"{'clip':<28} {'told by':<10} " + " ".join(f"{name:>8}" for name in MEASURES))
    for name, (portrait, prior) in clips.items():
        dataset = PortraitDataset(portrait, "embedding")
        train, test = np.array(dataset.train_frames), np.array(dataset.test_frames)
        features = dataset.heard.numpy()
        components = torch.from_numpy(prior.components)
        lips = person_articulation(portrait.tracks, components, torch.from_numpy(train)).numpy()
        own = fit_lip_baseline(features, lips, train, spectral_channels=prior.spectral_channels)
        told = {
            "own": own.predict(features, test),
            "prior": prior.tell(features, test),
            "adapted": fit_articulator(prior, features, lips, train).tell(features, test),
        }
        found[name] = {
            who: {measure: correlation(lips_told[:, n], lips[test, n]) for n, measure in enumerate(MEASURES)}
            for who, lips_told in told.items()
        }
        for who, values in found[name].items():
            print(f"{name:<28} {who:<10} " + " ".join(f"{value:8.2f}" for value in values.values()), flush=True)
    if out:
        write_json(out, found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
