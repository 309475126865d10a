"""The contract's plugin as a Python function (tests/rewards/plugin_contract.h)."""

import os
import time

ECHO = {"prompt": '12 + 5 = "?"\n', "response": "echo", "prediction": "17", "answer": "1\t7",
        "language": "fr", "columns": {"level": 3}, "finished": False, "think_prefilled": True,
        "n_tokens": 9}


def score(sample, config):
    words = sample["response"].split()
    if words[0] == "config":
        return config["value"]
    if words[0] == "echo":
        return {"score": sample == ECHO, "reason": repr(sample)[:50]}
    if words[0] == "throw":
        raise ValueError("as asked")
    if words[0] == "crash" or (words[0] == "crash_once" and not os.path.exists(words[1])):
        if len(words) > 1:
            open(words[1], "w").close()
        os._exit(7)
    if words[0] == "hang":
        time.sleep(60)
    if words[0] == "nan":
        return float("nan")
    if words[0] == "range":
        return 7
    print("this must not break the protocol")
    return {"score": 0.5, "reason": "half way", "parts": {"a": 0.25}}
