"""Writes what NumPy and SciPy make of some samples, the independent reference of mlxbench-analysis.

Run by hand, in any Python with numpy and scipy, from the repository's root:

    python scripts/oracles/statistics.py

It writes crates/mlxbench-analysis/tests/statistics.json, which tests/analysis/statistics.rs checks our
functions against: for each sample in `samples` its quantiles, interval, fences, outliers, trend and
autocorrelation, in `common_trends` the trends of several cases together, in `ratios` the ratio of two
samples' medians with its interval, and in `pettitt` Pettitt's test of series with and without a change. Numbers of trends come from scipy.stats.kendalltau and
theilslopes. SciPy's normal approximation has no correction for continuity: its own z is taken back
from its p-value and corrected here.

Pettitt's U_t is taken from scipy.stats.mannwhitneyu of the values before t and from t on. His p-value
is counted over all orders where these are few, and over a million random ones otherwise.
pyhomogeneity 1.1, where it is installed, must find the same K and place.
"""

import itertools
import json
import pathlib
import sys

# This file is named as a module of the standard library that numpy needs.
sys.path = [path for path in sys.path if path != str(pathlib.Path(__file__).parent)]

import numpy as np
from scipy import stats

try:
    import pyhomogeneity
except ImportError:
    pyhomogeneity = None

TARGET = pathlib.Path(__file__).parents[2] / "crates/mlxbench-analysis/tests/statistics.json"
QUANTILES = [0.0, 0.025, 0.25, 0.5, 0.9, 0.99, 1.0]
RESAMPLES = 10_000  # BOOTSTRAP_RESAMPLES of stats.rs
KINDS = ["low_severe", "low_mild", "within", "high_mild", "high_severe"]
EXACT_UP_TO = 50  # samples, as in trend.rs
PETTITT_EXACT_UP_TO = 14  # values, as in change_points.rs


def samples():
    random = np.random.default_rng(20261123)
    drifting = 100 * np.linspace(1, 0.97, 12) + random.normal(0, 0.8, 12)
    made = {
        "five": random.normal(24, 0.5, 5),
        "six_skewed": random.lognormal(3, 0.25, 6),
        "seven": random.normal(1e9, 1e7, 7),
        "fourteen_with_outliers": np.append(random.normal(50, 0.4, 10), [41.5, 48.4, 52.2, 58.5]),
        "drifting": drifting,
        "drifting_with_ties": np.round(drifting),
        "fifty_skewed": random.lognormal(4, 0.1, 50),
        "sixty_one_drifting": 80 + 0.02 * np.arange(61) + random.normal(0, 1, 61),
        "correlated": 10 + np.cumsum(random.normal(0, 0.1, 20)),
    }
    return {name: [float(f"{value:.12g}") for value in values] for name, values in made.items()}


def interval(*samples, statistic=np.median):
    """Where the ends of the expanded percentile interval (Hesterberg 2015) may lie: the bootstrap
    distribution's quantiles three standard errors of our fewer resamples to both sides of its
    tails."""
    n = sum(len(values) for values in samples) - len(samples) + 1
    tail = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    bootstrap = stats.bootstrap(
        samples,
        statistic,
        method="percentile",
        n_resamples=1_000_000,
        batch=50_000,
        rng=np.random.default_rng(0),
    )
    error = 3 * np.sqrt(tail * (1 - tail) / RESAMPLES)
    ends = [[tail - error, tail + error], [1 - tail - error, 1 - tail + error]]
    low, high = np.quantile(bootstrap.bootstrap_distribution, np.clip(ends, 0, 1)).tolist()
    return {"low": low, "high": high}


def kendall(values):
    """Tau-b, S, its variance and the p-value that we should find."""
    time = np.arange(len(values))
    asymptotic = stats.kendalltau(time, values, method="asymptotic")
    later, earlier = np.tril_indices(len(values), -1)
    s = float(np.sign(np.subtract(*np.asarray(values)[[later, earlier]])).sum())
    if s == 0:
        sys.exit("a sample without any trend has no z to take a variance from: choose another")
    variance = (s / stats.norm.isf(asymptotic.pvalue / 2)) ** 2
    if len(set(values)) == len(values) and len(values) <= EXACT_UP_TO:
        p_value = stats.kendalltau(time, values, method="exact").pvalue
    else:
        p_value = corrected(s, variance)
    return asymptotic.statistic, s, variance, p_value


def corrected(s, variance):
    return 2 * stats.norm.sf(max(abs(s) - 1, 0) / np.sqrt(variance))


def change(values):
    return stats.theilslopes(values).slope * (len(values) - 1) / abs(np.median(values))


