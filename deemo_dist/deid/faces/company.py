"""Where it is not clear whose head is where: people beside the main person without a face of their own, and whoever is
lost within a scene.

People beside the main one are looked for now and then only, by a detector of bodies that gives a rough box for a head.
Where a masked face lies in it, the face's own track follows the head; without one nothing does, between two looks.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deemo_dist.deid import geometry
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.faces.tracks import Track, link, matched

OWN_SHARE = 0.25  # of a head's box, that its own face fills
IN_FRAME = 0.25  # of a head's box: less of it shows no face
LEAVING = 0.5  # sides of a head between it and the frame's edge: it may be gone by the next look


def unclear_spans(
    bodies: Bodies, faces: Sequence[np.ndarray], cuts: Sequence[int], *, gap: int, size: tuple[int, int]
) -> list[range]:
    """The frames around each look that leaves somebody's head unclear, other than a pose that is itself unclear.

    ``faces``: masked faces float64 [N, 4] of every frame; ``cuts``: frames that begin another scene; ``gap``: frames
    after which somebody not seen is lost; ``size``: width, height in pixels.
    """
    return [*_unplaced(bodies, faces, size), *_lost(bodies, faces, cuts, gap=gap, size=size)]


def _unplaced(bodies: Bodies, faces: Sequence[np.ndarray], size: tuple[int, int]) -> Iterator[range]:
    """From the look before to the look after one that shows a head beside the main person's without a face."""
    looks = sorted(bodies.others)
    frame = np.array([[0, 0, *size]], dtype=np.float64)
    for place, number in enumerate(looks):
        heads = bodies.others[number]
        inside = geometry.intersection(heads, frame)[:, 0] >= IN_FRAME * geometry.area(heads)
        if not all(_has_face(head, faces[number]) for head in heads[inside]):
            start = looks[place - 1] + 1 if place else 0
            yield range(start, looks[place + 1] if place + 1 < len(looks) else len(faces))


def _has_face(head: np.ndarray, faces: np.ndarray) -> bool:
    """Whether one of ``faces`` [N, 4] fills a good part of ``head`` [4]."""
    return bool((geometry.intersection(head[None], faces)[0] >= OWN_SHARE * geometry.area(head)).any())


def _lost(
    bodies: Bodies, faces: Sequence[np.ndarray], cuts: Sequence[int], *, gap: int, size: tuple[int, int]
) -> Iterator[range]:
    """From the last look at somebody who is not at the frame's edge, and whom neither the next two looks nor a face
    show again in the same scene, to the second of these looks."""
    for seen in (bodies.heads, bodies.others):
        looks = sorted(seen)
        for track in link(seen, max_gap=gap, cuts=cuts):
            last = int(track.frames[-1])
            scene_ends = next(iter(cuts[bisect_right(cuts, last) :]), len(faces))
            later = [number for number in looks[bisect_right(looks, last) :] if number < scene_ends][:2]
            if not later or _at_edge(track.boxes[-1], size) or _goes_on(track, later, bodies, faces):
                continue
            yield range(last + 1, later[1] if len(later) > 1 else scene_ends)


def _at_edge(head: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a head [4] is so near the left, right or lower edge of the frame that it may leave."""
    margin = LEAVING * (head[2:] - head[:2])
    low, high = head[:2] - margin, head[2:] + margin
    return bool(low[0] <= 0 or high[0] >= size[0] or high[1] >= size[1])


def _goes_on(track: Track, later: Sequence[int], bodies: Bodies, faces: Sequence[np.ndarray]) -> bool:
    """Whether a body or a face is where the track ended, in any of the frames up to the last of ``later``."""
    first, last = int(track.frames[-1]) + 1, later[-1]
    places: list[np.ndarray] = [faces[number] for number in later]
    for seen in (bodies.heads, bodies.others):
        places += _between(seen, first, last)
    return any(matched(track.boxes[-1:], boxes) for boxes in places)


def _between(seen: Mapping[int, np.ndarray], first: int, last: int) -> list[np.ndarray]:
    """What was seen in frames ``first`` to ``last``."""
    looks = sorted(seen)
    return [seen[number] for number in looks[bisect_left(looks, first) : bisect_right(looks, last)]]
