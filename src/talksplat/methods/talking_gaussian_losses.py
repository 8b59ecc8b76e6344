"""TalkingGaussian's losses: each layer against its key-coloured target, then all of them against the picture."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from talksplat.dataset import seeded
from talksplat.frame import HEAD_LABELS, MOUTH_LABELS, Frame, Label
from talksplat.methods.method import Draw, LossContext, Stage
from talksplat.methods.shared import eyes_loss, lips_loss, patch_distance
from talksplat.methods.talking_gaussian_config import TalkingGaussianConfig
from talksplat.metrics.image import l1_and_ssim
from talksplat.model.masks import closed, is_any, mean_within, picked
from talksplat.model.patches import lip_square, tiled_distance
from talksplat.model.talking_gaussian import TalkingGaussian

KEY = (0.0, 1.0, 0.0)
"""Key colour: what a layer must not draw is this green in its target."""
BLACK = (0.0, 0.0, 0.0)
FACE_LABELS = tuple(label for label in HEAD_LABELS if label not in MOUTH_LABELS)
HAIR_EVERY = 7
"""While hair is set aside, every so many steps look at it all the same."""
FACE_TILES = range(64, 97, 2)
MOUTH_TILES = range(32, 43, 2)
FUSE_TILES = range(32, 43, 2)


@dataclass(frozen=True)
class _Regions:
    """Masks of one frame, "H W" each."""

    face: Bool[Tensor, "H W"]
    """Face and hair, without the inner mouth."""
    hair: Bool[Tensor, "H W"]
    mouth: Bool[Tensor, "H W"]
    lips: Bool[Tensor, "H W"]
    """The square around the outer lips."""
    square: tuple[slice, slice]


def regions(frame: Frame) -> _Regions:
    """The parts of a frame's label map."""
    square = lip_square(frame.landmarks, frame.camera, margin=1.0)
    lips = torch.zeros_like(frame.labels, dtype=torch.bool)
    lips[square] = True
    return _Regions(
        face=is_any(frame.labels, FACE_LABELS),
        hair=frame.labels == Label.HAIR,
        mouth=is_any(frame.labels, MOUTH_LABELS),
        lips=lips,
        square=square,
    )


def _hole(parts: _Regions) -> Bool[Tensor, "H W"]:
    """The inner mouth without its cracks; it lies in the lips square, so only that is looked at."""
    hole = torch.zeros_like(parts.mouth)
    hole[parts.square] = closed(parts.mouth[parts.square])
    return hole


def key_picture(
    config: TalkingGaussianConfig, stage: Stage, context: LossContext, like: Float[Tensor, "H W 3"]
) -> Float[Tensor, "H W 3"]:
    """A picture in the key colour, as large as ``like``.

    Against the same colour in every step a Gaussian may as well have that colour as be transparent, and then shines
    through wherever the layers show it; a colour drawn anew leaves it transparency alone.
    """
    if config.key == "random":
        color = torch.rand(3, generator=seeded(context.seed, stage.name, context.step, "key")).to(like)
    else:
        color = like.new_tensor(BLACK if stage.name == "mouth-color" else KEY)
    return color.expand_as(like).contiguous()


