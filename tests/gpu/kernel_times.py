"""Sums up a table of kernel_trace.cc: what each kernel adds to the time of a step.

    kernel_times.py TRACE.tsv [--last N] [--sequence N]

Kernels overlap, as each may start while the one before it still runs. What a kernel adds is the time
from the end of the one before it to its own end; "runs" counts from its start, its waiting included.
"""

import argparse
import collections
import re
import sys

# A longer time is a pause between two steps or runs, no kernel of this project.
PAUSE_NS = 2_000_000


def read(path, last):
    rows = []
    with open(path, encoding="utf-8") as table:
        for line in table:
            begin, end, blocks, name = line.rstrip("\n").split("\t")
            short = re.search(r"\d([A-Z]\w*?Kernel)", name)
            rows.append((int(begin), int(end), int(blocks), short.group(1) if short else name[:40]))
    if not rows:
        sys.exit(f"{path}: no kernels")
    rows.sort()
    return rows[-last:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace")
    parser.add_argument("--last", type=int, default=3000, help="kernels to take, from the end (3000)")
    parser.add_argument("--sequence", type=int, default=0, help="print so many one by one, too")
    args = parser.parse_args()
    rows = read(args.trace, args.last)
    sums = collections.defaultdict(lambda: [0, 0, 0])
    listed = []
    for (_, before, _, _), (begin, end, blocks, name) in zip(rows, rows[1:]):
        added = end - before
        if added > PAUSE_NS:
            continue
        total = sums[name, blocks]
        total[0] += 1
        total[1] += added
        total[2] += end - begin
        listed.append((added, end - begin, blocks, name))
    all_added = sum(added for _, added, _ in sums.values())
    print("share   calls  adds us  runs us  blocks  kernel")
    for (name, blocks), (calls, added, ran) in sorted(sums.items(), key=lambda item: -item[1][1]):
        print(f"{added / all_added:5.1%} {calls:7} {added / calls / 1e3:8.2f} {ran / calls / 1e3:8.2f} "
              f"{blocks:7}  {name}")
    for added, ran, blocks, name in listed[-args.sequence:] if args.sequence else []:
        print(f"{'':13} {added / 1e3:8.2f} {ran / 1e3:8.2f} {blocks:7}  {name}")


if __name__ == "__main__":
    main()
