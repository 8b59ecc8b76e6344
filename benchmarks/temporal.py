"""A network of convolutions over time from speech features to articulation, set beside a prior's windows."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from talksplat.clock import STEPS_PER_FRAME
from talksplat.prior.fit import Recipe
from talksplat.speech.prior import MEASURES

WIDTH, DILATIONS = 64, (1, 2, 4)
"""Channels, and frames between the taps of each layer's three: 15 frames are heard."""
EXCERPT, BATCH = 64, 8
"""Frames of an excerpt and excerpts of a step."""


class TemporalNet(nn.Module):
    """Channels squeezed, three residual layers of dilated convolutions, and a readout; dropout of whole channels."""

    def __init__(self, channels: int, outputs: int, recipe: Recipe) -> None:
        super().__init__()
        self.noise = recipe.noise
        self.into = nn.Sequential(nn.Dropout1d(recipe.drop_inputs), nn.Conv1d(channels, WIDTH, 1), nn.ReLU())
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(WIDTH, WIDTH, 3, padding=gap, dilation=gap), nn.ReLU()) for gap in DILATIONS
        )
        self.drop = nn.Dropout1d(recipe.drop_hidden)
        self.out = nn.Conv1d(WIDTH, outputs, 1)

    def forward(self, heard: Float[Tensor, "B channels T"]) -> Float[Tensor, "B outputs T"]:
        """Articulation of every frame."""
        if self.training:
            heard = heard + self.noise * torch.randn_like(heard)
        values = self.into(heard)
        for layer in self.layers:
            values = values + self.drop(layer(values))
        return self.out(values)


def by_frame(features: Float[np.ndarray, "steps channels"]) -> Float32[np.ndarray, "T two"]:
    """Both steps of every frame side by side."""
    return features[: len(features) // STEPS_PER_FRAME * STEPS_PER_FRAME].reshape(
        -1, STEPS_PER_FRAME * features.shape[1]
    )


def fit_temporal(
    heard: list[Float32[np.ndarray, "_ channels"]],
    targets: list[Float[np.ndarray, "_ outputs"]],
    recipe: Recipe,
    seed: int,
) -> TemporalNet:
    """Trained on excerpts of clips, drawn in proportion to their lengths, by the recipe's rates and steps."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = TemporalNet(heard[0].shape[1], targets[0].shape[1], recipe).train()
        inputs = [torch.from_numpy(np.ascontiguousarray(part.T)) for part in heard]
        wanted = [torch.from_numpy(np.ascontiguousarray(part.T)).float() for part in targets]
        places = torch.tensor([len(part) - EXCERPT for part in heard]).clamp_min(0).float() + 1
        counts = torch.ones(targets[0].shape[1], 1)
        counts[: len(MEASURES)] = recipe.measures
        optimizer = torch.optim.AdamW(net.parameters(), weight_decay=recipe.decay)
        for step in range(recipe.steps):
            optimizer.param_groups[0]["lr"] = recipe.rate * 0.5 * (1 + np.cos(np.pi * step / recipe.steps))
            excerpts = []
            for clip in torch.multinomial(places, BATCH, replacement=True).tolist():
                at = int(torch.randint(int(places[clip]), ()))
                excerpts.append((inputs[clip][:, at : at + EXCERPT], wanted[clip][:, at : at + EXCERPT]))
            told = net(torch.stack([known for known, _ in excerpts]))
            loss = ((told - torch.stack([lips for _, lips in excerpts])).square() * counts).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


@torch.no_grad()
def tell_temporal(net: TemporalNet, heard: Float32[np.ndarray, "T channels"]) -> Float32[np.ndarray, "T outputs"]:
    """What the network tells of a recording."""
    return net(torch.from_numpy(np.ascontiguousarray(heard.T))[None])[0].T.numpy()
