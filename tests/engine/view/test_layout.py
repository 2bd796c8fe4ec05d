"""The layered layout: boxes keep apart, links lead downwards, and the work is bounded."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph.engine.view.layout import Layout, Link, lay_out

Sizes = list[tuple[float, float]]


def graphs(*, cyclic: bool) -> st.SearchStrategy[tuple[Sizes, list[Link]]]:
    def of(count: int) -> st.SearchStrategy[tuple[Sizes, list[Link]]]:
        box = st.tuples(st.floats(10, 200), st.floats(10, 90))
        numbers = st.integers(0, count - 1)
        pair = st.tuples(numbers, numbers).filter(
            lambda pair: pair[0] != pair[1] if cyclic else pair[0] < pair[1]
        )
        pairs = st.lists(pair, max_size=3 * count, unique=True) if count > 1 else st.just([])
        links = pairs.map(lambda pairs: [Link(*pair, "") for pair in pairs])
        return st.tuples(st.lists(box, min_size=count, max_size=count), links)

    return st.integers(1, 24).flatmap(of)


def check_apart(layout: Layout, sizes: Sizes) -> None:
    for (x, y), (width, height) in zip(layout.centres, sizes, strict=True):
        assert x - width / 2 >= -0.01
        assert x + width / 2 <= layout.width + 0.01
        assert y - height / 2 >= -0.01
        assert y + height / 2 <= layout.height + 0.01
    boxes = zip(layout.centres, sizes, strict=True)
    for ((x1, y1), (w1, h1)), ((x2, y2), (w2, h2)) in combinations(boxes, 2):
        assert abs(x1 - x2) >= (w1 + w2) / 2 or abs(y1 - y2) >= (h1 + h2) / 2


@settings(max_examples=40)
@given(graphs(cyclic=False))
def test_boxes_keep_apart_and_links_lead_downwards(graph: tuple[Sizes, list[Link]]) -> None:
    sizes, links = graph
    layout = lay_out(sizes, links, {0: 15})
    check_apart(layout, sizes)
    for link in links:
        assert layout.centres[link.source][1] < layout.centres[link.target][1]
    tipped = {tip for route in layout.routes if (tip := route.tip)}
    reached = {link.target for link in links}
    at = {layout.centres[box][1] - sizes[box][1] / 2 for box in reached}
    assert {y for (_, y), _ in tipped} == at
    assert all(is_down for _, is_down in tipped)


@settings(max_examples=40)
@given(graphs(cyclic=True))
def test_cycles_are_drawn_with_links_that_lead_upwards(graph: tuple[Sizes, list[Link]]) -> None:
    sizes, links = graph
    layout = lay_out(sizes, links, {})
    check_apart(layout, sizes)
    for link, route in zip(links, layout.routes, strict=True):
        if route.tip:
            is_down = layout.centres[link.source][1] < layout.centres[link.target][1]
            assert route.tip[1] is is_down


def test_links_of_a_fan_share_what_they_have_in_common() -> None:
    """A wide fan is several rows, and a row further down is reached by one common line."""
    count = 40
    fan = [Link(0, box, "") for box in range(1, count)]
    back = [Link(box, count, "") for box in range(1, count)]
    layout = lay_out([(80, 40)] * (count + 1), fan + back, {})
    rows = {y for _, y in layout.centres}
    assert len(rows) == 7
    assert layout.width < 1200
    bends = [len(route.points) for route in layout.routes]
    assert sum(bends) < 6 * len(bends)


@pytest.mark.parametrize("count", [150])
def test_too_many_links_are_drawn_straight(count: int) -> None:
    links = [Link(a, b, "") for a, b in combinations(range(count), 2)]
    layout = lay_out([(80, 40)] * count, links, {})
    longest = layout.routes[count - 2]
    assert len(longest.points) == 4
    check_apart(layout, [(80, 40)] * count)
