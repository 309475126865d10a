"""Calls between two jobs, so that a test never shares an interpreter with the program that it
tests. Values cross as plain data (numbers, text, containers); anything else stays where it is and
crosses as a handle. So an object that claims to equal everything is, to the test, a handle that
equals nothing, and a patched builtin is patched on the other side only.

The test is the client. Lines of JSON: {"op", …} there, {"value"} or {"error", "text"} back.
"""

HANDLE_OPERATIONS = {
    "call": lambda target, args, named: target(*args, **named),
    "get": lambda target, args, named: getattr(target, *args),
    "set": lambda target, args, named: setattr(target, *args),
    "item": lambda target, args, named: target[args[0]],
    "set_item": lambda target, args, named: target.__setitem__(*args),
    "contains": lambda target, args, named: args[0] in target,
    "length": lambda target, args, named: len(target),
    "iterate": lambda target, args, named: iter(target),
    "next": lambda target, args, named: next(target),
    "text": lambda target, args, named: str(target),
    "truth": lambda target, args, named: bool(target),
}


def encode(value, keep):
    """`keep(object)` gives the number of a handle for what is not plain."""
    if value is None or isinstance(value, (bool, int, float, str)):
        for kind in (bool, int, float, str):
            if isinstance(value, kind):
                return value if type(value) is kind else kind(value)
        return None
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).decode("latin-1")}
    if isinstance(value, decimal.Decimal):
        return {"decimal": str(value)}
    if isinstance(value, fractions.Fraction):
        return {"fraction": [value.numerator, value.denominator]}
    if isinstance(value, dict):
        return {"dict": [[encode(k, keep), encode(v, keep)] for k, v in value.items()]}
    for kind, name in ((list, "list"), (tuple, "tuple"), (set, "set"), (frozenset, "frozenset"),
                       (collections.deque, "deque"), (range, "list")):
        if isinstance(value, kind):
            return {name: [encode(item, keep) for item in value]}
    return {"handle": keep(value)}


BUILDERS = {
    "complex": lambda v: complex(*v), "bytes": lambda v: v.encode("latin-1"),
    "decimal": decimal.Decimal, "fraction": lambda v: fractions.Fraction(*v),
}
CONTAINERS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset,
              "deque": collections.deque}


def decode(value, handle):
    if not isinstance(value, dict):
        return value
    (name, content), = value.items()
    if name == "handle":
        return handle(content)
    if name == "dict":
        return {decode(k, handle): decode(v, handle) for k, v in content}
    if name in CONTAINERS:
        return CONTAINERS[name](decode(item, handle) for item in content)
    return BUILDERS[name](content)


class RemoteServer:
    """The side of the program under test."""

    def __init__(self, descriptor):
        self.reader = os.fdopen(descriptor, "r")
        self.descriptor = descriptor
        self.objects = []

    def keep(self, value):
        self.objects.append(value)
        return len(self.objects) - 1

    def serve(self, module, entry_point):
        self.send({"value": self.names_of(module, entry_point)})
        sys.set_int_max_str_digits(0)
        for line in self.reader:
            self.send(self.answer(json.loads(line)))

    def names_of(self, module, entry_point):
        """What a test may mean by a name: a module, something from one, a value, or a handle."""
        names = []
        for name, value in list(vars(module).items()):
            if name == entry_point:
                names.append([name, {"handle": self.keep(value)}])
                continue
            if name.startswith("__"):
                continue
            if isinstance(value, types.ModuleType):
                names.append([name, {"module": value.__name__}])
                continue
            origin = sys.modules.get(getattr(value, "__module__", None) or "")
            path = getattr(value, "__qualname__", getattr(value, "__name__", None))
            if origin not in (None, module) and getattr(origin, str(path), None) is value:
                names.append([name, {"from": [origin.__name__, path]}])
            else:
                names.append([name, encode(value, self.keep)])
        return names

    def answer(self, request):
        at = lambda number: self.objects[number]
        try:
            result = HANDLE_OPERATIONS[request["op"]](
                at(request["target"]),
                [decode(a, at) for a in request["args"]],
                {k: decode(v, at) for k, v in request["named"].items()})
            return {"value": encode(result, self.keep)}
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            return {"error": kinds, "text": str(error)}

    def send(self, message):
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self.descriptor, data):]