def active_degree(config: TalkingGaussianConfig, stage: Stage, step: int) -> int:
    """Harmonics open one degree at a time."""
    return min(config.degree, (stage.offset + step + 1) // max(1, config.at(config.harmonics_every, stage.layers[0])))


def mouth_losses(
    config: TalkingGaussianConfig, avatar: TalkingGaussian, frame: Frame, draw: Draw, stage: Stage, context: LossContext
) -> dict[str, Tensor]:
    """The inner mouth as an opaque plate behind the lips (fact sheet 6.2).

    Over the lips square alpha should be one; colours count only on the mouth itself and outside the square, so that
    the plate goes on behind lips and skin.
    """
    parts = regions(frame)
    finishing = stage.name == "mouth-color"
    ground = key_picture(config, stage, context, frame.image)
    degree = active_degree(config, stage, context.step)
    drawn = draw(avatar.mouth_layer(frame.condition, deformed=stage.deformed, degree=degree))
    picture = picked(parts.lips ^ parts.mouth, ground, drawn.colors + (1 - drawn.alpha) * ground)
    target = picked(parts.mouth, frame.image, ground)
    terms = {"color": l1_and_ssim(picture, target, 1.0, config.ssim)}
    if stage.deformed:
        terms["alpha"] = config.alpha * _coverage(drawn.alpha[..., 0], parts.lips)
    if finishing and context.perceptual is not None:
        distance = _tiles(config, stage, context, picture, target, MOUTH_TILES)
        terms["perceptual"] = config.mouth_perceptual * distance
    return terms


def face_losses(
    config: TalkingGaussianConfig, avatar: TalkingGaussian, frame: Frame, draw: Draw, stage: Stage, context: LossContext
) -> dict[str, Tensor]:
    """The face with a hole for the mouth (fact sheet 6.3); hair is set aside in six of seven moving steps."""
    step = stage.offset + context.step + 1
    parts = regions(frame)
    finishing = step > config.at(config.face_perceptual_from)
    ground = key_picture(config, stage, context, frame.image)
    shape = parts.face if config.decompose else parts.face | parts.mouth
    target = picked(shape & ~_hole(parts) if finishing and config.decompose else shape, frame.image, ground)
    motion = avatar.face_motion(frame.condition) if stage.deformed else None
    layer = avatar.face_layer(motion, active_degree(config, stage, context.step))
    drawn = draw(layer)
    picture = drawn.colors + (1 - drawn.alpha) * ground
    aside = stage.deformed and step < config.at(config.hair_until) and step % HAIR_EVERY != 0
    if aside:
        picture, target = (picked(parts.hair, ground, image) for image in (picture, target))
    terms = {"color": l1_and_ssim(picture, target, 1.0, config.ssim)}
    if motion is None:
        return terms
    offsets = (motion.means, motion.quats, motion.opacities, motion.log_scales)
    terms["motion"] = config.motion * torch.stack([offset.abs().mean() for offset in offsets]).sum()
    terms["alpha"] = config.alpha * _coverage(drawn.alpha[..., 0], shape)
    if config.lips:
        terms["lips"] = config.lips * lips_loss(picture, target, frame)
    if config.eyes:
        terms["eyes"] = config.eyes * eyes_loss(picture, target, frame)
    if step % config.attention_every == 0:
        attention = draw(avatar.attention_layer(layer, motion)).colors
        terms["attention"] = config.attention * config.attention_every * _misplaced(attention, parts, aside)
    if finishing and context.perceptual is not None and step % config.perceptual_every == 0:
        rows, columns = parts.square
        lips = context.perceptual(picture[rows, columns], target[rows, columns])
        if not config.patch:  # The published tiles leave the lips to the square's own distance.
            picture, target = (picked(parts.lips, ground, image) for image in (picture, target))
        seen = _closely(config, frame, stage, context, picture, target, FACE_TILES)
        terms["perceptual"] = config.lips_perceptual * lips + config.face_perceptual * seen
    return terms


def fuse_losses(
    config: TalkingGaussianConfig, avatar: TalkingGaussian, frame: Frame, draw: Draw, stage: Stage, context: LossContext
) -> dict[str, Tensor]:
    """All layers over what lies behind them against the whole picture (Sec. 3.5, fact sheet 6.4)."""
    picture = context.background
    face = avatar.face_layer(avatar.face_motion(frame.condition))
    layers = [avatar.mouth_layer(frame.condition, deformed=True), face] if "mouth" in stage.layers else [face]
    if "torso" in stage.layers:
        layers.insert(0, avatar.torso.layer(frame.condition.head_pose, deformed=True))
    for layer in layers:
        drawn = draw(layer)
        picture = drawn.colors + (1 - drawn.alpha) * picture
    terms = {"color": l1_and_ssim(picture, frame.image, 1.0, config.ssim)}
    if config.lips:
        terms["lips"] = config.lips * lips_loss(picture, frame.image, frame)
    if config.eyes:
        terms["eyes"] = config.eyes * eyes_loss(picture, frame.image, frame)
    begun = context.step + 1 > config.at(config.fuse_perceptual_from)
    if begun and context.perceptual is not None and context.step % config.perceptual_every == 0:
        distance = _closely(config, frame, stage, context, picture, frame.image, FUSE_TILES)
        terms["perceptual"] = config.fuse_perceptual * distance
    return terms


def _coverage(alpha: Float[Tensor, "H W"], wanted: Bool[Tensor, "H W"]) -> Float[Tensor, ""]:
    """What is missing inside ``wanted`` and what is too much outside, each as a mean over the picture."""
    outside = 1 - 2 * wanted.to(alpha.dtype)
    return (alpha * outside).mean() + wanted.to(alpha.dtype).mean()


def _misplaced(attention: Float[Tensor, "H W 3"], parts: _Regions, hair_aside: bool) -> Float[Tensor, ""]:
    """Attention where it does not belong: to the upper face around the lips, to anything in the hair."""
    heard, seen = attention[..., 0], attention[..., 1]
    total = mean_within(seen, parts.lips)
    return total if hair_aside else total + mean_within(seen + heard, parts.hair)


def _closely(
    config: TalkingGaussianConfig,
    frame: Frame,
    stage: Stage,
    context: LossContext,
    picture: Tensor,
    target: Tensor,
    edges: range,
) -> Float[Tensor, ""]:
    """The perceptual distance on our patch where one is asked for, else on the published tiles."""
    if config.patch:
        whole = stage.name == "fuse"
        return patch_distance(context, stage, frame, picture, target, edge=config.patch, whole=whole)
    return _tiles(config, stage, context, picture, target, edges)


def _tiles(
    config: TalkingGaussianConfig, stage: Stage, context: LossContext, picture: Tensor, target: Tensor, edges: range
) -> Float[Tensor, ""]:
    """Mean distance over square tiles of a random edge."""
    assert context.perceptual is not None
    generator = seeded(context.seed, stage.name, context.step, "tiles")
    edge = edges[int(torch.randint(len(edges), (), generator=generator))]
    return tiled_distance(context.perceptual, picture, target, edge, config.tiles, generator)
