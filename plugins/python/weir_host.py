# SPDX-License-Identifier: Apache-2.0
"""The half of the plugin that is easier said in Python: it stands in the plugin and is called by it alone."""

import ast
import functools
import hashlib
import inspect
import os
import sys
import threading
import traceback
import types

import weir

_modules = {}  # path: (digest, module); what is open has references of its own
_TYPE = {int: 1, float: 2, bool: 3, str: 4, weir.datetime.datetime: 5}  # enum weir_type
micros = weir.micros
_DTYPE = {1: 'i8', 2: 'f8', 3: '?', 5: 'M8[us]'}


class Unfit(Exception):
    """Its text says it all."""


_numpy = None


def numpy_or_none():
    """An import statement in each call would take as long as what the call is for."""
    global _numpy
    if _numpy is None:
        try:
            import numpy
        except ImportError:
            return None
        _numpy = numpy
    return _numpy


def _load(path):
    """The module of a file, once for each content."""
    try:
        with open(path, 'rb') as file:
            text = file.read()
    except OSError as e:
        raise Unfit(f"cannot read '{path}': {e.strerror}") from None
    full = os.path.realpath(path)
    digest = hashlib.sha256(full.encode() + b'\0' + text).hexdigest()
    if _modules.get(full, ('',))[0] == digest:
        return _modules[full][1]
    folder, file = os.path.split(full)
    if folder not in sys.path:
        sys.path.append(folder)  # last: it may not hide what others import
    stem = os.path.splitext(file)[0]
    module = types.ModuleType(f'_weir_file_{stem}_{digest[:16]}')
    module.__file__ = full
    sys.modules[module.__name__] = module
    try:
        exec(compile(text, full, 'exec', dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    _modules[full] = (digest, module)
    return module


def _choose(module, path, name, window):
    """The class, or function, of a file."""
    file = os.path.basename(path)
    word, mark = ('function with @weir.window', 'name: FUNCTION') if window else \
        ('class of weir.Fold or weir.Groups', 'name: CLASS')

    def is_one(v):
        return getattr(v, '_weir_window', False) if window else \
            inspect.isclass(v) and issubclass(v, (weir.Fold, weir.Groups))

    found = [v for v in vars(module).values()
             if is_one(v) and getattr(v, '__module__', '') == module.__name__]
    if name is None:
        if len(found) != 1:
            names = f': {", ".join(v.__name__ for v in found)}' if found else ''
            raise Unfit(f'{file} has {len(found) or "no"} {word}{names}' +
                        (f', {mark} says which one' if found else ''))
        return found[0]
    what = getattr(module, name, None)
    if what is None or not is_one(what):
        raise Unfit(f"{file} has no {word} that is called '{name}'")
    return what


def _with(what, text):
    """The values of `with`, those of class attributes or keyword-only parameters, by name."""
    try:
        call = ast.parse(f'_({text})', mode='eval').body
        if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
            raise ValueError
        given = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError):
        raise Unfit(f"with is '{text}', and is to be like: alpha=0.5, side='buy'") from None
    if inspect.isclass(what):
        # ['__doc__', 'update', ...] of Fold itself are no parameters
        known = {k: v for c in reversed(what.__mro__) if c not in (object, weir.Fold, weir.Groups)
                 for k, v in vars(c).items()
                 if not k.startswith('_') and not callable(v) and not hasattr(v, '__get__') and k not in vars(weir.Groups)
                 and k not in vars(weir.Fold)}
    else:
        known = {p.name: p.default for p in inspect.signature(what).parameters.values()
                 if p.kind is p.KEYWORD_ONLY and p.name != 'window' and p.default is not p.empty}
    for name, value in given.items():
        if name not in known:
            raise Unfit(f"{what.__name__} has no {'attribute' if inspect.isclass(what) else 'keyword-only parameter'} "
                        f"'{name}' that can be given with a value; it has: {', '.join(known) or 'none'}")
        if type(known[name]) is float and type(value) is int:
            given[name] = float(value)
        elif known[name] is not None and not isinstance(value, type(known[name])):
            raise Unfit(f"'{name}' of {what.__name__} is of type {type(known[name]).__name__}, and {value!r} is not")
    return given


def open_analyzer(path, name, text, names, window):
    """What the plugin remembers of an analyzer in a pipeline: a tuple, see struct analyzer in interpreter.h."""
    module = _load(path)
    what = _choose(module, path, name, window)
    given = _with(what, text) if text else {}
    try:
        declared = weir._declared(what, names)
    except weir.Wrong as e:
        function = what if window else inspect.unwrap(what)
        raise Unfit(f'{os.path.basename(path)}:{_line_of(function)}: {e}') from None
    except ModuleNotFoundError as e:
        raise Unfit(f'{os.path.basename(path)}: {what.__name__} is of weir.Groups, which needs numpy: {e}') from None
    arrays = getattr(what, 'arrays', 'auto')
    if given and inspect.isclass(what):
        what = type(what.__name__, (what,), {**given, '__module__': what.__module__, '__qualname__': what.__qualname__,
                                             '__doc__': what.__doc__})
    elif given:
        what = functools.partial(what, **given)
    numpy = numpy_or_none() if arrays in ('auto', 'numpy') or declared.kind == 'groups' else None
    if arrays == 'numpy' and numpy is None:
        raise Unfit(f'{os.path.basename(path)} needs numpy, which cannot be imported')
    outputs = [(n, _TYPE[t]) for n, t in declared.outputs]
    form, dtype, template = '', None, b''
    if declared.kind == 'groups':
        dtype = weir._state_of(what)
        record = numpy.zeros(1, dtype)
        what = what()
        what.init(record)
        template = record.tobytes()
        form = f'records {dtype.descr!r}'
    if not window:
        form = f'{declared.kind} {declared.what.state_version} {form}'
    together = declared.kind == 'groups' and what.together
    return (declared.kind, what, outputs, declared.window, together, 2 if arrays == 'arrow' else int(numpy is not None), declared.waits, form, dtype, template,
            (declared, declared.row))


def _line_of(what):
    try:
        return inspect.getsourcelines(what)[1]
    except (OSError, TypeError):
        return 1


# ---- Columns ---------------------------------------------------------------------------------------------------------


def array(lent, kind):
    """A numpy array on what the plugin lends."""
    return numpy_or_none().frombuffer(lent, _DTYPE[kind])


def masked(values, mask, with_numpy):
    """A column with nulls: a masked array, or a list with None."""
    if with_numpy:
        numpy = numpy_or_none()
        return numpy.ma.MaskedArray(values, mask=numpy.frombuffer(mask, '?'))
    return [None if gone else v for v, gone in zip(values, memoryview(mask))]


def strings(values, with_numpy):
    """Of str, and None where they are null."""
    if not with_numpy:
        return values
    column = numpy_or_none().empty(len(values), object)
    column[:] = values
    return column


def records(buffer, dtype):
    """Those of some groups, to be changed."""
    return numpy_or_none().frombuffer(buffer, dtype)


def numbers(lent):
    return numpy_or_none().frombuffer(lent, 'i8')


# ---- Results ---------------------------------------------------------------------------------------------------------


_KINDS = {int: 'iu', float: 'iuf', bool: 'b', str: '', weir.datetime.datetime: 'M'}  # numpy.dtype.kind
_CELLS = {int: 'i8', float: 'f8', bool: '?'}


def _cells(kind, column, n):
    """A copy of an array as the cells' own type; None where its values want to be looked at one by one."""
    numpy = numpy_or_none()
    if type(column) is not numpy.ndarray or column.shape != (n,) or column.dtype.kind not in _KINDS[kind]:
        return None
    if column.dtype.itemsize > 8 or kind is int and column.dtype == 'u8':
        return None
    if kind is not weir.datetime.datetime:
        return numpy.array(column, _CELLS[kind], order='C')
    times = numpy.array(column, 'M8[us]', order='C')
    return None if numpy.isnat(times).any() else times.view('i8')


def cells(declared, value, n):
    """What emit of weir.Groups gives, of each output n values: an array that is a buffer of the cells' type, or a list."""
    declared, found = declared[0], []
    if not isinstance(value, tuple) or len(value) != len(declared.outputs):
        raise TypeError(f'emit gives a {declared.row.__name__} with {len(declared.outputs)} arrays, and not {value!r}')
    for (name, kind), v in zip(declared.outputs, value):
        column = _cells(kind, v, n)
        found.append(weir._column(name, kind, v, n) if column is None else column)
    return found


def wrong_value(declared, k, value):
    name, kind = declared[0].outputs[k]
    raise TypeError(f"output '{name}' is declared as {kind.__name__}, and is {value!r}, of type {type(value).__name__}")


def wrong_row(declared, value):
    row = declared[0].row
    raise TypeError(f'a row is a {row.__name__} with {len(row._fields)} values, and not {value!r}')


def rows(declared, value):
    """What a function gives: an iterator over rows."""
    if declared[0].waits:
        value = _wait(weir._awaited(value))
    return iter((value,) if isinstance(value, declared[1]) else () if value is None else value)


def window(start, end, key, types_):
    key = tuple(weir.moment(v) if t == 5 and v is not None else v for v, t in zip(key, types_))
    return weir.Window(None if start is None else weir.moment(start), None if end is None else weir.moment(end), key)


# ---- async def -------------------------------------------------------------------------------------------------------


_loop, _starting = None, threading.Lock()


def _wait(coroutine):
    """Until it is done on the loop of all analyzers, which has a thread of its own: whoever waits here lets go of the GIL."""
    import asyncio
    try:
        _start()
    except PermissionError:
        coroutine.close()
        raise Unfit("an async def wants an event loop, which an analyzer in a process of its own may not have: "
                    "'run: thread'") from None
    return asyncio.run_coroutine_threadsafe(coroutine, _loop).result()


def _start():
    global _loop
    import asyncio
    import socket
    with _starting:
        if _loop is not None:
            return
        for end in socket.socketpair():  # may it have one?
            end.close()
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name='weir-asyncio', daemon=True).start()
        _loop = loop


