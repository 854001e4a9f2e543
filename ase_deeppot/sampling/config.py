"""What is sampled: one frozen dataclass, of which ``deeppot sample`` makes its options."""

import dataclasses
import math
from dataclasses import dataclass

from ase_deeppot.config import check_ranges, option
from ase_deeppot.errors import ConfigError


@dataclass(frozen=True)
class SamplingConfig:
    """How long dynamics goes on from each start, how often it is looked at, and where it ends.

    Raises
    ------
    ConfigError
        If a number is not in its range, or no structure is taken within ``time``.
    """

    temperature: float = option(dataclasses.MISSING, "K, of the dynamics", above=0, below=math.inf)
    structures: int = option(10_000, "structures to take, where no dynamics ends early", above=0)
    time: float = option(200.0, "of dynamics from each start, fs", above=0, below=math.inf)
    interval: float = option(10.0, "between structures, fs", above=0, below=math.inf)
    timestep: float = option(0.5, "of the dynamics, fs", above=0, below=math.inf)
    friction: float = option(0.02, "of the thermostat, 1/fs", least=0, below=math.inf)
    apart: float = option(0.15, "where the models' forces on an atom are farther apart than this, eV/A, dynamics ends",
                          above=0)
    seed: int = option(1, "of starts, velocities and thermostat", least=0)

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.timestep <= self.interval <= self.time:
            raise ConfigError(f"expected timestep <= interval <= time, got {self.timestep:g}, {self.interval:g}, "
                              f"{self.time:g} fs")

    @property
    def from_each(self) -> int:
        """Structures from one start."""
        return min(self.structures, round(self.time / self.interval))

    @property
    def steps(self) -> int:
        """Steps between structures."""
        return round(self.interval / self.timestep)
