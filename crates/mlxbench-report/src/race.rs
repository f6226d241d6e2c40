//! Who is fastest, in words: within each precision, since only there is the arithmetic the same, and of all.

use mlxbench_analysis::{
    Estimate, Interval, Lead, Leader, Rival, Row, SetAside, Standings, Unfit, standings,
};
use mlxbench_core::results::{Metric, Test};
use mlxbench_core::{Dtype, Precision};

use crate::quantisation::{self, fidelity_in_short};
use crate::{Digest, units};

/// A rate that there may be a fastest of.
pub(crate) struct Rate {
    pub(crate) metric: Metric,
    pub(crate) of: fn(&Row) -> Option<Estimate>,
    /// Its name before what is said of it.
    name: &'static str,
    /// What is done at that rate: `fastest to ...`.
    to: &'static str,
    /// What the fastest does, and what it does before a figure.
    verbs: [&'static str; 2],
}

/// Rivals that a headline names at most.
const NAMED: usize = 3;

/// Precisions whose fastest a headline names at most.
const PRECISIONS: usize = 4;

pub(crate) const DECODE: Rate = Rate {
    metric: Metric::Decode,
    of: |row| row.decode_tokens_per_second,
    name: "Generation",
    to: "generate",
    verbs: ["generates", "generates"],
};

pub(crate) const PREFILL: Rate = Rate {
    metric: Metric::Prefill,
    of: |row| row.prefill_tokens_per_second,
    name: "Prompt",
    to: "read prompts",
    verbs: ["reads prompts", "reads prompts at"],
};

pub(crate) const TRAINING: Rate = Rate {
    metric: Metric::Training,
    of: |row| row.trained_tokens_per_second,
    name: "Training",
    to: "train",
    verbs: ["trains", "trains at"],
};

/// The standings of one test.
pub(crate) struct Race<'a> {
    digest: &'a Digest<'a>,
    rate: &'static Rate,
    test: Test,
    standings: Standings<'a>,
}

impl<'a> Race<'a> {
    /// The race of the main test; of the first test with a leader where that has none.
    pub(crate) fn of(digest: &'a Digest<'a>, rate: &'static Rate) -> Option<Self> {
        let race = |test| Self {
            digest,
            rate,
            test,
            standings: standings(digest.result, &digest.summary, &test, rate.metric, rate.of),
        };
        let tests = digest.result.run.tests.iter().copied();
        let tests = digest.main_test().into_iter().chain(tests);
        let mut races = tests.filter(|test| test.yields(rate.metric)).map(race);
        let main = races.next()?;
        let won = |race: &Self| race.standings.overall.is_some();
        match won(&main) {
            true => Some(main),
            false => races.find(won).or(Some(main)),
        }
    }

