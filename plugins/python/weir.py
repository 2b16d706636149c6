# SPDX-License-Identifier: Apache-2.0
"""Analyzers for weir in Python: weir-python(7).

A fold has an object for each group, one key in one window:

    class Mean(NamedTuple):
        mean: float | None
        n: int

    class Average(weir.Fold):
        def __init__(self):
            self.n, self.total = 0, 0.0

        def update(self, price):
            self.n += len(price)
            self.total += sum(price)

        def merge(self, other):
            self.n += other.n
            self.total += other.total

        def emit(self) -> Mean:
            return Mean(self.total / self.n if self.n else None, self.n)

weir has this module with it. Outside of the server, `weir.run(Average, {"price": [1.0, 2.5]})` does what the server
does with one group, so that an analyzer can be tested without one.
"""

from __future__ import annotations

import datetime
import inspect
import pickle
import types
import typing
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ['Fold', 'Groups', 'Window', 'window', 'run', 'run_groups']

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MICROSECOND = datetime.timedelta(microseconds=1)
_WORDS = {int: 'int', float: 'float', bool: 'bool', str: 'string', datetime.datetime: 'time'}


class Window(NamedTuple):
    """What a method that has a parameter `window` is told: the window and the key of the group."""
    start: datetime.datetime | None  # None: it has none
    end: datetime.datetime | None
    key: tuple[Any, ...] = ()


class Fold:
    """One object for each group. `update` gets the columns that `of` names, a piece of the group's rows each time."""

    state_version: int = 1  # raised when states that were saved before cannot be loaded any more
    arrays: str = 'auto'  # 'numpy', 'memoryview', 'arrow', or numpy where it can be imported

    def merge(self, other: Any) -> None:
        """Folds in the object of other rows of the group; in any order the result is the same."""
        raise NotImplementedError(f'{type(self).__name__} has no merge, and these windows are merged from parts')

    def save(self) -> bytes:
        """What `load` needs to go on, maybe in another process; by default a pickle of the attributes."""
        return pickle.dumps(self.__dict__, protocol=5)

    def load(self, state: bytes) -> None:
        """Of an object that __init__ has just made."""
        self.__dict__.update(_loads(state, sys_modules_of(type(self))))


class Groups:
    """One record for each group, and methods that get many groups at once as numpy arrays.

        class Average(weir.Groups):
            state = np.dtype([('n', np.int64), ('total', np.float64)])

            def update(self, state, group, price):    # group[i]: 0 to len(state) - 1, that row i is of
                state['n'] += np.bincount(group, minlength=len(state))
                state['total'] += np.bincount(group, price, minlength=len(state))

            def merge(self, state, other):            # state[i] and other[i] are of one group
                state['n'] += other['n']
                state['total'] += other['total']

            def emit(self, state) -> Mean:            # of arrays, a value for each group
                return Mean(state['total'] / state['n'], state['n'])

    A record begins as zeros, or as `init` leaves it. What is in it is all there is: attributes of self are not saved.

    With `together = True` the rows of each group stand side by side, and update gets where they begin, as `reduceat` wants it:

            def update(self, state, first, price):    # of state[i]: price[first[i]] up to price[first[i + 1] - 1]
                state['low'] = np.minimum(state['low'], np.minimum.reduceat(price, first))
    """

    state_version: int = 1
    state: Any = None  # a numpy dtype without objects
    together: bool = False

    def init(self, state: Any) -> None:
        """Changes records of zeros into those of no rows."""

    def merge(self, state: Any, other: Any) -> None:
        raise NotImplementedError(f'{type(self).__name__} has no merge, and these windows are merged from parts')


def window(function: Callable[..., Any] | None = None, *, arrays: str = 'auto') -> Callable[..., Any]:
    """Marks the function of a file that `python_window` calls with all rows of a window. An async def is awaited.
    `arrays` as of a Fold: @weir.window(arrays='arrow')."""
    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function._weir_window = True  # type: ignore[attr-defined]
        function.arrays = arrays  # type: ignore[attr-defined]
        return function
    return mark if function is None else mark(function)


# ---- What a class or function declares -------------------------------------------------------------------------------


class Wrong(TypeError):
    """A declaration that does not fit."""


def _output_type(name: str, hint: Any) -> type:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        given = [t for t in typing.get_args(hint) if t is not type(None)]
        hint = given[0] if len(given) == 1 else hint
    if hint not in _WORDS:
        raise Wrong(f"output '{name}' is of type {getattr(hint, '__name__', hint)}, and can be: int, float, bool, str, "
                    'datetime.datetime, or one of these | None')
    return hint


