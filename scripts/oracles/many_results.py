#!/usr/bin/env python3
"""Writes many results into a folder, as years of nightly runs would leave them: of one result file, each at
another time and commit, its times noisy, and slower by a tenth from the middle on.

    $ scripts/oracles/many_results.py results/cuda-1b/sample.json target/many 10000
    $ time mlxbench history target/many -o target/many.html
"""

import datetime
import json
import pathlib
import random
import sys


def scaled(sample, factor):
    """A sample whose times are `factor` times as long."""
    return sample | {"token_ns": [round(time * factor) for time in sample["token_ns"]]}


def main():
    source, folder, count = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    result = json.loads(pathlib.Path(source).read_text())
    folder.mkdir(parents=True, exist_ok=True)
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    drawn = random.Random(0)
    for index in range(count):
        level = 1.1 if index >= count // 2 else 1.0
        started = start + index * datetime.timedelta(hours=6)
        run = result["run"] | {
            "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "mlxbench": result["run"]["mlxbench"] | {"commit": f"{drawn.getrandbits(48):012x}"},
        }
        samples = [scaled(sample, level * drawn.lognormvariate(0, 0.02)) for sample in result["samples"]]
        file = folder / f"{started:%Y%m%dT%H%M%SZ}.json"
        file.write_text(json.dumps(result | {"run": run, "samples": samples}, indent=2))


main()
