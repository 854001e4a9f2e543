"""A model on a GPU: neighbours, moments and forces where the nets run; positions go there, forces come back.

cells      bins of atoms, for a search in parallel
search     candidates, each atom looking into the bins around it
pairs      vectors and the cutoff
geometry   distances, weights and harmonics of pairs, for the kernels
moments    kernel: sums over the neighbours of an atom
forces     kernel: the way back, to the forces on atoms and neighbours
engine     the model from top to bottom
recording  all kernels of a step launched together

For training, which has its own order of things:

forces_backward  kernel: the transpose of `forces`
pair_sums        the sums of `potential.pair_sums`

The kernels are written in Triton, which comes with torch's builds for CUDA.
"""