def _row_of(function: Any, what: str, rows: bool) -> type:
    """The NamedTuple that the return annotation names; with `rows` within list[...], Iterator[...] or the like."""
    example = 'list[Row]' if rows else 'Row'
    try:
        hint = typing.get_type_hints(function).get('return')
    except NameError as e:
        raise Wrong(f'the annotations of {what} name something that is not there: {e}') from None
    if rows and typing.get_args(hint) and issubclass(typing.get_origin(hint) or object, (Iterable, AsyncIterable)):
        hint = typing.get_args(hint)[0]
    if not (inspect.isclass(hint) and issubclass(hint, tuple) and hasattr(hint, '_fields')):
        raise Wrong(f'{what} does not say what it gives: def ...(...) -> {example}, where class Row(NamedTuple) has the '
                    'outputs with their types')
    return hint


def _outputs_of(row: type) -> list[tuple[str, type]]:
    hints = typing.get_type_hints(row)
    for name in row._fields:  # type: ignore[attr-defined]
        if name not in hints:
            raise Wrong(f"output '{name}' of {row.__name__} has no type")
    outputs = [(name, _output_type(name, hints[name])) for name in row._fields]  # type: ignore[attr-defined]
    if not outputs:
        raise Wrong(f'{row.__name__} has no outputs')
    return outputs


def _takes_window(function: Any) -> bool:
    return 'window' in inspect.signature(function).parameters


def _check_call(function: Any, what: str, names: Sequence[str], before: int = 0) -> None:
    """Can it be called with `before` arguments and the columns?"""
    signature = inspect.signature(function)
    keywords = {'window': None} if _takes_window(function) else {}
    try:
        signature.bind(*[None] * before, *names, **keywords)
    except TypeError:
        columns = [p for p in list(signature.parameters)[before:] if p != 'window']
        given = f"{len(names)} column{'s' * (len(names) != 1)} ({', '.join(names)})"
        raise Wrong(f"{what} takes {', '.join(columns) or 'no columns'}, but is given {given}") from None


class _Declared(NamedTuple):
    kind: str  # 'fold', 'groups', 'window'
    what: Any
    row: type
    outputs: list[tuple[str, type]]
    window: bool  # emit, or the function, has a parameter `window`
    waits: bool = False  # it is an async def


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _needed(cls: type, base: type, names: Iterable[str]) -> None:
    for name in names:
        method = getattr(cls, name, None)
        if inspect.isasyncgenfunction(method) or _is_async(method) and (name != 'emit' or not issubclass(cls, Fold)):
            raise Wrong(f'{cls.__name__}.{name} is an async def; emit of a weir.Fold can be one, and a function with '
                        '@weir.window')
        if not callable(getattr(cls, name, None)):
            raise Wrong(f'class {cls.__name__} has no method {name}')


def _declared(what: Any, names: Sequence[str]) -> _Declared:
    """Checks a class, or a function, that is called with columns of these names."""
    if inspect.isclass(what) and issubclass(what, (Fold, Groups)):
        kind = 'fold' if issubclass(what, Fold) else 'groups'
        _needed(what, Fold, ('update', 'merge', 'emit'))
        of_states = 0 if kind == 'fold' else 1
        _check_call(what.update, f'{what.__name__}.update', names, 1 + 2 * of_states)
        _check_call(what.emit, f'{what.__name__}.emit', (), 1 + of_states)
        row = _row_of(what.emit, f'{what.__name__}.emit', False)
        if kind == 'groups':
            _state_of(what)
            if not isinstance(what.together, bool):
                raise Wrong(f'{what.__name__}.together is {what.together!r}, and can be: True, False')
        else:
            _check_arrays(what)
        return _Declared(kind, what, row, _outputs_of(row), _takes_window(what.emit), _is_async(what.emit))
    if getattr(what, '_weir_window', False):
        _check_call(what, what.__name__, names)
        _check_arrays(what)
        row = _row_of(what, what.__name__, True)
        return _Declared('window', what, row, _outputs_of(row), _takes_window(what), _is_async(what))
    raise Wrong(f"{getattr(what, '__name__', what)} is neither a class of weir.Fold or weir.Groups nor a function "
                'with @weir.window')


def _check_arrays(what: Any) -> None:
    known = ('auto', 'numpy', 'memoryview', 'arrow')
    if what.arrays not in known:
        raise Wrong(f"{what.__name__}.arrays is {what.arrays!r}, and can be: {', '.join(map(repr, known))}")