def facts(values):
    first, third = np.quantile(values, [0.25, 0.75])
    reach = stats.iqr(values)
    fences = [first - 3 * reach, first - 1.5 * reach, third + 1.5 * reach, third + 3 * reach]
    kinds = np.bincount(np.searchsorted(fences, values), minlength=5)  # none lies on a fence
    tau, _, _, p_value = kendall(values)
    deviations = np.asarray(values) - np.mean(values)
    return {
        "values": values,
        "quantiles": [[p, np.quantile(values, p)] for p in QUANTILES],
        "interval": interval(values),
        "outliers": dict(zip(KINDS, kinds.tolist())),
        "tau": tau,
        "p_value": p_value,
        "slope": stats.theilslopes(values).slope,
        "change": change(values),
        "autocorrelation": np.dot(deviations[1:], deviations[:-1]) / np.dot(deviations, deviations),
    }


def common_trend(cases):
    found = [kendall(values) for values in cases]
    return {
        "cases": cases,
        "p_value": corrected(sum(s for _, s, _, _ in found), sum(v for _, _, v, _ in found)),
        "change": np.median([change(values) for values in cases]),
    }


def series():
    """Values with changes of level, with ties and without; their own generator leaves the samples
    as they were."""
    random = np.random.default_rng(19790601)
    step = np.append(random.normal(100, 2, 12), random.normal(95, 2, 12))
    made = {
        "two": [3.0, 1.0],
        "six_stepped": [1.0, 2.0, 3.0, 10.0, 12.0, 11.0],
        "eight_with_ties": [5.0, 5.0, 4.0, 5.0, 7.0, 7.0, 6.0, 7.0],
        "nine_without_a_change": random.normal(50, 1, 9),
        "fourteen_stepped": np.append(random.normal(100, 2, 8), random.normal(96, 2, 6)),
        "fourteen_with_ties": np.round(random.normal(10, 1.5, 14)),
        "fifteen_stepped": np.append(random.normal(100, 2, 9), random.normal(97, 2, 6)),
        "twenty_four_stepped": step,
        "twenty_four_with_ties": np.round(step),
        "thirty_without_a_change": random.lognormal(3, 0.2, 30),
        "sixty_stepped": np.append(random.normal(100, 2, 40), random.normal(99, 2, 20)),
        "sixty_far_apart": np.append(random.normal(100, 2, 25), random.normal(80, 2, 35)),
    }
    return {name: [float(f"{value:.12g}") for value in values] for name, values in made.items()}


def pettitt(values):
    """K, the first place that reaches it, and where the p-value may lie: four standard errors of our
    orders, and of ours that end early, to both sides."""
    n = len(values)
    u = [2 * stats.mannwhitneyu(values[:t], values[t:]).statistic - t * (n - t) for t in range(1, n)]
    k = int(np.max(np.abs(u)))
    index = int(np.argmax(np.abs(u))) + 1
    if pyhomogeneity:
        found = pyhomogeneity.pettitt_test(values, sim=1)
        if (found.U, found.cp) != (k, index):
            sys.exit(f"pyhomogeneity finds {found}, not {k} at {index}")
    steps = 2 * stats.rankdata(values) - (n + 1)
    if n <= 9:
        orders = np.array(list(itertools.permutations(steps)))
        exact = (np.abs(orders.cumsum(axis=1)) >= k).any(axis=1).mean()
        return {"k": k, "index": index, "p_value": [exact, exact]}
    random = np.random.default_rng(0)
    reached = 0
    for _ in range(100):
        orders = random.permuted(np.tile(steps, (10_000, 1)), axis=1)
        reached += (np.abs(orders.cumsum(axis=1)) >= k).any(axis=1).sum()
    share = reached / 1_000_000
    # Ours is exact, or from 100 rare orders or 10,000 of all, whichever it has first.
    drawn = np.inf if n <= PETTITT_EXACT_UP_TO else 10_000 if share < 0.01 else 100 / share
    error = 4 * np.sqrt(share * (1 - share) * (1 / drawn + 1e-6))
    if reached == 0:
        error = 1e-4
    return {"k": k, "index": index, "p_value": [max(share - error, 0), share + error]}


def ratio(numerator, denominator):
    def of_medians(above, below, axis):
        return np.median(above, axis=axis) / np.median(below, axis=axis)

    return {
        "numerator": numerator,
        "denominator": denominator,
        "median": np.median(numerator) / np.median(denominator),
        "interval": interval(numerator, denominator, statistic=of_medians),
    }


def main():
    made = samples()
    together = [
        ["five", "six_skewed", "drifting"],
        ["drifting", "drifting_with_ties", "fourteen_with_outliers", "correlated"],
    ]
    golden = {
        "samples": {name: facts(values) for name, values in made.items()},
        "common_trends": [common_trend([made[name] for name in names]) for names in together],
        "ratios": [
            ratio(made["fifty_skewed"], made["drifting"]),
            ratio(made["six_skewed"], made["six_skewed"]),
        ],
        "pettitt": [
            {"name": name, "values": values} | pettitt(values) for name, values in series().items()
        ],
    }
    TARGET.write_text(json.dumps(golden, indent=1, default=float) + "\n")


main()
