"""A basis of short vectors for a lattice, so that a skewed cell needs few images."""

import numpy as np


def reduction(vectors: np.ndarray) -> np.ndarray:
    """Integer matrix M [d, d] of determinant +-1, such that M @ vectors span the same lattice and are short.

    Greedy reduction (Nguyen and Stehle, 2009; Minkowski's up to d = 3): from each vector take the nearest
    point of the lattice of the shorter ones, until none gets shorter.
    """
    basis = np.eye(len(vectors), dtype=np.int64)
    while True:
        basis = basis[np.argsort(np.linalg.norm(basis @ vectors, axis=1), kind="stable")]
        before = basis.copy()
        for k in range(1, len(basis)):
            basis[k] -= _nearest(basis[:k] @ vectors, basis[k] @ vectors) @ basis[:k]
        if np.array_equal(basis, before):
            return basis


def _nearest(span: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Integers c [k] that minimise |point - c @ span| for reduced vectors [k, 3]; zero if as good."""
    below = np.floor(point @ np.linalg.pinv(span))
    corners = np.indices((2,) * len(span)).reshape(len(span), -1).T
    choices = np.concatenate([np.zeros((1, len(span))), below + corners])
    lengths = np.linalg.norm(point - choices @ span, axis=1)
    best = np.argmin(lengths)
    return choices[best if lengths[best] < (1.0 - 1e-9) * lengths[0] else 0].astype(np.int64)
