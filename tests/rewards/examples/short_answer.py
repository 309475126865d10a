import re


def score(sample):
    found = re.fullmatch(r"<think>.*</think>\s*<answer>(.*)</answer>\s*", sample["response"], re.S)
    if not found:
        return 0
    return {"score": len(found[1]) <= 4, "reason": "short" if len(found[1]) <= 4 else "long"}
