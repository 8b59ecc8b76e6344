"""TalkingGaussian's settings: the published schedule, and the preset for two CPU cores."""

from dataclasses import dataclass
from typing import Literal

from talksplat.methods.method import MethodConfig


@dataclass(frozen=True)
class TalkingGaussianConfig(MethodConfig):
    """Settings of TalkingGaussian; the defaults are the published ones. Milestones count steps of their branch."""

    scale_rate: float = 0.003
    pace: float = 1.0
    """Every milestone is divided by this."""
    mouth_pace: float = 1.0
    """The mouth's milestones are divided by this once more."""
    face_points: int = 2_000
    """Initial Gaussians of the face."""
    mouth_points: int = 10_000
    """Initial Gaussians of the inner mouth."""
    torso_points: int = 10_000
    """Initial Gaussians of our torso layer."""
    start: Literal["random", "carved"] = "random"
    """First Gaussians: random in a cube of 0.2 m, or kept where the silhouettes are, with the pictures' colours."""
    degree: int = 2
    """Degree of the spherical harmonics of face and mouth."""
    harmonics_every: int = 1_000
    """Steps between two degrees."""
    static_until: int = 3_000
    """Without motion before this step."""
    mouth_window_until: int = 39_000
    """Incremental sampling of the mouth ends (Sec. 3.4); its networks' rates drop."""
    face_window_until: int = 40_000
    """Incremental sampling of the face ends; its networks' rates drop."""
    settled_from: int = 45_000
    """Positions keep their lowest rate, the mouth's density control ends."""
    hair_until: int = 46_000
    """Until here only every seventh step of the moving face looks at hair."""
    face_perceptual_from: int = 47_000
    """The perceptual losses of the face begin; the mouth's hole is closed by 3 x 3."""
    branch_until: int = 49_000
    """The mouth's geometry freezes and its colours are finished; the face's density control ends."""
    branch_steps: int = 50_000
    """Length of the face's and of the mouth's branch."""
    fuse_steps: int = 10_000
    """Length of the fusion (Sec. 3.5)."""
    fuse_perceptual_from: int = 5_000
    """The perceptual loss of the fusion begins."""
    torso_static_steps: int = 3_000
    """Our torso layer without motion."""
    torso_steps: int = 27_000
    """Our torso layer following the head pose."""
    decompose: bool = True
    """Face and inner mouth as two layers (Sec. 3.3); False is the paper's ablation, one layer for all of the head."""
    sampling: Literal["code", "paper", "none"] = "code"
    """Incremental sampling: the released code's windows, the paper's, or none."""
    face_finest: float = 38.4
    """Cells a side, of 0.3 m, of the finest of the face's grids; the coarsest has 16."""
    max_radius: float = 20.0
    """Gaussians that reach farther, pixels of the reference view, are removed once the layer moves."""
    key: Literal["green", "random"] = "green"
    """Colour that stands for what a layer must not draw: the published one, or ours, another one every step."""
    densify_from: int = 500
    """Density control begins; green Gaussians are deleted from here on."""
    densify_every: int = 100
    """Steps between two rounds, at the face's pace in every layer."""
    face_threshold: float = 0.0005
    """Mean screen gradient above which a Gaussian of the face grows."""
    mouth_threshold: float = 0.0002
    """The same for the mouth."""
    faintest: float = 0.05
    """Fainter Gaussians are removed when a branch begins."""
    faintest_end: float = 0.30
    """The same when density control ends; between them it rises in a straight line."""
    max_points: int = 60_000
    """Most Gaussians of a layer."""
    ssim: float = 0.2
    """Weight of 1 - SSIM beside L1 (not halved)."""
    alpha: float = 1e-3
    """Weight of the alpha losses."""
    motion: float = 1e-5
    """Weight of the mean size of the face's offsets."""
    attention: float = 1e-4
    """Weight of attention where it does not belong."""
    attention_every: int = 1
    """The attention loss enters every so many steps, as much stronger."""
    face_perceptual: float = 0.2
    """Weight of the perceptual loss on tiles of the face."""
    lips_perceptual: float = 0.01
    """Weight of the perceptual loss on the lips square."""
    mouth_perceptual: float = 0.5
    """Weight of the perceptual loss on tiles while the mouth's colours are finished."""
    fuse_perceptual: float = 0.5
    """Weight of the perceptual loss on tiles in the fusion."""
    tiles: int = 0
    """Tiles a step that the perceptual losses look at, drawn anew each step; 0 for all of them."""
    perceptual_every: int = 1
    """The perceptual losses of face and fusion enter every so many steps."""
    patch: int = 0
    """Edge of one patch a step that the perceptual losses of face and fusion look at instead of tiles; 0 for tiles."""
    rest_units: Literal["median", "zero"] = "median"
    """Upper-face units at which speech alone moves the face: the person's usual ones (ours), or none (published)."""
    upper_face_start: float = 0.0
    """Attention to the upper face before anything is learnt; from 0 (published) eyes may never learn to close."""
    lips: float = 0.0
    """Weight of L1 on the lips square in moving face and fusion; ours."""
    fuse_rate: float = 0.0
    """Rates in the fusion of what the paper freezes there (shape and motion), against those before; 0 freezes it."""
    torso_mask: float = 0.5
    """Weight of the torso's alpha loss."""
    warm_speech_steps: int = 0
    """Steps in which the speech nets first learn lip shapes by themselves, where features do not tell them; ours."""
    speech_rate_factor: float = 1.0
    """Rate of the speech net against the other networks; at 0 it stays what the warm start taught."""

    @property
    def density_round(self) -> int:
        """Steps between two rounds of density control, at the pace: a faster one leaves as many rounds."""
        return max(1, self.at(self.densify_every))

    def at(self, milestone: int, layer: str = "face") -> int:
        """A milestone at the pace of a branch."""
        return round(milestone / (self.pace * (self.mouth_pace if layer == "mouth" else 1.0)))


QUICK = TalkingGaussianConfig(
    pace=18.0,
    mouth_pace=2.5,
    start="carved",
    face_points=10_000,
    mouth_points=6_000,
    degree=1,
    harmonics_every=6_000,
    static_until=5_400,
    hair_until=3_000,
    means_rate=1e-4,
    face_finest=300.0,
    face_perceptual_from=30_000,
    densify_from=1_800,
    densify_every=1_800,
    max_points=25_000,
    max_radius=200.0,
    face_threshold=0.0002,
    key="random",
    motion=2e-2,
    faintest=0.005,
    faintest_end=0.01,
    fuse_steps=25_200,
    fuse_perceptual_from=0,
    fuse_perceptual=0.1,
    fuse_rate=1.0,
    torso_static_steps=3_600,
    torso_steps=21_600,
    attention_every=4,
    perceptual_every=2,
    patch=128,
    tiles=3,
    lips=0.4,
    eyes=0.4,
    upper_face_start=1.0,
    warm_speech_steps=500,
    speech_rate_factor=0.0,
)