    /// The fastest of all.
    pub(crate) fn fastest(&self) -> Option<&'a Row> {
        Some(self.standings.overall.as_ref()?.row)
    }

    /// Who wins, with what quantised weights cost; `None` where nobody can.
    pub(crate) fn headline(&self) -> Option<String> {
        self.standings.overall.as_ref()?;
        let headline = match &self.standings.within[..] {
            [only] => {
                let costs = self.costs(only);
                format!("{}{}", self.of_the_only(only), bracketed(&costs))
            }
            several => self.of_several(several),
        };
        Some(headline + &self.unsteady())
    }

    /// Whoever is faster than those who lead, and never became steady: a headline without them would be taken for
    /// more than it says.
    fn unsteady(&self) -> String {
        let unsteady =
            |aside: &&SetAside<'_>| aside.faster && matches!(aside.reason, Unfit::Unsteady { .. });
        let unsteady = self.standings.set_aside.iter().filter(unsteady);
        let unsteady: Vec<String> = unsteady.map(|aside| self.name(aside.row)).collect();
        match unsteady.is_empty() {
            true => String::new(),
            false => format!(
                "; faster, but never steady: {}",
                listed(unsteady.into_iter())
            ),
        }
    }

    /// One line a precision that several targets share, one for the fastest of all, and one for whoever isn't ranked.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let Standings {
            within,
            overall,
            set_aside,
        } = &self.standings;
        let name = self.rate.name;
        // Whoever is alone in a precision stands among all of them.
        let several = within.len() > 1;
        let contested = |leader: &&Leader<'_>| !several || !leader.rivals.is_empty();
        let within_each = within.iter().filter(contested).map(|leader| {
            let name = format!("{name}, {}", leader.precision());
            (name, self.of_precision(leader))
        });
        let overall = overall.iter().filter(|_| several);
        let overall = overall.map(|leader| {
            let name = format!("{name}, all precisions");
            let text = format!(
                "{}. Precisions differ in arithmetic: compare within one.{}",
                self.beside(leader),
                sentence(&self.costs(leader))
            );
            (name, text)
        });
        let aside = set_aside.iter().map(|aside| self.of_set_aside(aside));
        let aside: Vec<String> = aside.collect();
        let aside =
            (!aside.is_empty()).then(|| (format!("{name}, not ranked"), aside.join("; ") + "."));
        within_each.chain(overall).chain(aside).collect()
    }

    /// The headline of a run with a single precision.
    fn of_the_only(&self, leader: &Leader<'_>) -> String {
        let label = short(self.digest);
        let (first, precision) = (label(leader.row), leader.precision());
        let [does, reaches] = self.rate.verbs;
        let ratios = |rivals: Vec<&Rival<'_>>| {
            let named = rivals.iter().take(NAMED);
            let named = as_fast_as(named.map(|rival| (times(rival), label(rival.row))));
            match rivals.len().saturating_sub(NAMED) {
                0 => named,
                more => format!("{named} and {more} more"),
            }
        };
        let unsure = leader
            .rivals
            .iter()
            .any(|rival| rival.lead() == Lead::Unknown);
        let doubt = match unsure {
            true => ", but the repetitions are too few to be sure",
            false => "",
        };
        if leader.rivals.is_empty() {
            return format!(
                "{first} {reaches} {} tokens/s in {precision}",
                self.median(leader.row)
            );
        }
        let tied = leader.first_place();
        if tied.len() > 1 {
            let tied = listed(tied.into_iter().map(label));
            let others = leader.rivals.iter();
            let others: Vec<_> = others.filter(|rival| rival.lead() != Lead::Tie).collect();
            let beaten = match others.is_empty() {
                true => String::new(),
                false => format!("; {first} is {}{doubt}", ratios(others)),
            };
            return format!("No clear winner in {precision}: {tied} tie{beaten}");
        }
        let all = ratios(leader.rivals.iter().collect());
        match unsure {
            true => format!("{first} {does} fastest in {precision}, {all}{doubt}"),
            false => format!(
                "{first} {does} fastest in {precision}, {} tokens/s: {all}",
                self.median(leader.row)
            ),
        }
    }

    /// The headline of a run with several precisions: the fastest of each, with its rate.
    fn of_several(&self, within: &[Leader<'_>]) -> String {
        let winners = within.iter().map(|leader| {
            let first = leader.first_place();
            let tie = first.len() > 1;
            let names = listed(first.into_iter().map(short(self.digest)));
            let unsure = leader
                .rivals
                .iter()
                .any(|rival| rival.lead() == Lead::Unknown);
            let doubt = match (tie, unsure) {
                (true, _) => ", a tie",
                (false, true) => ", unsure",
                (false, false) => "",
            };
            let figure = self.median(leader.row);
            let (precision, fidelity) = (leader.precision(), self.fidelity(leader));
            format!("{names} in {precision} ({figure} tokens/s{doubt}{fidelity})")
        });
        let winners: Vec<String> = winners.collect();
        let named = named(within);
        let others = winners.len() - named.len();
        let winners = winners.into_iter().enumerate();
        let winners = winners.filter_map(|(at, winner)| named.contains(&at).then_some(winner));
        let others = (others > 0).then(|| format!("the fastest of {others} other precisions"));
        let winners = listed(winners.chain(others));
        format!("Fastest to {}: {winners}", self.rate.to)
    }

    /// How near a leader comes to what it is compared with: quantised weights to the same weights unquantised, a
    /// narrow dtype to the reference. Of f32 that is nothing to tell.
    fn fidelity(&self, leader: &Leader<'_>) -> String {
        let (row, precision) = (leader.row, leader.precision());
        let mean_kl = match &row.quantisation_cost {
            Some(cost) => cost.figures.as_ref().map(|figures| figures.mean_kl),
            None if precision == Precision::plain(Dtype::F32) => return String::new(),
            None => {
                let known = self.digest.result.equivalence_of(&row.target);
                known.and_then(|known| Some(known.fidelity.as_ref()?.mean_kl))
            }
        };
        match mean_kl {
            Some(mean_kl) => format!(", KL {mean_kl:.1e}"),
            None if row.quantisation_cost.is_none() => String::new(),
            None => ", fidelity unknown".to_owned(),
        }
    }

    /// The line of one precision.
    fn of_precision(&self, leader: &Leader<'_>) -> String {
        let alone = match leader.rivals.is_empty() {
            true => format!(", the only one ranked in {}", leader.precision()),
            false => String::new(),
        };
        format!("{}{alone}.{}", self.beside(leader), self.wins(leader))
    }

    /// A leader's rate, and how it compares with each rival.
    fn beside(&self, leader: &Leader<'_>) -> String {
        let (target, test) = (self.name(leader.row), self.test);
        let reaches = self.rate.verbs[1];
        let rate = self.figure(leader.row);
        let ratios = leader.rivals.iter().map(|rival| {
            let tie = match rival.lead() {
                Lead::Tie => ", a tie",
                Lead::Sure | Lead::Unknown => "",
            };
            let interval = rival.ratio.interval.map_or_else(
                || " (too few repetitions for an interval)".to_owned(),
                |interval| format!(" (95 % CI {:.2}-{:.2}{tie})", interval.low, interval.high),
            );
            (times(rival), format!("{}{interval}", self.name(rival.row)))
        });
        let ratios = as_fast_as(ratios);
        let ratios = match ratios.is_empty() {
            true => ratios,
            false => format!(": {ratios}"),
        };
        format!("{target} {reaches} {rate} tokens/s in {test}{ratios}")
    }

    /// In how many tests the same framework leads in the same precision.
    fn wins(&self, leader: &Leader<'_>) -> String {
        let Digest {
            result, summary, ..
        } = self.digest;
        let (precision, row) = (leader.precision(), leader.row);
        let tests = result.run.tests.iter();
        let leaders = tests.filter_map(|test| {
            let standings = standings(result, summary, test, self.rate.metric, self.rate.of);
            let mut within = standings.within.into_iter();
            within.find(|leader| leader.precision() == precision)
        });
        let leaders: Vec<Leader<'_>> = leaders.collect();
        if leaders.len() < 2 {
            return String::new();
        }
        let own = |leader: &&Leader<'_>| leader.row.target == row.target;
        let won = leaders.iter().filter(own).count();
        let framework = self.digest.name(&row.target).short();
        format!(" {framework} leads in {won} of {} tests.", leaders.len())
    }

    fn name(&self, row: &Row) -> String {
        self.digest.name(&row.target).to_string()
    }

    /// Who can't lead, and why.
    fn of_set_aside(&self, aside: &SetAside<'_>) -> String {
        let reason = match aside.reason {
            Unfit::NotFinite => "its logits aren't finite".to_owned(),
            Unfit::Different => "it computes something different from the reference".to_owned(),
            Unfit::Unsteady { warmups } => {
                format!("its times still changed after {warmups} repetitions of warm-up")
            }
        };
        let though = if aside.faster { ", though faster" } else { "" };
        format!("{}{though}: {reason}", self.name(aside.row))
    }

    /// How sure each precision's lead is, over every rival: `f32: candle is 2.58x as fast as PyTorch (95 % CI
    /// 2.21-2.97); candle is 3.10x as fast as MLX (95 % CI 2.90-3.31)`.
    pub(crate) fn sureness(&self) -> Vec<String> {
        let name = short(self.digest);
        let against = |first: &str, rival: &Rival<'_>| {
            let (second, times) = (name(rival.row), times(rival));
            match (rival.ratio.interval, rival.lead()) {
                (None, _) => {
                    format!(
                        "{first} is {times} as fast as {second}, too few repetitions to be sure"
                    )
                }
                (Some(Interval { low, high }), Lead::Tie) => format!(
                    "{first} and {second} can't be told apart ({times}, 95 % CI {low:.2}-{high:.2})"
                ),
                (Some(Interval { low, high }), _) => {
                    format!("{first} is {times} as fast as {second} (95 % CI {low:.2}-{high:.2})")
                }
            }
        };
        let contested = self.standings.within.iter();
        let contested = contested.filter(|leader| !leader.rivals.is_empty());
        let lines = contested.map(|leader| {
            let first = name(leader.row);
            let rivals = leader.rivals.iter().map(|rival| against(&first, rival));
            let rivals: Vec<String> = rivals.collect();
            format!("{}: {}", leader.precision(), rivals.join("; "))
        });
        lines.collect()
    }

    fn median(&self, row: &Row) -> String {
        let rate = (self.rate.of)(row);
        rate.map(|rate| units::median(&rate)).unwrap_or_default()
    }

    fn figure(&self, row: &Row) -> String {
        let rate = (self.rate.of)(row);
        rate.map(|rate| units::rate(&rate)).unwrap_or_default()
    }

    /// What the weights of a leader and its rivals cost.
    fn costs(&self, leader: &Leader<'_>) -> Vec<String> {
        let rivals = leader.rivals.iter().map(|rival| rival.row);
        quantisation_costs(std::iter::once(leader.row).chain(rivals).collect())
    }
}

