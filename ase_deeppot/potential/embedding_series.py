"""The embedding nets read as Chebyshev series."""

from typing import NamedTuple, Tuple

from torch import Tensor


class Series(NamedTuple):
    """Coefficients that turn moments into ``G^T R``, for the centres of one species, or of all (a first index T)."""

    radial: Tensor  # [T * L, M], order 0
    angular: Tensor  # [T * L, M], order 1
    constant: Tensor  # [M], what the `sel` slots add to order 0
    higher: Tuple[Tensor, ...]  # [T * L, M_l] each, orders 2 and up

    def of(self, centre: int) -> "Series":
        """For the centres of one species."""
        radial, angular, constant, higher = self
        return Series(radial[centre], angular[centre], constant[centre], tuple(part[centre] for part in higher))

    def matrices(self) -> Tuple[Tensor, ...]:
        """Order by order."""
        return (self.radial, self.angular, *self.higher)
