"""Lip opening told from speech on held-out frames, by speech nets taught the recorded lips or what regression tells of
them (in use with `embedding`), beside the linear baseline. What `articulation` tells without a net:
benchmarks/articulation.py.

    python benchmarks/warm_start.py PORTRAIT [PORTRAIT ...]

All learn from the same training frames. A net's code gets a linear readout fitted on those frames; the avatar's
decoder is what reads it in use. Ends with one line of JSON: Pearson correlations by portrait.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from talksplat.dataset import PortraitDataset, seeded
from talksplat.model.articulation import articulation_targets, teach_articulation
from talksplat.model.conditioning import SpeechNet
from talksplat.portrait import Portrait
from talksplat.speech.baseline import fit_lip_baseline
from talksplat.speech.encoders import find_encoder
from talksplat.speech.windows import windows_of_frames

SPEECH = "embedding"
STEPS = 500


def correlations(folder: Path, seed: int) -> dict[str, float]:
    """Correlations of both on the test frames of one portrait."""
    portrait = Portrait(folder)
    dataset = PortraitDataset(portrait, SPEECH)
    train, test = torch.tensor(dataset.train_frames), torch.tensor(dataset.test_frames)
    opening = portrait.tracks.mouth[:, :1]
    spectral = find_encoder(SPEECH).spectral_channels
    baseline = fit_lip_baseline(dataset.heard.numpy(), opening.numpy(), train.numpy(), spectral_channels=spectral)
    told = {"linear": baseline.predict(dataset.heard.numpy(), test.numpy())[:, 0]}
    targets = articulation_targets(portrait.tracks.landmarks[..., :2], portrait.tracks.mouth, train)
    features = dataset.features.numpy()
    regression = fit_lip_baseline(features, targets.numpy(), train.numpy(), spectral_channels=spectral)
    regressed = torch.from_numpy(regression.predict(features, np.arange(len(targets)))).float()
    for name, lips in (("recorded", targets), ("regressed", regressed)):
        torch.manual_seed(seed)
        net = SpeechNet(dataset.channels)
        rest = dataset.rest_windows, targets[torch.tensor(dataset.closed_frames)].mean(0)
        teach_articulation(net, dataset.features, lips, train, STEPS, seeded(seed, "speech"), rest)
        with torch.no_grad():
            known, asked = (net(windows_of_frames(dataset.features, frames)) for frames in (train, test))
        center = known.mean(0)
        normal = (known - center).T @ (known - center) + torch.eye(known.shape[1])
        weights = torch.linalg.solve(normal, (known - center).T @ (opening[train] - opening[train].mean()))
        told[name] = ((asked - center) @ weights)[:, 0].numpy()
    truth = opening[test, 0].numpy()
    found = {name: round(float(np.corrcoef(values, truth)[0, 1]), 3) for name, values in told.items()}
    return {**found, "test_frames": len(test)}


def main() -> None:
    """Print a row a portrait and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("portraits", type=Path, nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = {}
    for folder in options.portraits:
        found[str(folder)] = row = correlations(folder, options.seed)
        figures = "   ".join(f"{name} {value:.3f}" for name, value in row.items() if name != "test_frames")
        print(f"{folder.resolve().parent.name}/{folder.name}: {figures}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
