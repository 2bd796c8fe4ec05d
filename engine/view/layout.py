"""Layered layout of a directed graph, after Sugiyama: layers, order in them, coordinates.

1. Links of a cycle are turned round (the last ones of a depth-first search).
2. Each vertex gets the first layer after those before it that is not full (Coffman and Graham), so
   that a wide fan becomes several rows.
3. A link over several layers gets a bend in each between. Links with a common end share bends,
   which makes trees of what would be hundreds of parallel lines.
4. The order in the layers is improved by sweeps to the mean of the neighbours; the one with the
   fewest crossings stays.
5. The coordinates in a layer are those nearest to the neighbours' which keep order and distance
   (isotonic regression by pooling adjacent violators).

The work is bounded: where bends or crossings would be too many, links are straight, and there are
fewer sweeps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import sqrt
from typing import NamedTuple, TypeAlias

Point: TypeAlias = tuple[float, float]

GAP = 28.0
"""Between two boxes of a layer."""
_BEND_GAP = 14.0
_LAYER_GAP = 46.0
_STEEP = 14.0  # how much wider a line may run than two layers are apart
_WIDEST_GAP = 150.0
_FEWEST_PER_LAYER = 7
_PORT_GAP = 18.0
_PORTS = 0.7  # of the width of a box, where lines may begin and end
_MOST_BENDS = 10_000
_SWEEP_BUDGET = 120_000
_MOST_SWEEPS = 12
_ROUNDS = 8  # of coordinates
_STIFF = 6.0  # the weight of a bend, so that long lines are straight


class Link(NamedTuple):
    """A link between two boxes, by their numbers; links of one `group` may share a line."""

    source: int
    target: int
    group: str


class LinkRoute(NamedTuple):
    """The line of a link through `points`, vertical in layers and curved between them.

    What a link with a common end has drawn already is left out, and so may be the arrow: a `tip`
    is a point, and whether the arrow points down.
    """

    points: tuple[Point, ...]
    tip: tuple[Point, bool] | None


class Layout(NamedTuple):
    """Where the centres of the boxes are, the lines of the links, and the size of it all."""

    width: float
    height: float
    centres: tuple[Point, ...]
    routes: tuple[LinkRoute, ...]


def lay_out(
    sizes: Sequence[tuple[float, float]], links: Sequence[Link], spaces: Mapping[int, float]
) -> Layout:
    """Lay out boxes of these sizes; `spaces` are heights to keep free above boxes, for labels."""
    return _Layering(sizes, links).layout(spaces)


_Piece: TypeAlias = tuple[int, int, str]
"""A part of a line between two layers: the vertex above, the one below, and the group."""


class _Layering:
    """The boxes and bends in their layers, and the pieces of lines between them."""

    def __init__(self, sizes: Sequence[tuple[float, float]], links: Sequence[Link]) -> None:
        self.links = links
        self.turned = _turned(len(sizes), links)
        self.widths = [width for width, _ in sizes]
        self.heights = [height for _, height in sizes]
        self.count = len(sizes)
        self.most = max(_FEWEST_PER_LAYER, round(1.3 * sqrt(len(sizes))))
        self.layer_of = _layers(len(sizes), list(map(self._downward, range(len(links)))), self.most)
        self.layers: list[list[int]] = [[] for _ in range(max(self.layer_of, default=0) + 1)]
        for vertex, layer in enumerate(self.layer_of):
            self.layers[layer].append(vertex)
        full = {at for at, layer in enumerate(self.layers) if len(layer) >= self.most}
        self.centred = full | {at + 1 for at in full}
        self.lines = self._lines()
        self.pieces = [piece for line in self.lines for piece in line]
        self.above: list[list[int]] = [[] for _ in self.layer_of]
        self.below: list[list[int]] = [[] for _ in self.layer_of]
        for upper, lower, _ in self.pieces:
            if self.layer_of[lower] == self.layer_of[upper] + 1:
                self.above[lower].append(upper)
                self.below[upper].append(lower)

    def _downward(self, at: int) -> Link:
        """A link from the upper to the lower box."""
        source, target, group = self.links[at]
        return Link(target, source, f"{group} up") if at in self.turned else self.links[at]

    def _lines(self) -> list[list[_Piece]]:
        """The pieces of each link that no shorter one has already, downwards; adds the bends."""
        downward = [self._downward(at) for at in range(len(self.links))]
        leaving = Counter(link.source for link in downward)
        arriving = Counter(link.target for link in downward)
        chains: dict[tuple[int, bool, str], list[int]] = {}
        lines: list[list[_Piece]] = [[] for _ in downward]
        spans = [self.layer_of[link.target] - self.layer_of[link.source] for link in downward]
        for at in sorted(range(len(downward)), key=spans.__getitem__):
            upper, lower, group = downward[at]
            is_fan = leaving[upper] >= arriving[lower]
            common, other = (upper, lower) if is_fan else (lower, upper)
            chain = chains.setdefault((common, is_fan, group), [common])
            first = min(len(chain), spans[at]) - 1
            if len(self.layer_of) - self.count + spans[at] - len(chain) > _MOST_BENDS:
                line = [common, other]
            else:
                for distance in range(len(chain), spans[at]):
                    layer = self.layer_of[common] + (distance if is_fan else -distance)
                    chain.append(self._bend(layer))
                line = [*chain[first : spans[at]], other]
            line = line if is_fan else line[::-1]
            lines[at] = [(*pair, group) for pair in pairwise(line)]
        return lines

    def _bend(self, layer: int) -> int:
        vertex = len(self.layer_of)
        self.layer_of.append(layer)
        self.layers[layer].append(vertex)
        self.widths.append(0)
        self.heights.append(0)
        return vertex

    def layout(self, spaces: Mapping[int, float]) -> Layout:
        """Order, coordinates and routes."""
        self._order()
        across = self._across()
        left = min((x - width / 2 for x, width in zip(across, self.widths, strict=True)), default=0)
        across = [x - left for x in across]
        width = max((x + size / 2 for x, size in zip(across, self.widths, strict=True)), default=0)
        tops, rows = self._rows(across, spaces)
        centres = tuple(
            (across[vertex], tops[layer] + rows[layer] / 2)
            for vertex, layer in enumerate(self.layer_of[: self.count])
        )
        routes = self._routes(across, centres, tops, rows)
        return Layout(width, tops[-1] + rows[-1], centres, routes)

    def _order(self) -> None:
        """Sort each layer by the mean place of the neighbours, downwards and upwards by turns."""
        best, fewest = self.layers, self._crossings()
        sweeps = min(_MOST_SWEEPS, max(2, _SWEEP_BUDGET // (len(self.pieces) + 1)))
        for sweep in range(sweeps):
            if not fewest:
                break
            is_down = sweep % 2 == 0
            neighbours = self.above if is_down else self.below
            layers = list(self.layers)
            places = self._places(layers)
            for at in range(len(layers)) if is_down else reversed(range(len(layers))):
                means = {
                    vertex: _mean([places[each] for each in neighbours[vertex]], places[vertex])
                    for vertex in layers[at]
                }
                layers[at] = sorted(layers[at], key=means.__getitem__)
                places.update(self._places([layers[at]]))
            self.layers = layers
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = layers, crossings
        self.layers = best

    @staticmethod
    def _places(layers: Iterable[Sequence[int]]) -> dict[int, float]:
        """Where each vertex is in its layer, between 0 and 1."""
        return {
            vertex: (place + 0.5) / len(layer)
            for layer in layers
            for place, vertex in enumerate(layer)
        }

    def _crossings(self) -> int:
        """How often lines cross: the inversions of their lower ends, by insertion into a list."""
        found = 0
        for layer, below in pairwise(self.layers):
            place = {vertex: at for at, vertex in enumerate(below)}
            seen: list[int] = []
            for vertex in layer:
                ends = sorted(place[each] for each in self.below[vertex])
                found += sum(len(seen) - bisect_right(seen, end) for end in ends)
                for end in ends:
                    seen.insert(bisect_left(seen, end), end)
        return found

    def _across(self) -> list[float]:
        """The horizontal centre of each vertex."""
        across = [0.0] * len(self.layer_of)
        offsets = [self._offsets(layer) for layer in self.layers]
        for layer, offset in zip(self.layers, offsets, strict=True):
            for vertex, x in zip(layer, offset, strict=True):
                across[vertex] = x - offset[-1] / 2
        for number in range(_ROUNDS):
            is_down = number % 2 == 0
            is_last = number >= _ROUNDS - 2
            order = range(len(self.layers)) if is_down else reversed(range(len(self.layers)))
            for at in order:
                if at in self.centred:
                    continue
                wanted: list[tuple[float, float]] = []
                for vertex in self.layers[at]:
                    near = self.above[vertex] if is_down else self.below[vertex]
                    near = [*self.above[vertex], *self.below[vertex]] if is_last else near
                    x = _mean([across[each] for each in near], across[vertex])
                    wanted.append((x, _STIFF if vertex >= self.count else 1.0))
                for vertex, x in zip(self.layers[at], _fit(wanted, offsets[at]), strict=True):
                    across[vertex] = x
        return across

    def _offsets(self, layer: Sequence[int]) -> list[float]:
        """The least distances of the vertices of a layer from the first."""
        offsets = [0.0] * len(layer)
        for at in range(1, len(layer)):
            left, right = layer[at - 1], layer[at]
            gap = GAP if left < self.count and right < self.count else _BEND_GAP
            offsets[at] = offsets[at - 1] + (self.widths[left] + self.widths[right]) / 2 + gap
        return offsets

    def _rows(
        self, across: Sequence[float], spaces: Mapping[int, float]
    ) -> tuple[list[float], list[float]]:
        """The top of each layer, and its height; the further lines run, the wider the gap."""
        rows = [max(self.heights[vertex] for vertex in layer) for layer in self.layers]
        tops = [0.0]
        for at, layer in enumerate(self.layers[1:], 1):
            widest = max(
                (abs(across[v] - across[each]) for v in layer for each in self.above[v]), default=0
            )
            gap = min(_WIDEST_GAP, max(_LAYER_GAP, widest / _STEEP + _LAYER_GAP / 2))
            gap += max(spaces.get(vertex, 0) for vertex in layer)
            tops.append(tops[at - 1] + rows[at - 1] + gap)
        return tops, rows

    def _routes(
        self,
        across: Sequence[float],
        centres: Sequence[Point],
        tops: Sequence[float],
        rows: Sequence[float],
    ) -> tuple[LinkRoute, ...]:
        leaving = self._ports(across, is_leaving=True)
        arriving = self._ports(across, is_leaving=False)
        routes: list[LinkRoute] = []
        for at, line in enumerate(self.lines):
            points: list[Point] = []
            tip: tuple[Point, bool] | None = None
            for piece in line:
                upper, lower, _ = piece
                top, bottom = self.layer_of[upper], self.layer_of[lower]
                start = (leaving[piece], tops[top] + rows[top])
                end = (arriving[piece], tops[bottom])
                if upper < self.count:
                    edge = (start[0], centres[upper][1] + self.heights[upper] / 2)
                    points.append(edge)
                    if at in self.turned:
                        tip = (edge, False)
                points += (start, end)
                if lower < self.count:
                    edge = (end[0], centres[lower][1] - self.heights[lower] / 2)
                    points.append(edge)
                    if at not in self.turned:
                        tip = (edge, True)
            routes.append(LinkRoute(tuple(points), tip))
        return tuple(routes)

    def _ports(self, across: Sequence[float], *, is_leaving: bool) -> dict[_Piece, float]:
        """Where each piece begins or ends at its vertex, in the order of its other end."""
        by_vertex: dict[int, list[tuple[float, _Piece]]] = {}
        for piece in self.pieces:
            upper, lower, _ = piece
            own, other = (upper, lower) if is_leaving else (lower, upper)
            by_vertex.setdefault(own, []).append((across[other], piece))
        ports: dict[_Piece, float] = {}
        for vertex, ends in by_vertex.items():
            room = self.widths[vertex] * _PORTS
            step = min(_PORT_GAP, room / max(1, len(ends) - 1))
            for at, (_, piece) in enumerate(sorted(ends)):
                ports[piece] = across[vertex] + step * (at - (len(ends) - 1) / 2)
        return ports


def _turned(count: int, links: Sequence[Link]) -> frozenset[int]:
    """The links that close a cycle, by number: those to a box that the search has not left."""
    leaving: list[list[int]] = [[] for _ in range(count)]
    for at, link in enumerate(links):
        leaving[link.source].append(at)
    found: set[int] = set()
    is_open, is_done = [False] * count, [False] * count
    for root in range(count):
        if is_done[root]:
            continue
        is_open[root] = True
        path: list[tuple[int, Iterator[int]]] = [(root, iter(leaving[root]))]
        while path:
            box, rest = path[-1]
            for at in rest:
                target = links[at].target
                if is_open[target]:
                    found.add(at)
                elif not is_done[target]:
                    is_open[target] = True
                    path.append((target, iter(leaving[target])))
                    break
            else:
                is_open[box], is_done[box] = False, True
                path.pop()
    return frozenset(found)


def _layers(count: int, links: Sequence[Link], most: int) -> list[int]:
    """The layer of each box: below all that lead to it, the first that is not full."""
    waits = [0] * count
    leaving: list[list[int]] = [[] for _ in range(count)]
    for upper, lower, _ in links:
        waits[lower] += 1
        leaving[upper].append(lower)
    layer_of = [0] * count
    filled: dict[int, int] = {}
    lowest = 0  # of those that are not full
    ready = [box for box in range(count) if not waits[box]]
    for box in ready:  # it grows
        layer = max(layer_of[box], lowest)
        while filled.get(layer, 0) >= most:
            layer += 1
        layer_of[box] = layer
        filled[layer] = filled.get(layer, 0) + 1
        while filled.get(lowest, 0) >= most:
            lowest += 1
        for lower in leaving[box]:
            layer_of[lower] = max(layer_of[lower], layer + 1)
            waits[lower] -= 1
            if not waits[lower]:
                ready.append(lower)
    return layer_of


def _fit(wanted: Sequence[tuple[float, float]], offsets: Sequence[float]) -> list[float]:
    """The places nearest to the wanted ones (place, weight) that keep the distances.

    Weighted isotonic regression: neighbours that would come too near are moved together.
    """
    pools: list[tuple[float, float, int]] = []  # place, weight, how many
    for (place, weight), offset in zip(wanted, offsets, strict=True):
        pool = (place - offset, weight, 1)
        while pools and pools[-1][0] > pool[0]:
            x, w, n = pools.pop()
            total = w + pool[1]
            pool = ((x * w + pool[0] * pool[1]) / total, total, n + pool[2])
        pools.append(pool)
    starts = [x for x, _, n in pools for _ in range(n)]
    return [start + offset for start, offset in zip(starts, offsets, strict=True)]


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
