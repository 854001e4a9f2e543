"""Which atoms see each other.

The pair (i, j, S) joins atom i to the image of atom j that is shifted by S whole cells (ASE's convention):

    D = r_j - r_i + S @ cell,    |D| < cutoff.

lattice    short vectors for a skewed cell
search     candidates: k-d trees of the wrapped atoms and of their images near the faces
pairs      vectors and the cutoff, from the positions as passed in
verlet     candidates that are kept while they cannot have missed a pair
halo       the same for a part of a structure, with the images around it given as atoms

The vectors never depend on how the candidates were found, and the order is fixed: a fresh search and a reused
list give the same arrays bit for bit.
"""

from ase_deeppot.neighbors.halo import HaloList
from ase_deeppot.neighbors.pairs import Pairs, neighbor_pairs
from ase_deeppot.neighbors.verlet import Backend, VerletList

__all__ = ["Backend", "HaloList", "Pairs", "VerletList", "neighbor_pairs"]
