"""What is found gets a score that tells good from poor."""

import pytest

from control_plane.memory.fusion import falling, relevance, terms_of

FALLEN = "Fault xid:79 on gpu-a-17 (8x H100): reset_gpu failed, then reboot_host fixed it; resolved. a GPU fell off"


@pytest.mark.parametrize(
    ("text", "cosine", "least", "most"),
    [
        ("xid:79 on gpu-a-17", 0.7, 0.85, 1.0),
        ("the GPU fell off", 0.6, 0.55, 0.8),
        ("xid:31 on gpu-b-2", 0.4, 0.0, 0.3),
        ("disk quota exceeded", 0.1, 0.0, 0.15),
        ("", None, 0.0, 0.0),
        ("is it the", None, 0.0, 0.0),
        ("reboot_host fixed", None, 1.0, 1.0),
    ],
)
def test_what_fits_scores_high_and_what_does_not_scores_low(
    text: str, cosine: float | None, least: float, most: float
) -> None:
    assert least <= relevance(terms_of(text), FALLEN, cosine) <= most


def test_no_score_is_below_one_that_is_ranked_behind_it() -> None:
    assert falling([0.2, 0.9, 0.1, 0.3]) == [0.9, 0.9, 0.3, 0.3]
    assert falling([]) == []