class RemoteError(Exception):
    """Raised in a test for an exception that is no builtin."""


class TestFailed(BaseException):
    """An assertion of the test does not hold."""


class Remote:
    """The side of the test: asks, and makes handles."""

    def __init__(self, descriptor):
        self.reader = os.fdopen(descriptor, "r")
        self.descriptor = descriptor

    def ask(self, op, target, args=(), named={}):
        def number_of(value):
            if isinstance(value, Handle):
                return object.__getattribute__(value, "_number")
            raise TypeError("a test cannot pass a %s to the program" % type(value).__name__)

        message = {"op": op, "target": target, "args": [encode(a, number_of) for a in args],
                   "named": {k: encode(v, number_of) for k, v in named.items()}}
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self.descriptor, data):]
        return self.read()

    def read(self):
        line = self.reader.readline()
        if not line.endswith("\n"):
            raise SystemExit("the program ended before the test did")
        reply = json.loads(line)
        if "error" not in reply:
            return decode(reply["value"], lambda number: Handle(self, number))
        for name in reply["error"]:
            kind = getattr(builtins, name, None)
            if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception:
                raise kind(reply["text"])
        raise RemoteError(reply["text"])

    def names(self):
        line = self.reader.readline()
        return json.loads(line)["value"] if line.endswith("\n") else []


class Handle:
    """An object of the program, as a test sees it. It equals itself only."""

    def __init__(self, remote, number):
        object.__setattr__(self, "_remote", remote)
        object.__setattr__(self, "_number", number)

    def _ask(self, op, *args, **named):
        return object.__getattribute__(self, "_remote").ask(
            op, object.__getattribute__(self, "_number"), args, named)

    def __call__(self, *args, **named):
        return object.__getattribute__(self, "_remote").ask(
            "call", object.__getattribute__(self, "_number"), args, named)

    def __getattr__(self, name):
        return self._ask("get", name)

    def __setattr__(self, name, value):
        self._ask("set", name, value)

    def __getitem__(self, key):
        return self._ask("item", key)

    def __setitem__(self, key, value):
        self._ask("set_item", key, value)

    def __contains__(self, value):
        return bool(self._ask("contains", value))

    def __len__(self):
        return self._ask("length")

    def __iter__(self):
        return self._ask("iterate")

    def __next__(self):
        return self._ask("next")

    def __str__(self):
        return str(self._ask("text"))

    def __bool__(self):
        return bool(self._ask("truth"))


def known_name(value, remote):
    """What the other side says a name means; None when that is nothing to go by."""
    if isinstance(value, dict) and "module" in value:
        return importlib.import_module(value["module"])
    if isinstance(value, dict) and "from" in value:
        return getattr(importlib.import_module(value["from"][0]), value["from"][1])
    return decode(value, lambda number: Handle(remote, number))


def run_test(what, text, socket, verdict):
    """Names of the test, the strongest first: its own, those of the setup, modules of the standard
    library, builtins, and only then what the program defines. The entry point is the program's."""
    remote = Remote(socket)
    sys.set_int_max_str_digits(0)
    names = {"__name__": "test", "__builtins__": builtins}
    try:
        exec(compile(what["setup"], "setup.py", "exec"), names)
    except SyntaxError:
        pass  # the setup is the beginning of a definition, which the program ends
    program = compile(text, "test.py", "exec")
    for name in all_names(program) & sys.stdlib_module_names:
        if name not in names:
            names[name] = importlib.import_module(name)
    for name, value in remote.names():
        if name == what["entry_point"]:
            names[name] = Handle(remote, value["handle"])
        elif name not in names and not hasattr(builtins, name):
            try:
                names[name] = known_name(value, remote)
            except (ImportError, AttributeError):
                continue
    entry = names[what["entry_point"]] if what["entry_point"] else None
    names.setdefault("candidate", entry)
    try:
        exec(program, names)
        # HumanEval's tests only define it. With no entry point, the test has to call it itself.
        if isinstance(names.get("check"), types.FunctionType) and entry is not None:
            names["check"](entry)
    except AssertionError as error:
        raise TestFailed from error
    os.write(verdict, what["token"].encode())


def all_names(code):
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= all_names(constant)
    return names
