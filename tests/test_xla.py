"""XLA's compiler for TPUs, which are not here: it estimates."""

from __future__ import annotations

import pytest

from tests.contracts import EstimateContract


@pytest.mark.usefixtures("environment_of_the_class")
class TestXla(EstimateContract):
    name, target = "xla", "tpu-v5e"
