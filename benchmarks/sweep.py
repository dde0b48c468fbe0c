"""`tfx-pruning sweep` on the taxi example: how long it takes, and what it finds.

One call of the command, in an empty folder: the data are prepared, the dense model is trained, and bisection finds the
largest sparsity whose AUC is at most .005 below. Exit status 1 if it takes more than 15 minutes, tries fewer than five
candidates, or pushes none.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from _table import publish

_SECONDS = 900
_CANDIDATES = 5


def main() -> int:
    """Runs the sweep, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tolerance", default="0.005", help="most that AUC may be below dense (default: 0.005)")
    parser.add_argument("--option", action="append", default=[], help="way to prune, as the command takes it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        command = [str(pathlib.Path(sys.executable).with_name("tfx-pruning")), "sweep", "--root", root, "--json"]
        command += [f"--tolerance={arguments.tolerance}", *(f"--option={option}" for option in arguments.option)]
        load, started = os.getloadavg()[0], time.monotonic()
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        seconds = time.monotonic() - started
    if not result.stdout:
        return 1
    found = json.loads(result.stdout)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
    candidates, dense = found["candidates"], found["baseline"]
    rows = [["dense", "", f"{dense['metric']:.4f}", "", f"{dense['gzipped_bytes']:,}", ""]]
    for each in sorted(candidates, key=lambda each: each["sparsity"]):
        verdict = "within" if each["within"] else "over"
        rows.append(
            [
                each["name"],
                f"{each['sparsity']:.2%}",
                f"{each['metric']:.4f}",
                f"{each['metric'] - dense['metric']:+.4f}",
                f"{each['gzipped_bytes']:,}",
                "pushed" if each["name"] == found["chosen"] else verdict,
            ]
        )
    bars = {
        f"{len(candidates)} candidates, at least {_CANDIDATES} were wanted": len(candidates) >= _CANDIDATES,
        f"{seconds:.0f} s, the dense training included, at most {_SECONDS} were wanted": seconds <= _SECONDS,
        "the sparsest candidate within the tolerance was pushed": result.returncode == 0,
    }
    publish(
        "sweep",
        "Sparsity sweep of the taxi example",
        ["model", "sparsity", "AUC", "against dense", "stripped and gzipped, bytes", "verdict"],
        rows,
        [
            *(f"{'pass' if passed else 'FAIL'}: {bar}." for bar, passed in bars.items()),
            f"Tolerance {arguments.tolerance}: an AUC of {found['limit']:.4f} or more is within.",
            f"{processor:.0f} s of processor time, at most {memory:.1f} GB of memory; load of the machine before: "
            f"{load:.1f}.",
        ],
    )
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
