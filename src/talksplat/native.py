"""The compiled part: finds the library for this processor and declares its functions. Named nowhere else.

Each library is the same source built for one kind of processor: ``portable`` (4 lanes, any processor), ``v3`` (AVX2,
8 lanes), ``v4`` (AVX-512, 16 lanes), ``amx`` (the same with networks on Intel's matrix unit, whose operands are rounded
to bfloat16). ``TALKSPLAT_NATIVE`` picks one by name. From a checkout they are built by
``cmake -S . -B build/native -G Ninja && cmake --build build/native && cmake --install build/native --prefix src``.
"""

from __future__ import annotations

import ctypes
import os
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from talksplat.errors import MissingNative

LANES = {"portable": 4, "v3": 8, "v4": 16, "amx": 16}
"""Floats in one vector of each library."""
LEVELS = {"portable": 0, "v3": 3, "v4": 4, "amx": 5}
"""What ``ts_cpu_level`` must at least say for a library to run."""
CHOICE = "TALKSPLAT_NATIVE"
"""Environment variable that names one library."""


# --- The loader ---


def _folders() -> list[Path]:
    """Where the libraries may lie: beside the package, and where an editable install puts them.

    An editable install leaves the package in its checkout and the libraries among the installed packages; whether the
    package's path names both depends on the hooks that imported it.
    """
    import talksplat

    installed = [Path(sysconfig.get_path(kind)) / "talksplat" for kind in ("platlib", "purelib")]
    packages = [Path(folder) for folder in talksplat.__path__]
    return list(dict.fromkeys(folder / "lib" for folder in (*packages, *installed)))


@cache
def load(name: str) -> ctypes.CDLL:
    """One library, whether or not this processor runs it.

    Raises:
        MissingNative: it was not built, or the system refuses to load it.
    """
    tried = [folder / f"libtalksplat_{name}.so" for folder in _folders()]
    for path in tried:
        if path.is_file():
            try:
                return ctypes.CDLL(str(path))
            except OSError as error:
                raise MissingNative(
                    f"{path} cannot be loaded: {error}",
                    hint="build it again for this system: pip install .",
                ) from error
    raise MissingNative(
        f"no compiled library at {', '.join(map(str, tried))}",
        hint="build it from the checkout: pip install .",
    )


def runnable() -> list[str]:
    """Names of the libraries that are built and that this processor runs, the fastest first.

    Raises:
        MissingNative: not even the portable library is there.
    """
    level = load("portable").ts_cpu_level()
    fitting = [name for name, needed in LEVELS.items() if needed <= level]
    built = [name for name in fitting if any((f / f"libtalksplat_{name}.so").is_file() for f in _folders())]
    return sorted(built, key=LEVELS.__getitem__, reverse=True)


def library() -> ctypes.CDLL:
    """The library to use: the one that ``TALKSPLAT_NATIVE`` names, else the widest that the processor runs.

    Raises:
        MissingNative: the libraries are not built, or the named one does not run here.
    """
    wanted = os.environ.get(CHOICE, "")
    return _chosen(wanted)


@cache
def _chosen(wanted: str) -> ctypes.CDLL:
    names = runnable()
    if not wanted:
        return load(names[0])
    if wanted not in names:
        raise MissingNative(
            f"{CHOICE} is {wanted!r}; this processor runs {', '.join(names)}",
            hint=f"unset {CHOICE}, or set it to one of these",
        )
    return load(wanted)


def address(array: object) -> ctypes.c_void_p:
    """Address of the first number of a contiguous torch tensor or numpy array; None for None."""
    if array is None:
        return ctypes.c_void_p(None)
    if hasattr(array, "data_ptr"):
        return ctypes.c_void_p(array.data_ptr())  # pyright: ignore[reportAttributeAccessIssue]
    return ctypes.c_void_p(array.ctypes.data)  # pyright: ignore[reportAttributeAccessIssue]


def takes(*tensors: Any) -> bool:
    """Whether passes over points can read these torch tensors: float32 in the processor's memory."""
    return all(tensor.device.type == "cpu" and str(tensor.dtype) == "torch.float32" for tensor in tensors)


