"""Functions that stored pickles call to rebuild objects that plain pickle would change.

Their names and arguments are part of the format, because stored pickles refer to them. They may
get further arguments with defaults, and must never be removed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

__all__ = [
    "batch_of_rows",
    "extension_scalar",
    "first",
    "masked_array",
    "month_day_nano",
    "parameter",
    "run_end_scalar",
    "set_cause",
    "set_read_only",
    "sorted_map_type",
    "storage",
    "table_of_rows",
    "tensor",
    "viewed",
]


def set_read_only(array: Any, state: Any) -> None:
    """Set the state of an array, then make it read-only."""
    array.__setstate__(state)
    array.flags.writeable = False


def set_cause(error: BaseException, state: Any) -> None:
    """Set the state and the cause of an exception."""
    plain, cause, suppress = state
    if plain:
        error.__setstate__(plain)
    error.__cause__ = cause
    error.__suppress_context__ = suppress


def masked_array(data: Any, mask: Any, fill_value: Any, hard_mask: bool, info: dict[str, Any] | None = None) -> Any:
    """Return a masked array over `data`; if `mask` is None it has no mask, rather than one of all False."""
    import numpy as np

    array: Any = np.ma.MaskedArray(data, mask=np.ma.nomask if mask is None else mask, hard_mask=hard_mask)
    array._fill_value = fill_value
    array._optinfo.update(info or {})
    return array


def table_of_rows(schema: pa.Schema, rows: int) -> pa.Table:
    """Return a table with rows but without columns."""
    import pyarrow as pa

    return pa.table({"": pa.nulls(rows)}).replace_schema_metadata(schema.metadata).select([])


def batch_of_rows(schema: pa.Schema, rows: int) -> pa.RecordBatch:
    """Return a record batch with rows but without columns."""
    import pyarrow as pa

    return pa.record_batch({"": pa.nulls(rows)}).replace_schema_metadata(schema.metadata).select([])


def sorted_map_type(key: Any, item: Any) -> Any:
    """Return the Arrow map type with sorted keys."""
    import pyarrow as pa

    return pa.map_(key, item, keys_sorted=True)


def month_day_nano(months: int, days: int, nanoseconds: int) -> Any:
    """Return an Arrow interval of months, days and nanoseconds."""
    import pyarrow as pa

    return pa.MonthDayNano([months, days, nanoseconds])


def first(array: pa.Array) -> pa.Scalar:
    """Return the first cell of an Arrow array."""
    return array[0]


def run_end_scalar(kind: Any, value: pa.Scalar) -> pa.Scalar:
    """Return a scalar of a run-end encoded type."""
    import pyarrow as pa

    values = pa.array([value.as_py()], kind.value_type)
    return pa.RunEndEncodedArray.from_arrays(pa.array([1], kind.run_end_type), values)[0]


def extension_scalar(kind: Any, value: pa.Scalar) -> pa.Scalar:
    """Return a scalar of an extension type over one of its storage type."""
    import pyarrow as pa

    return pa.ExtensionScalar.from_storage(kind, value)


def viewed(array: npt.NDArray[Any], dtype: Any) -> Any:
    """Return a view of the memory of `array` as `dtype`."""
    return array.view(dtype)


def storage(content: npt.NDArray[Any]) -> Any:
    """Return a torch storage over the bytes `content`."""
    torch = importlib.import_module("torch")
    if not content.size:
        return torch.UntypedStorage(0)
    # torch has no read-only memory: writing to it would crash the process.
    whole = content if content.flags.writeable else content.copy()
    return torch.frombuffer(whole, dtype=torch.uint8).untyped_storage()


def tensor(
    storage: Any, dtype: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], needs_grad: bool, grad: Any
) -> Any:
    """Return a torch tensor over `storage`, which several tensors may share."""
    torch = importlib.import_module("torch")
    made = torch.empty(0, dtype=getattr(torch, dtype)).set_(storage, offset, shape, strides)
    made.requires_grad_(needs_grad).grad = grad
    return made


def parameter(data: Any, needs_grad: bool, grad: Any) -> Any:
    """Return a torch parameter over the tensor `data`."""
    made = importlib.import_module("torch").nn.Parameter(data, needs_grad)
    made.grad = grad
    return made
