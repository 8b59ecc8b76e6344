"""The native passes over planes repeat to the bit; what they compute is checked beside the attention that uses it."""

import numpy as np
import pytest
import torch

from talksplat import native


def passed(
    places: torch.Tensor, table: torch.Tensor, slopes: torch.Tensor, edges: tuple[int, ...], *, by: str = "both"
) -> dict[str, torch.Tensor]:
    """What the native passes write; ``by`` names the gradients that are wanted. Of empty memory all is a NaN."""
    cells = np.array(edges, np.int32)
    order = torch.full((len(places),), -1, dtype=torch.int32)
    found = {"features": torch.full_like(slopes, torch.nan), "order": order}
    native.planes_forward(places, table, cells, order, found["features"])
    by_table = torch.full_like(table, torch.nan) if by != "places" else None
    by_places = torch.full_like(places, torch.nan) if by != "table" else None
    native.planes_backward(places, table, cells, order, slopes, by_table, by_places)
    return found | {name: value for name, value in (("table", by_table), ("places", by_places)) if value is not None}


@pytest.mark.parametrize("channels", [16, 32, 96])
def test_native_planes_are_the_same_every_time_and_with_any_threads(channels: int) -> None:
    """To the bit with as many threads; with others the channels of a place's gradient are summed in other parts."""
    torch.manual_seed(channels)
    places, table = torch.rand(1_003, 3), torch.rand(3 * (25 + 289), channels)
    slopes = torch.randn(len(places), 2 * channels)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2, 2, 5, 5):
            torch.set_num_threads(threads)
            found.append(passed(places, table, slopes, (5, 17)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0]["order"].sort().values, torch.arange(len(places), dtype=torch.int32))
    for one, other in zip(found[::2], found[1::2], strict=True):
        for name in one:
            assert torch.equal(one[name], other[name]), name
    for other in found[2::2]:
        for name in ("order", "features", "table"):
            assert torch.equal(found[0][name], other[name]), name
        assert torch.allclose(found[0]["places"], other["places"], rtol=1e-4, atol=1e-3)


def test_native_planes_take_no_points_one_gradient_and_places_that_are_no_numbers() -> None:
    torch.manual_seed(6)
    edges, table = (5, 8), torch.rand(3 * (25 + 64), 32)
    places, slopes = torch.rand(70, 3), torch.randn(70, 64)
    both = passed(places, table, slopes, edges)
    assert torch.equal(passed(places, table, slopes, edges, by="table")["table"], both["table"])
    assert torch.equal(passed(places, table, slopes, edges, by="places")["places"], both["places"])
    assert not passed(places[:0], table, slopes[:0], edges)["table"].any()
    places[3] = torch.nan
    broken = passed(places, table, slopes, edges)["features"]
    others = torch.arange(70) != 3
    assert broken[3].isnan().all()
    assert torch.equal(broken[others], both["features"][others])