async def _all(coroutines):
    import asyncio
    tasks = [asyncio.ensure_future(c) for c in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def gather(coroutines):
    """The rows of many groups, all at once. One that fails ends the others."""
    try:
        return _wait(_all(coroutines))
    finally:
        for coroutine in coroutines:  # those that were never begun
            coroutine.close()


# ---- Errors ----------------------------------------------------------------------------------------------------------


def explain(error):
    """One line about an exception, and its traceback as lines without ours."""
    if isinstance(error, Unfit):
        return str(error), []
    if isinstance(error, SyntaxError):
        return (f'{os.path.basename(error.filename or "?")}:{error.lineno}:{error.offset}: '
                f'{type(error).__name__}: {error.msg}'), []
    trace = traceback.TracebackException.from_exception(error)
    frames = [f for f in trace.stack if not f.filename.startswith('<weir')]
    trace.stack = traceback.StackSummary.from_list(frames)
    files = {m.__file__ for _, m in _modules.values()}
    own = [f for f in frames if f.filename in files] or frames
    place = f'{os.path.basename(own[-1].filename)}:{own[-1].lineno}: ' if own else ''
    text = ' '.join(str(error).split())
    short = f'{place}{type(error).__name__}' + (f': {text}' if text else '')
    return short, [line for part in trace.format() for line in part.rstrip('\n').split('\n')]
