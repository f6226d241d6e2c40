"""Writes what confseq makes of pairs that were measured together, the independent reference of `--ab`.

Run by hand from the repository's root, in a Python with numpy below 2, scipy, matplotlib, multiprocess and
confseq (0.0.11; only its file betting.py and those that it imports are used, so that its unpacked source on
PYTHONPATH serves where its compiled part can't be built):

    python scripts/oracles/betting.py

It writes crates/mlxbench-analysis/tests/betting.json, which tests/analysis/betting.rs checks
`evidence::Pairs` against. Figures of base and new are arrays of blocks by rounds. A bet on the sign of a symmetric
number is a bet on the mean of one between 0 and 1 that is a half: confseq's `betting_mart` says what a bettor is
worth, here with fixed bets, one a bettor. Ends of intervals are where scipy's brentq finds a wealth of 1 / level,
and closed testing goes through every set of rows that there is.
"""

import itertools
import json
import pathlib
import sys

sys.path = [path for path in sys.path if path != str(pathlib.Path(__file__).parent)]

import numpy as np
from confseq.betting import betting_mart
from scipy.optimize import brentq

TARGET = pathlib.Path(__file__).parents[2] / "crates/mlxbench-analysis/tests/betting.json"
LEVEL = 0.05  # as LEVEL of evidence.rs
# As in evidence/pairs.rs
SLOPES = [5.0, 15.0, 50.0, 200.0]
STAKE = 0.95
BLOCKS_AROUND = 8
MARGIN = np.log(1.05)


def leads(row, margin, slope):
    """How far the scores of the base are above those of the new side less the margin, block by block."""
    base, new = row[0], row[1] - margin
    both = np.concatenate([base, new], axis=1)
    middles = [np.median(both[max(0, at + 1 - BLOCKS_AROUND) : at + 1]) for at in range(len(both))]
    own = np.partition(both, [1, 2], axis=1)
    middles = np.clip(middles, own[:, 1], own[:, 2])[:, None]
    scores = [np.tanh(slope * (side - middles)).mean(axis=1) for side in (base, new)]
    return scores[0] - scores[1]


def wealth(row, margin):
    """That of a bettor on "below the margin" behind the last block."""
    ends = []
    for slope in SLOPES:
        between = (1 + np.tanh(leads(row, margin, slope))) / 2
        bets = lambda x, m: np.full(len(x), 2 * STAKE)
        ends.append(
            betting_mart(between, 0.5, lambdas_fn_positive=bets, theta=1, trunc_scale=1.0)[-1]
        )
    return np.mean(ends)


def upper(row):
    """The least margin below which the ratio is claimed to lie, of a row alone; none of too few blocks."""
    base, new = row
    ends = [new.min() - base.max() - 10, new.max() - base.min() + 10]
    if wealth(row, ends[1]) < 1 / LEVEL:
        return None
    return brentq(lambda margin: wealth(row, margin) - 1 / LEVEL, *ends, xtol=1e-14)


def claimed(rows, margin):
    """For each row whether each set of rows that it is in, taken together, rules out that none lies below."""
    worth = np.array([wealth(row, margin) for row in rows])
    sets = [
        list(indices)
        for size in range(1, len(rows) + 1)
        for indices in itertools.combinations(range(len(rows)), size)
    ]
    rejected = [indices for indices in sets if worth[indices].mean() >= 1 / LEVEL]
    return [
        all(indices in rejected for indices in sets if row in indices) for row in range(len(rows))
    ]


def places(rows):
    mirrored = [row[::-1] for row in rows]
    below_low, below_high = claimed(rows, -MARGIN), claimed(rows, MARGIN)
    above_high, above_low = claimed(mirrored, -MARGIN), claimed(mirrored, MARGIN)
    names = []
    for at in range(len(rows)):
        if below_low[at]:
            names.append("below")
        elif above_high[at]:
            names.append("above")
        else:
            names.append("within" if below_high[at] and above_low[at] else "open")
    return names


def main():
    random = np.random.default_rng(20261126)
    cases = []
    for blocks, noise, means in [
        (4, 0.02, [0.0]),
        (5, 0.001, [0.0]),
        (8, 0.02, [0.0, 0.1]),
        (12, 0.03, [-0.1, -0.1, -0.1]),
        (16, 0.05, [0.1, 0.0, 0.0, 0.1, 0.0]),
        (25, 0.05, [0.1, 0.12, 0.08, 0.11, 0.0, 0.05]),
        (40, 0.10, [0.15, 0.0, -0.15]),
        (40, 0.002, [0.04, 0.06, -0.04, -0.06]),
    ]:
        shared = random.normal(0, noise / 2, (2, blocks, 2))
        # One figure in ten lies far off.
        far = random.random((len(means), 2, blocks, 2)) < 0.1
        rows = [
            np.round(shared + random.normal(0, noise, shared.shape) + 0.3 * far[at], 6)
            + np.reshape([0, mean], (2, 1, 1))
            for at, mean in enumerate(means)
        ]
        cases.append(
            {
                "rows": [row.tolist() for row in rows],
                "uppers": [upper(row) for row in rows],
                "places": places(rows),
            }
        )
    lines = ",\n".join(json.dumps(case) for case in cases)
    TARGET.write_text(f'{{"margin": {MARGIN}, "cases": [\n{lines}\n]}}\n')


main()
