"""Devices that cannot be trained on are refused with PyTorch's reason."""

import pytest

from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.device import check_device


@pytest.mark.parametrize(("name", "reason"), [("gpu", "Expected one of cpu, cuda"), ("meta", ""), ("cuda:99", "")])
def test_devices_that_do_not_work_here(name, reason):
    with pytest.raises(ConfigError) as caught:
        check_device(name)
    begin = f"expected a device that works here for training.device, got '{name}': {reason}"
    assert str(caught.value).startswith(begin)
    assert "\n" not in str(caught.value)