/// Which precisions a headline names, by their places: all of them where there are few; else the fastest, before those
/// with quantised weights the others. A headline of more is no headline: the rest stands in the chart and the table.
fn named(within: &[Leader<'_>]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..within.len()).collect();
    if within.len() > PRECISIONS + 1 {
        places.sort_by_key(|&at| within[at].row.target.placement.precision.scheme().is_some());
        places.truncate(PRECISIONS);
    }
    places
}

/// Each scheme once: `q4: mean KL 3.1e-2, same token 93.1 %`.
fn quantisation_costs(rows: Vec<&Row>) -> Vec<String> {
    let costs = quantisation::of_rows(rows.into_iter()).into_iter();
    costs.map(fidelity_in_short).collect()
}

fn bracketed(costs: &[String]) -> String {
    match costs.is_empty() {
        true => String::new(),
        false => format!(" (fidelity of {})", costs.join("; of ")),
    }
}

fn sentence(costs: &[String]) -> String {
    match costs.is_empty() {
        true => String::new(),
        false => format!(" Fidelity of {}.", costs.join("; of ")),
    }
}

/// What a target is called where its precision is said beside it.
fn short<'d>(digest: &'d Digest<'_>) -> impl Fn(&Row) -> String + Copy + 'd {
    |row| digest.name(&row.target).short()
}

/// `1.32x`.
fn times(rival: &Rival<'_>) -> String {
    format!("{:.2}x", rival.ratio.median)
}

/// `1.32x as fast as a, 2.10x b`.
fn as_fast_as(ratios: impl Iterator<Item = (String, String)>) -> String {
    let ratios = ratios.enumerate().map(|(at, (times, whom))| match at {
        0 => format!("{times} as fast as {whom}"),
        _ => format!("{times} {whom}"),
    });
    ratios.collect::<Vec<String>>().join(", ")
}

/// `a, b and c`.
fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    }
}