# --- Speed of this processor (native/processor.cpp) ---


def multiply_add_rate(seconds: float = 0.05) -> float:
    """Fastest multiply-adds seen on this core in ``seconds``, GFLOP/s with two operations each."""
    function = library().ts_multiply_add_rate
    function.argtypes, function.restype = [ctypes.c_double], ctypes.c_double
    return float(function(seconds))


# --- The rasterizer (native/raster*.cpp) ---


class RasterArguments(ctypes.Structure):
    """Pointers and numbers of one drawing; the arrays must outlive it. See native/raster.h."""

    _fields_ = [
        ("count", ctypes.c_int64),
        ("bases", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("focal", ctypes.c_float * 2),
        ("center", ctypes.c_float * 2),
        ("view", ctypes.c_float * 12),
        *((name, ctypes.c_void_p) for name in ("means", "quats", "scales", "opacities", "harmonics")),
    ]


class RasterGradients(ctypes.Structure):
    """Where the gradients go, each in the shape of its input; screen_means is N x 2."""

    _fields_ = [
        (name, ctypes.c_void_p) for name in ("screen_means", "means", "quats", "scales", "opacities", "harmonics")
    ]


@dataclass(frozen=True)
class RasterCounts:
    """How much work the last drawing of a context was."""

    visible: int
    """Gaussians that touch at least one tile."""
    tile_pairs: int
    """(16 x 16 tile, Gaussian) pairs."""
    micro_pairs: int
    """(microtile, Gaussian) pairs; a microtile holds as many pixels as a vector has lanes."""
    blended: int
    """Those of ``micro_pairs`` drawn before their microtile was opaque."""


class RasterContext:
    """Scratch memory and lists of one drawing in flight; backward reads what the last forward left."""

    def __init__(self) -> None:
        self.native = _raster_library(library())
        self._handle = self.native.ts_raster_create()
        if not self._handle:
            raise MemoryError("no memory for a drawing")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.native.ts_raster_destroy(self._handle)

    def forward(self, arguments: RasterArguments, colors: object, alpha: object, screen_means: object) -> bool:
        """Draw into float32 arrays H x W x 3, H x W and N x 2 (or None); False if an input is not finite."""
        status = self.native.ts_raster_forward(
            self._handle, ctypes.byref(arguments), address(colors), address(alpha), address(screen_means)
        )
        if status == _NO_MEMORY:
            raise MemoryError(f"no memory to draw {arguments.count} Gaussians")
        return status == _DONE

    def backward(
        self, arguments: RasterArguments, d_colors: object, d_alpha: object, gradients: RasterGradients
    ) -> None:
        """Gradients of the last forward. That of means leaves out what flows through the screen centres."""
        status = self.native.ts_raster_backward(
            self._handle, ctypes.byref(arguments), address(d_colors), address(d_alpha), ctypes.byref(gradients)
        )
        if status == _NO_MEMORY:
            raise MemoryError(f"no memory for the gradients of {arguments.count} Gaussians")

    def counts(self) -> RasterCounts:
        """Pair counts of the last forward."""
        counts = (ctypes.c_int64 * 4)()
        self.native.ts_raster_counts(self._handle, counts)
        return RasterCounts(*counts)

    def lists(self, starts: object, pairs: object) -> None:
        """Copy the last forward's tile lists into uint32 arrays of tiles + 1 and ``tile_pairs`` numbers."""
        self.native.ts_raster_lists(self._handle, address(starts), address(pairs))


def centers_backward(arguments: RasterArguments, d_screen_means: object, d_means: object) -> None:
    """Write into ``d_means`` (N x 3) what flows to the means through the screen centres (N x 2, pixels)."""
    _raster_library(library()).ts_raster_centers_backward(
        ctypes.byref(arguments), address(d_screen_means), address(d_means)
    )


_DONE, _NO_MEMORY = 0, 2


@cache
def _raster_library(native: ctypes.CDLL) -> ctypes.CDLL:
    pointer = ctypes.c_void_p
    native.ts_raster_create.restype = pointer
    native.ts_raster_destroy.argtypes = [pointer]
    native.ts_raster_destroy.restype = None
    native.ts_raster_forward.argtypes = [pointer] * 5
    native.ts_raster_backward.argtypes = [pointer] * 5
    native.ts_raster_centers_backward.argtypes = [pointer] * 3
    native.ts_raster_centers_backward.restype = None
    native.ts_raster_counts.argtypes = [pointer] * 2
    native.ts_raster_counts.restype = None
    native.ts_raster_lists.argtypes = [pointer] * 3
    native.ts_raster_lists.restype = None
    return native


# --- L1 and SSIM (native/ssim.cpp) ---


def l1_ssim(
    picture: Any,
    target: Any,
    counts: Any,
    with_ssim: bool,
    factors: tuple[float, float],
    gradient: Any,
) -> tuple[float, float]:
    """Sums of count |x - y| and of count SSIM over float32 pictures (H, W, C) with counts (H, W) or None.

    ``gradient`` (H, W, C), unless None, receives that of factors[0] times the first less factors[1] times the second.
    """
    height, width, channels = picture.shape
    sums = (ctypes.c_double * 2)()
    library().ts_l1_ssim(
        *map(address, (picture, target, counts)),
        height,
        width,
        channels,
        int(with_ssim),
        ctypes.c_float(factors[0]),
        ctypes.c_float(factors[1]),
        address(gradient),
        sums,
    )
    return sums[0], sums[1]


# --- Tri-plane features (native/triplane.cpp) ---


def triplane_forward(points: Any, tables: Any, levels: tuple[Any, ...], features: Any) -> None:
    """Fill ``features`` (N, 3 L) from points (N, 3) and tables (3, E), all float32.

    ``levels``: scales (float32), then strides, offsets and lengths (int32) of L levels, then 1 / (2 b) of each axis.
    """
    library().ts_triplane_forward(*_triplane_arguments(points, tables, levels), address(features))


def triplane_backward(
    points: Any, tables: Any, levels: tuple[Any, ...], slopes: Any, by_tables: Any, by_points: Any
) -> None:
    """Overwrite ``by_tables`` and ``by_points``, unless None, with their gradients for ``slopes`` (N, 3 L)."""
    arguments = _triplane_arguments(points, tables, levels)
    library().ts_triplane_backward(*arguments, *map(address, (slopes, by_tables, by_points)))


def _triplane_arguments(points: Any, tables: Any, levels: tuple[Any, ...]) -> list[Any]:
    count, entries = ctypes.c_int64(len(points)), int(tables.shape[1])
    return [address(points), count, address(tables), len(levels[0]), entries, *map(address, levels)]


# --- Products of planes (native/planes.cpp) ---


def planes_forward(places: Any, table: Any, edges: Any, order: Any, features: Any) -> None:
    """Fill ``features`` (N, R C) from places in [0, 1] (N, 3) and the table's rows (rows, C), all float32.

    ``edges`` (R, int32): cells a side of each resolution. C is a multiple of 16. ``order`` (N, int32) is filled too:
    the order in which both passes take the points.
    """
    library().ts_planes_forward(*_planes_arguments(places, table, edges), *map(address, (order, features)))


def planes_backward(
    places: Any, table: Any, edges: Any, order: Any, slopes: Any, by_table: Any, by_places: Any
) -> None:
    """Overwrite ``by_table`` and ``by_places``, unless None, with their gradients for ``slopes`` (N, R C)."""
    arrays = (order, slopes, by_table, by_places)
    library().ts_planes_backward(*_planes_arguments(places, table, edges), *map(address, arrays))


def _planes_arguments(places: Any, table: Any, edges: Any) -> list[Any]:
    count = ctypes.c_int64(len(places))
    return [address(places), count, address(table), len(edges), address(edges), int(table.shape[1])]


# --- The network over points (native/mlp.cpp) ---


def mlp_forward(
    features: Any, products: Any, weights: tuple[Any, ...], outs: tuple[int, ...], rectified: bool, result: Any
) -> None:
    """Fill ``result`` (N, out) from features (N, F); ``weights``: first (G H, F), shared vector (G H), second (H, H) or
    None for one hidden layer, third (out, H), all float32.

    G networks go side by side, each with as many of the outputs as ``outs`` says. Where ``rectified``, features pass a
    ReLU first. In their place may come ``products`` (N, H), the first layer's products with them.
    """
    arguments = map(address, (features, products, *weights, result))
    library().ts_mlp_forward(*_mlp_shape(result, weights, outs, rectified), *arguments)


def mlp_backward(
    features: Any, weights: tuple[Any, ...], outs: tuple[int, ...], rectified: bool, slopes: Any, by: tuple[Any, ...]
) -> None:
    """Overwrite ``by``, of the features (or None) and the weights, with their gradients for ``slopes`` (N, out)."""
    arguments = (features, *weights, slopes, *by)
    library().ts_mlp_backward(*_mlp_shape(slopes, weights, outs, rectified), *map(address, arguments))


def _mlp_shape(result: Any, weights: tuple[Any, ...], outs: tuple[int, ...], rectified: bool) -> tuple[Any, ...]:
    groups = len(outs)
    rows, width = map(int, weights[0].shape)
    array = (ctypes.c_int * groups)(*outs)
    return ctypes.c_int64(len(result)), width, rows // groups, groups, array, int(rectified)


# --- Attention to tokens and layer norms (native/attention.cpp, native/layer_norm.cpp) ---

MOST_SCORES = 32
"""Heads times tokens of :func:`attend`."""


def attend(
    points: Any, folded: tuple[Any, ...], norm: tuple[Any, Any], epsilon: float, heads: int, heard: Any, shares: Any
) -> None:
    """Fill ``heard`` (N, W) and ``shares`` (N, R) for points (N, W), all float32; W a multiple of 16, R <= 32.

    ``folded``: questions (W, R), their bias (R), answers (R, W), their bias (W). ``norm``: gain and shift (W).
    """
    weights = map(address, (*folded, *norm))
    shape = _attention_shape(points, shares, heads)
    library().ts_attend(address(points), *shape, *weights, ctypes.c_float(epsilon), address(heard), address(shares))


def attend_backward(
    points: Any, weights: tuple[Any, ...], epsilon: float, heads: int, shares: Any, slopes: Any, by: tuple[Any, ...]
) -> None:
    """Overwrite ``by`` with gradients for ``slopes`` (N, W) of what :func:`attend` heard.

    ``weights``: questions, answers, their bias, gain. ``by``: points (or None), those of ``folded``, gain, shift.
    """
    shape = _attention_shape(points, shares, heads)
    arguments = (*map(address, weights), ctypes.c_float(epsilon), *map(address, (shares, slopes, *by)))
    library().ts_attend_backward(address(points), *shape, *arguments)


def _attention_shape(points: Any, shares: Any, heads: int) -> tuple[Any, ...]:
    return ctypes.c_int64(len(points)), int(points.shape[1]), heads, int(shares.shape[1]) // heads


def add_norm(points: Any, values: Any, bias: Any, norm: tuple[Any, Any], epsilon: float, result: Any) -> None:
    """Fill ``result`` (N, W) with the layer norm of values + points + bias, all float32; W is a multiple of 16."""
    shape, weights = (ctypes.c_int64(len(points)), int(points.shape[1])), map(address, (bias, *norm))
    library().ts_add_norm(address(points), address(values), *shape, *weights, ctypes.c_float(epsilon), address(result))


def add_norm_backward(
    points: Any, values: Any, weights: tuple[Any, Any], epsilon: float, slopes: Any, by: tuple[Any, ...]
) -> None:
    """Overwrite ``by`` with gradients for ``slopes`` (N, W) of :func:`add_norm`: of the sum, bias, gain and shift.

    ``weights``: bias and gain. The gradient of the sum (N, W) is that of the points and that of the values.
    """
    shape, of_weights = (ctypes.c_int64(len(points)), int(points.shape[1])), map(address, weights)
    arguments = (*shape, *of_weights, ctypes.c_float(epsilon), address(slopes), *map(address, by))
    library().ts_add_norm_backward(address(points), address(values), *arguments)
