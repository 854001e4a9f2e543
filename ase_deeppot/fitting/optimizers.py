"""From gradients to steps: Muon for matrices and Adam for what is none, or Adam for all, as in the papers."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ase_deeppot.potential.threads import number_of_threads, shared_threads

MOMENTUM = 0.95
LEAST = 1e-7  # a momentum smaller than this is none: noise must not be blown up to a step
WHOLE = 80  # rows or columns up to which a matrix is made orthogonal as it is
WIDEST = 48  # columns of larger ones that are made orthogonal to each other
# x <- a x + b x^3 + c x^5, once for each line, brings singular values from 0.001 to 1 into 0.44 to 1.56 (N. Amsel et
# al., The Polar Express, 2025).
QUINTICS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)

Kind = Literal["muon", "adam"]


def optimizers(model: nn.Module, kind: Kind, rate: float, matrix_rate: float) -> list[Optimizer]:
    """What makes the steps of a model's weights; each parameter belongs to one of them.

    Parameters
    ----------
    kind : {"muon", "adam"}
        Muon for matrices and Adam for biases, timesteps and the rows of an output layer, or Adam for all.
    rate, matrix_rate : float
        Learning rates of Adam and of Muon, kept as ``initial_lr`` too.
    """
    named = dict(model.named_parameters())
    matrices = [name for name, parameter in named.items() if kind == "muon" and _is_matrix(name, parameter)]
    others = [parameter for name, parameter in named.items() if name not in matrices]
    made: list[Optimizer] = [Adam(others, lr=rate, fused=True)]
    if matrices:
        made.append(Muon([named[name] for name in matrices], matrix_rate))
    for group in (group for optimizer in made for group in optimizer.param_groups):
        group["initial_lr"] = group["lr"]
    return made


def _is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether it is one, or several side by side; a single row or column is none."""
    return name.endswith("weight") and min(parameter.shape[-2:]) > 1


class Muon(Optimizer):
    """Steps along the orthogonalised momentum of matrices [..., n_in, n_out] (K. Jordan et al., 2024).

        M <- mu M + (1 - mu) G,   mu M + (1 - mu) G = U S V^T,   W <- W - lr U V^T

    Every direction of a weight matrix moves as fast as any other, however small its gradient. A factor for matrices
    that are not square, as others have it, moved first layers too fast: small nets of wide descriptors saturated.
    Matrices that are large both ways are taken apart into groups of columns, which are orthogonal within each: a
    quarter of the work, and models no worse (docs, Performance). ``torch.optim.Muon`` takes matrices one by one and
    in bfloat16; here those of one shape are taken together, wide ones through their small Gram matrix.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move all matrices that have a gradient."""
        for group in self.param_groups:
            alike = defaultdict(list)  # by shape: groups of columns, and their momentum
            for matrix in group["params"]:
                if matrix.grad is not None:
                    for columns, momentum in zip(groups(matrix), groups(self._momentum(matrix)), strict=True):
                        alike[columns.shape[1:]].append((columns, momentum))
            for pairs in alike.values():
                steps = orthogonal(torch.cat([momentum for _, momentum in pairs]))
                for (columns, _), step in zip(pairs, steps.split([len(columns) for columns, _ in pairs]), strict=True):
                    columns.add_(step, alpha=-group["lr"])

    def _momentum(self, matrix: Tensor) -> Tensor:
        """The gradient, led by what it was (Nesterov)."""
        gradient, state = matrix.grad, self.state[matrix]
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum"].lerp_(gradient, 1.0 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM)


def groups(matrices: Tensor) -> tuple[Tensor, ...]:
    """Views [k, n, m'] of the columns of matrices [..., n, m] that belong together: all, or WIDEST of large ones."""
    n_in, n_out = matrices.shape[-2:]
    apart = -(-n_out // WIDEST) if min(n_in, n_out) > WHOLE else 1
    return matrices.view(-1, n_in, n_out).split(-(-n_out // apart), dim=2)


def orthogonal(matrices: Tensor) -> Tensor:
    """About U V^T of each matrix ``U S V^T`` [k, n, m], by a polynomial of it; in single precision, which will do."""
    if matrices.device.type != "cpu":
        return _orthogonal(matrices)
    parts = matrices.chunk(number_of_threads())
    found = [matrices] * len(parts)

    def work(share: int) -> None:
        found[share] = _orthogonal(parts[share])

    shared_threads().run(work, len(parts))
    return torch.cat(found)


@torch.no_grad()
def _orthogonal(matrices: Tensor) -> Tensor:
    x = matrices.to(torch.float32)
    turned = x.shape[1] > x.shape[2]
    x = x.mT if turned else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + LEAST)
    x = _by_gram(x) if x.shape[2] > 2 * x.shape[1] else _directly(x)
    return (x.mT if turned else x).to(matrices.dtype)


def _directly(x: Tensor) -> Tensor:
    for a, b, c in QUINTICS:
        x = torch.baddbmm(x, _polynomial(x @ x.mT, b, c), x, beta=a)
    return x


def _by_gram(x: Tensor) -> Tensor:
    """The same for wide matrices: ``x <- q x`` with q a polynomial of x x^T, and all q commute."""
    gram = x @ x.mT
    q = whole = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand_as(gram)
    for k, (a, b, c) in enumerate(QUINTICS):
        gram = q @ gram @ q if k else gram
        q = _polynomial(gram, b, c)
        q.diagonal(dim1=1, dim2=2).add_(a)
        whole = q @ whole if k else q
    return whole @ x


def _polynomial(gram: Tensor, b: float, c: float) -> Tensor:
    """``b g + c g^2``."""
    return torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
