"""torch: shared storages stay shared and are mapped. Skipped if torch is not installed."""

import numpy as np
import pytest

from payloadfs.serializers._pickle.serializer import PickleSerializer
from payloadfs.testing import SerializerTests
from payloadfs.testing.serializers import stored_bytes

torch = pytest.importorskip("torch")


def with_grad():
    tensor = torch.arange(3.0, requires_grad=True)
    (tensor * 2).sum().backward()
    return tensor


def tied():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    model[1].weight = model[0].weight
    return model


BASE = torch.arange(20_000.0).reshape(100, 200)


class TestTorch(SerializerTests):
    serializer = PickleSerializer()
    exact = {
        **{str(kind): torch.arange(5).to(kind) for kind in (torch.float32, torch.bfloat16, torch.int8, torch.bool)},
        "complex": torch.tensor([1j, 2]),
        "views of one storage": [BASE, BASE.view(-1), BASE[3], BASE[:, ::2], BASE.T],
        "0-d": torch.tensor(1.5),
        "empty": torch.empty(0, 3),
        "gradient": with_grad(),
        "parameter": torch.nn.Parameter(torch.ones(3), requires_grad=False),
        "state": tied().state_dict(),
        "model": tied(),
        "expanded": torch.ones(3, 1).expand(3, 4),
        "sparse": torch.eye(3).to_sparse(),
    }


def test_storage_is_stored_once_and_mapped():
    encoded = PickleSerializer().encode([BASE, BASE.T, BASE[5]])
    stored = stored_bytes(encoded)
    assert BASE.nbytes < stored.nbytes < 1.1 * BASE.nbytes
    first, _, third = PickleSerializer().decode(stored, trusted=True)
    first[5, 0] = -1.0
    assert third[0] == -1.0
    assert np.frombuffer(stored, "f4", BASE.numel(), stored.nbytes - BASE.nbytes)[1000] == -1.0


def test_writing_to_a_view_is_safe():
    stored = stored_bytes(PickleSerializer().encode({"w": BASE})).toreadonly()
    value = PickleSerializer().decode(stored, trusted=True)["w"]
    value[0, 0] = 7.0
    assert PickleSerializer().decode(stored, trusted=True)["w"][0, 0] == 0.0
