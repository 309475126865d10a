"""Makes a reward plugin of a Python function: reads JSON lines from r1 and answers them
(rewards/plugin/protocol.h). r1 runs it as `python3 -c <this text> FILE FUNCTION`.

The function takes one sample, a dict, and returns a number, or a dict with `score` and, if it
likes, `reason` and `parts`. What it raises is that sample's error. What it prints goes to stderr.
"""

import importlib.util
import inspect
import json
import os
import sys


def score_one(function, sample):
    try:
        result = function(sample)
    except Exception as error:  # the sample's fault, or the function's: the next one is tried
        return {"error": f"{type(error).__name__}: {error}"}
    try:
        if isinstance(result, dict):
            result = dict(result)
            result["score"] = float(result["score"])
            result["parts"] = {name: float(part) for name, part in result.get("parts", {}).items()}
        else:
            result = float(result)  # bool, numpy scalars and the like
        json.dumps(result, allow_nan=False)
    except (AttributeError, KeyError, TypeError, ValueError):
        return {"error": "expected a finite number, or a dict with one under score, found "
                         f"{result!r}"[:500]}
    return result


def load(path, name):
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location("r1_reward_plugin", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        sys.exit(f"{path}: expected a function {name}, found {type(function).__name__}")
    return function


def takes_config(function):
    try:
        return "config" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C, without a signature
        return False


def main(path, name):
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # print() must not break the lines
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    config = json.loads(requests.readline())["config"]
    plain = load(path, name)
    function = (lambda sample: plain(sample, config=config)) if takes_config(plain) else plain

    def reply(message):
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    reply({"r1_reward": 1})
    for line in requests:
        request = json.loads(line)
        scores = [score_one(function, sample) for sample in request["samples"]]
        reply({"id": request["id"], "scores": scores})


main(sys.argv[1], sys.argv[2])