def _state_of(cls: type) -> Any:
    import numpy as np
    try:
        dtype = np.dtype(cls.state)  # type: ignore[attr-defined]
    except TypeError as e:
        raise Wrong(f"{cls.__name__}.state is no dtype: {e}") from None
    if cls.state is None or dtype.names is None or dtype.hasobject:  # type: ignore[attr-defined]
        raise Wrong(f"{cls.__name__} has no state, as in: state = np.dtype([('n', np.int64), ('total', np.float64)])")
    return dtype


# ---- Values ----------------------------------------------------------------------------------------------------------


def micros(value: Any) -> int:
    """Microseconds since 1970 of what stands for a time in a row."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise TypeError(f'{value!r} has no time zone')
        return (value - _EPOCH) // _MICROSECOND
    if hasattr(value, 'astype'):  # numpy.datetime64
        return int(value.astype('datetime64[us]').astype('int64'))
    return value.__index__()


def moment(us: int) -> datetime.datetime:
    return _EPOCH + us * _MICROSECOND


def _value(name: str, kind: type, value: Any) -> Any:
    """The value as the server takes it for an output; TypeError."""
    if value is None:
        return None
    try:
        if kind is float and not isinstance(value, (str, bytes)):
            return float(value)
        if kind is int:
            return value.__index__()
        if kind is bool and (isinstance(value, bool) or type(value).__name__ in ('bool_', 'bool')):
            return bool(value)
        if kind is str and isinstance(value, str):
            return str(value)
        if kind is datetime.datetime:
            return moment(micros(value))
    except (TypeError, AttributeError):
        pass
    raise TypeError(f"output '{name}' is declared as {kind.__name__}, and is {value!r}, of type {type(value).__name__}")


def _row(declared: _Declared, value: Any) -> Any:
    if not isinstance(value, tuple) or len(value) != len(declared.outputs):
        raise TypeError(f'a row is a {declared.row.__name__} with {len(declared.outputs)} values, and not {value!r}')
    return declared.row(*[_value(n, t, v) for (n, t), v in zip(declared.outputs, value)])


class _Unpickler(pickle.Unpickler):
    """Classes of an analyzer's file are those of the file as it is now."""
    module: Any = None

    def find_class(self, name: str, qualname: str) -> Any:
        if self.module is not None and name.startswith('_weir_file_'):
            found = self.module
            for part in qualname.split('.'):
                found = getattr(found, part)
            return found
        return super().find_class(name, qualname)


def sys_modules_of(cls: type) -> Any:
    import sys
    return sys.modules.get(cls.__module__)


def _loads(state: bytes, module: Any) -> Any:
    import io
    unpickler = _Unpickler(io.BytesIO(state))
    unpickler.module = module
    return unpickler.load()


# ---- Without a server ------------------------------------------------------------------------------------------------


def _array(values: Any, arrays: str) -> Any:
    """A column as the server hands it over."""
    values = list(values)
    first = next((v for v in values if v is not None), None)
    if arrays == 'arrow':
        import pyarrow
        return pyarrow.array(values)
    if any(v is None for v in values):
        raise ValueError('rows with a null do not come (nulls: skip): leave them out')
    if arrays != 'memoryview':
        try:
            import numpy as np
        except ImportError:
            if arrays == 'numpy':
                raise
        else:
            if isinstance(first, str):
                column = np.empty(len(values), object)
                column[:] = values
            elif isinstance(first, datetime.datetime):
                column = np.array([micros(v) for v in values], np.int64).view('M8[us]')
            elif first is None:
                column = np.empty(0, np.float64)
            else:
                column = np.array(values)
            column.flags.writeable = False
            return column
    if isinstance(first, str):
        return values
    import array
    if isinstance(first, datetime.datetime):
        return memoryview(array.array('q', [micros(v) for v in values])).toreadonly()
    if isinstance(first, bool):
        return memoryview(bytes(values)).cast('?')
    return memoryview(array.array('q' if isinstance(first, int) else 'd', values)).toreadonly()


async def _awaited(value: Any) -> Any:
    """What an async def gives in the end; of one that yields all."""
    return [row async for row in value] if hasattr(value, '__aiter__') else await value


def _now(value: Any) -> Any:
    if not (inspect.isawaitable(value) or hasattr(value, '__aiter__')):
        return value
    import asyncio
    return asyncio.run(_awaited(value))


def _pieces(columns: Sequence[Any], size: int) -> Iterable[list[Any]]:
    n = len(columns[0]) if columns else 0
    for at in range(0, n, size):
        yield [c[at:at + size] for c in columns]


