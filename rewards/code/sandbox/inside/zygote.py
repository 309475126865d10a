"""The warm Python interpreter of a slot. It imports what programs usually import, then waits in
zygote.so, which returns only in a forked, confined child: one job.

A job's text is at descriptor 3: a line of JSON that says what to do, then the program.
  {"do":"script"}                      runs the program as __main__
  {"do": "function", "entry_point", "args"}  calls it once, writes {"value": …} to descriptor 4
  {"do": "serve", "entry_point"}       answers the calls of a test over the socket at descriptor 4
  {"do": "test", "setup", "entry_point", "token"}  the program is a test, which calls over the
                                       socket at 4 and writes the token to 5 when it has passed
"""
import ctypes
import os
import sys

sys.path[:] = [p for p in sys.path if p not in ("", "/r1")] + ["/usr/lib/python3/dist-packages"]
sys.path_importer_cache.clear()
if os.environ.get("PYTHONHASHSEED") == "0" and len(os.environ) <= 2:
    os.environ.clear()  # nothing in it but our own settings

import array, atexit, bisect, builtins, collections, copy, datetime, decimal, fractions  # noqa: E401
import functools, gc, heapq, importlib, io, itertools, json, math, operator, queue, random, re  # noqa: E401
import statistics, string, threading, time, traceback, types, typing  # noqa: E401

exec(compile(open("/r1/remote.py").read(), "/r1/remote.py", "exec"))

SYNTAX_ERROR_EXIT, ASSERT_EXIT = 100, 101  # as in judge.cc
SCRIPT = b'{"do":"script"}'

random.seed(1)  # the same numbers in every job, whichever zygote it comes from
gc.freeze()  # a collection in a job would touch, and so copy, every page of the zygote


class NoProgram(BaseException):
    """The text is no Python."""


def load(text, name="__main__"):
    """The program as a module; its top level has run."""
    try:
        program = compile(text, "main.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        traceback.print_exc()
        raise NoProgram
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(program, module.__dict__)
    return module


def find_entry_point(module, entry_point):
    """`f`, `Class.method`, or a method `f` of a class Solution, on a fresh object."""
    owner, _, name = entry_point.rpartition(".")
    if not owner and not hasattr(module, name) and hasattr(module, "Solution"):
        owner = "Solution"
    if not owner:
        return getattr(module, name)
    return getattr(getattr(module, owner)(), name)


def call_function(what, text):
    function = find_entry_point(load(text), what["entry_point"])
    arguments = what["args"]
    is_named = isinstance(arguments, dict)
    value = function(**arguments) if is_named else function(*arguments)
    try:
        line = json.dumps({"value": value})
    except (TypeError, ValueError):
        line = json.dumps({"type": type(value).__name__})
    with open(4, "w") as results:
        results.write(line + "\n")


# What runs in every job touches as little as it can: each page of the zygote with an object that a
# job refers to, reading it included, is copied (a reference is a write).
def run_job():
    header, _, text = os.pread(3, os.lseek(3, 0, os.SEEK_END), 0).partition(b"\n")
    if header == SCRIPT:
        os.closerange(3, 64)
        load(text)
        return
    os.close(3)
    what = json.loads(header)
    if what["do"] == "function":
        call_function(what, text)
    elif what["do"] == "serve":
        RemoteServer(4).serve(load(text, "candidate"), what["entry_point"])
    else:
        run_test(what, text, 4, 5)


def finish(code):
    """What the interpreter does at its end, without tearing down its modules."""
    try:
        if len(threading._active) > 1 or threading._limbo:
            threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except BaseException:
        code = code or 120
    os._exit(code)


def main():
    ctypes.PyDLL("/r1/zygote.so").r1_zygote_serve()
    code = 0
    sys.argv[:] = ["main.py"]
    try:
        run_job()
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
        code = end.code & 255 if isinstance(end.code, int) else int(end.code is not None)
    except NoProgram:
        code = SYNTAX_ERROR_EXIT
    except TestFailed:
        traceback.print_exc()
        code = ASSERT_EXIT
    except BaseException:
        traceback.print_exc()
        code = 1
    finish(code)


main()
