"""Functions that stored pickles call to rebuild objects that plain pickle would change.

Their names and arguments are part of the format, because stored pickles refer to them. They may
get further arguments with defaults, and must never be removed.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)


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


def by_base(base: Any, cls: Any, *args: Any) -> Any:
    """Return an object of `cls` that is created by `base`, so that no constructor of a subclass runs."""
    obj = base.__new__(cls, *args)
    if base.__init__ is not object.__init__:
        base.__init__(obj, *args)
    return obj


def set_attributes(obj: Any, state: tuple[Any, dict[str, Any] | None, dict[str, Any]]) -> None:
    """Set the state of an object.

    `state` consists of the state for ``__setstate__`` (or None), the content of its ``__dict__`` (or
    None), and its slots. Neither ``__getattr__`` nor ``__setattr__`` of its class is called.
    """
    plain, namespace, slots = state
    if plain is not None:
        obj.__setstate__(plain)
    if namespace is obj:
        object.__setattr__(obj, "__dict__", obj)
    elif namespace is not None:
        own = object.__getattribute__(obj, "__dict__")
        # A copy: __setstate__ may have used the same dict.
        items = [(sys.intern(name) if type(name) is str else name, value) for name, value in namespace.items()]
        own.clear()
        own.update(items)
    for name, value in slots.items():
        descriptor(type(obj), name).__set__(obj, value)


def set_attributes_read_only(array: Any, state: Any) -> None:
    """Set the state of an array as `set_attributes` does, then make it read-only."""
    set_attributes(array, state)
    array.flags.writeable = False


def descriptor(cls: type, name: str) -> Any:
    """Return the descriptor in C of the slot or member `name`."""
    # A property of a subclass may hide it.
    return next(value for base in cls.__mro__ if isinstance(value := vars(base).get(name), DESCRIPTORS))


def fill(obj: Any, state: tuple[Any, dict[str, Any] | None, dict[str, Any], list[Any]]) -> None:
    """Set the attributes of a container, then its items by the methods of its built-in base.

    The attributes come first, because the hash of an item may depend on them. The state for
    ``__setstate__`` comes last, because with plain pickle it can rely on the items. The items of a
    dict are keys and values in turn.
    """
    plain, namespace, slots, items = state
    set_attributes(obj, (None, namespace, slots))
    if issubclass(type(obj), dict):
        set_item: Any = OrderedDict.__setitem__ if issubclass(type(obj), OrderedDict) else dict.__setitem__
        for key, value in zip(items[::2], items[1::2], strict=True):
            set_item(obj, key, value)
    else:
        extend: dict[type, Callable[..., None]] = {list: list.extend, deque: deque.extend, set: set.update}
        next(method for base, method in extend.items() if isinstance(obj, base))(obj, items)
    if plain is not None:
        obj.__setstate__(plain)


def set_error(error: BaseException, state: Any) -> None:
    """Set the attributes of an exception, its cause, and whether its context is hidden."""
    namespace, slots, cause, suppress = state
    set_attributes(error, (None, namespace, slots))
    # Not by assignment, which a frozen dataclass refuses.
    descriptor(BaseException, "__cause__").__set__(error, cause)
    descriptor(BaseException, "__suppress_context__").__set__(error, suppress)


def enum_member(cls: Any, name: str) -> Any:
    """Return the member of an enum called `name`."""
    return cls._member_map_[name]


def standard_stream(name: str) -> Any:
    """Return ``sys.stdin``, ``sys.stdout`` or ``sys.stderr``."""
    if name not in ("stdin", "stdout", "stderr"):
        raise ValueError(f"{name!r} is not a standard stream")
    return getattr(sys, name)


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

    values = pa.repeat(value, 1) if value.is_valid else pa.nulls(1, kind.value_type)
    return pa.RunEndEncodedArray.from_arrays(pa.array([1], kind.run_end_type), values)[0]


def extension_scalar(kind: Any, value: pa.Scalar) -> pa.Scalar:
    """Return a scalar of an extension type over a scalar of its storage type."""
    import pyarrow as pa

    return pa.ExtensionScalar.from_storage(kind, value)


def viewed(array: npt.NDArray[Any], kind: Any) -> Any:
    """Return a view of the memory of `array` as `kind`, a dtype or class."""
    return array.view(kind)


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
