"""Articulation told live beside articulation told offline, on real portraits, by priors that have not seen the speaker.

    python benchmarks/live.py PORTRAIT... --pool DIR [--same lieu-45s=office-man-60s] [--out FILE]

Correlations with the recorded lip opening over all usable frames: offline the prior hears the whole recording and its
moments; live it hears the sound in pieces of 10 ms, 0.28 s ahead, and standardises by what it has heard. Portraits must
have been prepared with the offset between sound and picture taken out. Ends with one line of JSON: figures by clip, the
largest loss, and milliseconds a frame on one thread (median and 95th percentile).
"""

import json
import time

import numpy as np
from offsets import strangers

from talksplat.clock import SAMPLE_RATE
from talksplat.metrics.sync import correlation
from talksplat.speech.encoders import find_encoder
from talksplat.speech.live import LOOKAHEAD, LiveArticulation
from talksplat.speech.prior import ENCODER, ArticulationPrior
from talksplat.speech.standardization import Standardization
from talksplat.storage import write_json

PIECE = 160
"""Samples that come at a time."""


def told_live(prior: ArticulationPrior, sound: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """What is told of every frame, and the milliseconds that each frame cost."""
    live, parts, costs = LiveArticulation(prior), [], []
    cost = 0.0
    for at in range(0, len(sound), PIECE):
        began = time.perf_counter()
        parts.append(live.push(sound[at : at + PIECE]))
        cost += 1e3 * (time.perf_counter() - began)
        if len(parts[-1]):
            costs.append(cost)
            cost = 0.0
    return np.concatenate([*parts, live.finish()]), costs


def main() -> None:
    """Print a row a clip and one line of JSON."""
    clips, out = strangers(__doc__)
    found, costs = {}, []
    print(f"{'clip':<28} {'offline':>8} {'live':>8} {'loss':>8}")
    for name, (portrait, prior) in clips.items():
        sound, usable = portrait.audio(), portrait.tracks.usable.numpy()
        raw = find_encoder(ENCODER).encode(sound)
        offline = prior.tell(Standardization.of(raw).apply(raw))
        live, spent = told_live(prior, sound)
        costs += spent
        opening = portrait.tracks.mouth[:, 0].numpy()[usable]
        told = {"offline": offline, "live": live}
        row = {form: float(correlation(lips[: len(usable)][usable, 0], opening)) for form, lips in told.items()}
        found[name] = {**row, "loss": row["offline"] - row["live"]}
        print(f"{name:<28} " + " ".join(f"{value:8.3f}" for value in found[name].values()), flush=True)
    result = {
        "lookahead_ms": 1e3 * LOOKAHEAD / SAMPLE_RATE,
        "largest_loss": max(row["loss"] for row in found.values()),
        "mean_loss": float(np.mean([row["loss"] for row in found.values()])),
        "ms_per_frame": float(np.median(costs)),
        "ms_per_frame_p95": float(np.percentile(costs, 95)),
    }
    if out:
        write_json(out, {**result, "clips": found})
    print(json.dumps(result))


if __name__ == "__main__":
    main()