def run(what: Any, columns: Mapping[str, Sequence[Any]], *, window: Window = Window(None, None), piece: int = 1024,
        state: bytes | None = None) -> Any:
    """Does with one group what the server does. The columns stand in the order of `of`; `piece` rows are handed over
    at a time. Gives the row, of a function all rows as a list.

    Of a Fold the rows are given to two objects, which go through save and load and are merged: as with windows that
    overlap. Where merge is not defined, one object gets them all.
    """
    declared = _declared(what, list(columns))
    sizes = {len(c) for c in columns.values()}
    if len(sizes) > 1:
        raise ValueError('columns are of different lengths')
    keywords = {'window': window} if declared.window else {}
    if declared.kind == 'window':
        given = [_array(c, getattr(what, 'arrays', 'auto')) for c in columns.values()]
        found = _now(what(*given, **keywords))
        found = [found] if isinstance(found, declared.row) else found
        return [_row(declared, row) for row in found]
    if declared.kind == 'groups':
        n = sizes.pop() if sizes else 0
        return run_groups(what, [0] * n, columns, window=window, piece=piece)[0]
    given = [_array(c, what.arrays) for c in columns.values()]
    n = len(given[0]) if given else 0
    half = n // 2 if what.merge is not Fold.merge else n
    parts = []
    for part in ([c[:half] for c in given], [c[half:] for c in given]):
        fold = what()
        for some in _pieces(part, piece):
            fold.update(*some)
        again = what()
        again.load(fold.save())
        parts.append(again)
    if n > half:
        parts[0].merge(parts[1])
    return _row(declared, _now(parts[0].emit(**keywords)))


def run_groups(what: Any, group: Sequence[int], columns: Mapping[str, Sequence[Any]], *,
               window: Window = Window(None, None), piece: int = 1024) -> list[Any]:
    """The same with the groups of a weir.Groups: row i is of group[i], 0 and up. Gives the row of each."""
    import numpy as np
    declared = _declared(what, list(columns))
    if declared.kind != 'groups':
        raise Wrong('run_groups is for classes of weir.Groups')
    given = [_array(c, 'numpy') for c in columns.values()]
    number = np.asarray(group, np.intp)
    n = int(number.max()) + 1 if len(number) else 1
    self, states = what(), []
    half = len(number) // 2 if what.merge is not Groups.merge else 0
    for begin, end in ((half, len(number)), (0, half)):
        state = np.zeros(n, _state_of(what))
        self.init(state)
        for at in range(begin, end, piece):
            rows = slice(at, min(at + piece, end))
            seen, dense = np.unique(number[rows], return_inverse=True)
            some, columns_of = state[seen], [c[rows] for c in given]
            if what.together:
                order = np.argsort(dense, kind='stable')
                columns_of = [c[order] for c in columns_of]
                dense = np.searchsorted(dense[order], np.arange(len(seen)))
            self.update(some, dense, *columns_of)
            state[seen] = some
        states.append(state)
    if half:
        self.merge(states[1], states[0])
        states.reverse()
    keywords = {'window': [window] * n} if declared.window else {}
    found = _columns(declared, self.emit(states[0], **keywords), n)
    return [declared.row(*row) for row in zip(*found)]


def _columns(declared: _Declared, value: Any, n: int) -> list[list[Any]]:
    """What emit of Groups gives, as lists of n values."""
    if not isinstance(value, tuple) or len(value) != len(declared.outputs):
        raise TypeError(f'emit gives a {declared.row.__name__} with {len(declared.outputs)} arrays, and not {value!r}')
    lists = []
    for (name, kind), column in zip(declared.outputs, value):
        values = _column(name, kind, column, n)
        lists.append([_value(name, kind, v) for v in values])
    return lists


def _column(name: str, kind: type, column: Any, n: int) -> list[Any]:
    """The values of an array, None for what is masked or no time; one value stands for all groups."""
    import numpy as np
    if column is None:
        return [None] * n
    if kind is datetime.datetime and getattr(column, 'dtype', None) is not None and column.dtype.kind == 'M':
        gone = np.isnat(column)
        column = np.ma.masked_array(column.astype('M8[us]').astype(np.int64), gone | np.ma.getmaskarray(column))
    values = column.tolist() if hasattr(column, 'tolist') else column
    if isinstance(values, (str, bytes)) or not isinstance(values, (list, tuple)):
        return [values] * n
    if len(values) != n:
        raise TypeError(f"output '{name}' has {len(values)} values, and there are {n} groups")
    return list(values)
