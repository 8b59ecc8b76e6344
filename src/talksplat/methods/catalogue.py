"""The methods there are."""

from talksplat.errors import InputError
from talksplat.methods import gaussian_talker, gstalker, talking_gaussian
from talksplat.methods.method import Method

METHODS: tuple[Method, ...] = (
    gstalker.METHOD,
    talking_gaussian.METHOD,
    gaussian_talker.METHOD,
    gaussian_talker.FAST,
)


def find_method(name: str) -> Method:
    """The method called ``name``.

    Raises:
        InputError: no such method.
    """
    for method in METHODS:
        if method.name == name:
            return method
    known = ", ".join(method.name for method in METHODS)
    raise InputError(f"method `{name}` is unknown; known methods: {known}", hint="choose one of them with --method")


def find_preset(method: Method, preset: str) -> object:
    """The config of ``method`` called ``preset``.

    Raises:
        InputError: no such preset.
    """
    if preset in method.presets:
        return method.presets[preset]
    known = ", ".join(method.presets)
    raise InputError(
        f"preset `{preset}` is unknown for {method.name}; known presets: {known}",
        hint="choose one of them with --preset",
    )
