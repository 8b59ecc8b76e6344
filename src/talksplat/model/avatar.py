"""What an avatar is: a module that says which Gaussians to draw at an instant. It knows no rasterizer."""

from abc import ABC, abstractmethod

from torch import nn

from talksplat.frame import Condition
from talksplat.gaussians import Gaussians
from talksplat.tensorclass import TensorClass


class Layer(TensorClass):
    """Gaussians that are drawn together and composed with other layers by alpha."""

    name: str
    gaussians: Gaussians
    fixed_view: bool
    """Drawn with the portrait's reference camera instead of the instant's head camera (the torso)."""


class Avatar(nn.Module, ABC):
    """Abstract; each method has one final subclass."""

    @abstractmethod
    def animate(self, condition: Condition) -> tuple[Layer, ...]:
        """The layers of one instant (an unbatched condition), nearest first."""

    @abstractmethod
    def canonical(self) -> tuple[Layer, ...]:
        """The layers with the deformation switched off, nearest first."""

    def attention(self, condition: Condition) -> tuple[Layer, ...]:
        """What each place listens to at an instant, as layers of three colour channels in [0, 1]; none by default.

        Red is speech, green the upper face, blue what else there is; a method that attends says so.
        """
        return ()
