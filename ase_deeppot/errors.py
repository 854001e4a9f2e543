"""What can go wrong with what a user hands us; every message is one line that says what to do."""


class DeepPotError(Exception):
    """Base of all errors that are about the input, not about a bug; the command line prints them bare."""


class ConfigError(DeepPotError, ValueError):
    """An option is unknown, has the wrong type, or contradicts another."""


class StructureError(DeepPotError, ValueError):
    """A structure cannot be described: non-finite positions, a periodic direction without a cell vector."""


class DataError(DeepPotError, ValueError):
    """A training or test data source cannot be used as it is."""


class ModelFileError(DeepPotError, ValueError):
    """A model or checkpoint file is missing, truncated, foreign, newer than this version or edited."""
