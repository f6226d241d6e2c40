//! Gates over rows whose noise is known.

use mlxbench_analysis::evidence::{Margins, Pairs, Place, Resemblance, RunSpread, Samples, judge};
use mlxbench_analysis::processes::independent;

use crate::noise::Noise;

/// Rows of a gate: three targets' prefill, decode and memory, say.
pub(crate) const ROWS: usize = 9;

/// Rounds after which a run of two sides that isn't decided gives up.
pub(crate) const MOST_ROUNDS: usize = 300;

const THRESHOLD: f64 = 0.05;

/// What disturbs a rate, all as shares of it.
#[derive(Clone, Copy)]
pub(crate) struct Disturbance {
    pub(crate) name: &'static str,
    /// Each repetition of a row for itself: standard deviation.
    own: f64,
    /// What a process has by luck for as long as it lives: standard deviation, half of its variance the same
    /// for all rows.
    luck: f64,
    /// What outlives a repetition, the same for all rows: standard deviation, and how much of it is left one
    /// repetition later.
    lasting: (f64, f64),
    /// A slow mode of the machine, for all rows: by how much, and how likely it is to begin and to end with a
    /// repetition.
    mode: (f64, f64, f64),
    /// Processes that are far faster than others: how likely each is one, and by how much.
    fast: (f64, f64),
    /// What the rate loses in 50 repetitions.
    drift: f64,
    /// What two runs differ by: standard deviation, the same for all rows of a run.
    run: f64,
}

const fn noise(name: &'static str, own: f64) -> Disturbance {
    Disturbance {
        name,
        own,
        luck: 0.05,
        lasting: (0.0, 0.0),
        mode: (0.0, 0.0, 1.0),
        fast: (0.0, 0.0),
        drift: 0.0,
        run: 0.0,
    }
}

/// What is simulated.
pub(crate) const NOISES: [Disturbance; 9] = [
    Disturbance {
        luck: 0.0,
        ..noise("2 %, no luck of processes", 0.02)
    },
    noise("2 %, luck 5 %", 0.02),
    noise("5 %, luck 5 %", 0.05),
    noise("10 %, luck 5 %", 0.10),
    Disturbance {
        lasting: (0.03, 0.5),
        ..noise("2 %, luck 5 %, 3 % that half outlive a repetition", 0.02)
    },
    Disturbance {
        mode: (0.08, 0.11, 0.33),
        ..noise(
            "2 %, luck 5 %, 8 % slower for about three repetitions, a quarter of all",
            0.02,
        )
    },
    Disturbance {
        drift: 0.06,
        ..noise("2 %, luck 5 %, 6 % slower after 50 repetitions", 0.02)
    },
    Disturbance {
        run: 0.04,
        ..noise("2 %, luck 5 %, machines that differ by 4 %", 0.02)
    },
    Disturbance {
        fast: (0.125, 0.3),
        ..noise("2 %, luck 5 %, one process in eight 30 % faster", 0.02)
    },
];

/// The state of a machine while turns go on, one after the other.
struct Machine {
    of: Disturbance,
    run: f64,
    turn: usize,
    lasting: f64,
    slow: bool,
    luck: [f64; ROWS],
}

impl Machine {
    fn new(of: Disturbance, noise: &mut Noise) -> Self {
        let (_, begins, ends) = of.mode;
        let mut machine = Self {
            of,
            run: of.run * noise.normal(),
            turn: 0,
            lasting: noise.normal(),
            slow: noise.uniform() < begins / (begins + ends),
            luck: [0.0; ROWS],
        };
        machine.start_process(noise);
        machine
    }

    fn start_process(&mut self, noise: &mut Noise) {
        let (common, half) = (noise.normal(), 0.5_f64.sqrt());
        let (likely, faster) = self.of.fast;
        let fast = match likely > 0.0 && noise.uniform() < likely {
            true => faster.ln_1p(),
            false => 0.0,
        };
        self.luck = self
            .luck
            .map(|_| fast + self.of.luck * half * (common + noise.normal()));
    }

    /// The logarithms of all rows' rates in the next repetition.
    fn repetition(&mut self, noise: &mut Noise) -> [f64; ROWS] {
        let (deviation, left) = self.of.lasting;
        let (slower, begins, ends) = self.of.mode;
        let mode = if self.slow { (1.0 - slower).ln() } else { 0.0 };
        let common =
            self.run + deviation * self.lasting + mode - self.of.drift * self.turn as f64 / 50.0;
        self.turn += 1;
        self.lasting = left * self.lasting + (1.0 - left * left).sqrt() * noise.normal();
        self.slow = noise.uniform() < if self.slow { 1.0 - ends } else { begins };
        self.luck
            .map(|luck| common + luck + self.of.own * noise.normal())
    }
}

/// How two builds are measured.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// Each in a run of its own: repetitions of a run, and processes that they are spread over.
    Apart(usize, usize),
    /// In so many runs of the base and one of the new build: runs, repetitions of each, and processes of each.
    Bases(usize, usize, usize),
    /// In one run of blocks of two rounds, until it is decided.
    Together,
}

impl Mode {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Apart(repetitions, 1) => format!("two runs of {repetitions}, one process each"),
            Self::Apart(repetitions, processes) => {
                format!("two runs of {repetitions}, {processes} processes each")
            }
            Self::Bases(runs, repetitions, 1) => {
                format!("a run of {repetitions} with {runs} of the base, one process each")
            }
            Self::Bases(runs, repetitions, processes) => {
                format!(
                    "a run of {repetitions} with {runs} of the base, {processes} processes each"
                )
            }
            Self::Together => "`--ab`".into(),
        }
    }
}

/// What came of so many gates.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) gates: usize,
    /// Gates in which any row was called slower.
    pub(crate) failed: usize,
    /// Gates in which every row was called the same.
    pub(crate) passed: usize,
    /// Rows that were called slower.
    pub(crate) slower: usize,
    /// Rows that were called the same.
    pub(crate) same: usize,
    /// The rounds of each gate.
    rounds: Vec<usize>,
}

impl Seen {
    /// Rounds that so large a share of the gates took at most.
    pub(crate) fn rounds(&self, share: f64) -> usize {
        let mut rounds = self.rounds.clone();
        rounds.sort_unstable();
        rounds[((rounds.len() - 1) as f64 * share) as usize]
    }
}

/// So many gates whose new builds are `factor` times as fast in the first `slower` rows.
pub(crate) fn simulate(
    of: Disturbance,
    mode: Mode,
    factor: f64,
    slower: usize,
    gates: usize,
    seed: u64,
) -> Seen {
    let mut noise = Noise::seeded(seed);
    let mut seen = Seen {
        gates,
        ..Seen::default()
    };
    let change: [f64; ROWS] = std::array::from_fn(|row| match row < slower {
        true => factor.ln(),
        false => 0.0,
    });
    for _ in 0..gates {
        let (places, rounds) = match mode {
            Mode::Apart(repetitions, processes) => {
                let shape = (1, repetitions, processes);
                (apart(of, shape, change, &mut noise), repetitions)
            }
            Mode::Bases(runs, repetitions, processes) => {
                let shape = (runs, repetitions, processes);
                (apart(of, shape, change, &mut noise), repetitions)
            }
            Mode::Together => together(of, change, &mut noise),
        };
        let of_place = |place| places.iter().filter(|known| **known == place).count();
        seen.failed += usize::from(places.contains(&Place::Below));
        seen.passed += usize::from(places.iter().all(|place| *place == Place::Within));
        seen.slower += of_place(Place::Below);
        seen.same += of_place(Place::Within);
        seen.rounds.push(rounds);
    }
    seen
}

fn margins() -> Vec<Margins> {
    vec![
        Margins {
            low: (1.0 - THRESHOLD).ln(),
            high: THRESHOLD.ln_1p(),
        };
        ROWS
    ]
}

/// Runs of the base, repetitions of a run, and processes that they are spread over.
type Shape = (usize, usize, usize);

fn apart(
    of: Disturbance,
    (bases, repetitions, processes): Shape,
    change: [f64; ROWS],
    noise: &mut Noise,
) -> Vec<Place> {
    // Of each row the repetitions by process, as comparisons take them.
    let mut run = |change: [f64; ROWS]| -> [Vec<f64>; ROWS] {
        let mut machine = Machine::new(of, noise);
        let mut rows: [Vec<Vec<f64>>; ROWS] = std::array::from_fn(|_| Vec::new());
        for at in 0..repetitions {
            let begins = at.is_multiple_of(repetitions.div_ceil(processes));
            if begins && at > 0 {
                machine.start_process(noise);
            }
            let rates = machine.repetition(noise);
            for ((row, rate), change) in rows.iter_mut().zip(rates).zip(change) {
                if begins {
                    row.push(Vec::new());
                }
                row.last_mut().expect("begun").push((rate + change).exp());
            }
        }
        rows.map(|row| independent(&row))
    };
    let bases: Vec<_> = (0..bases).map(|_| run([0.0; ROWS])).collect();
    let new = run(change);
    let samples = (0..ROWS).map(|row| {
        let bases: Vec<Vec<f64>> = bases.iter().map(|base| base[row].clone()).collect();
        Samples::of_runs(&bases, &new[row]).expect("rates are positive")
    });
    let samples: Vec<Samples> = samples.collect();
    let (resemblance, spread) = (Resemblance::of(&samples), RunSpread::of(&samples));
    let samples = samples.into_iter();
    let samples = samples.map(|row| row.resembling(resemblance).spread(spread));
    let judged = judge(&samples.collect::<Vec<Samples>>(), &margins());
    judged.iter().map(|judged| judged.place).collect()
}

fn together(of: Disturbance, change: [f64; ROWS], noise: &mut Noise) -> (Vec<Place>, usize) {
    let mut machine = Machine::new(of, noise);
    let mut rows: Vec<Vec<[f64; 2]>> = vec![Vec::new(); ROWS];
    let least = Pairs::fewest_rounds(2);
    loop {
        let new_first = noise.uniform() < 0.5;
        // There and back, a process each.
        let turns: [[f64; ROWS]; 4] = std::array::from_fn(|_| {
            machine.start_process(noise);
            machine.repetition(noise)
        });
        for (row, rounds) in rows.iter_mut().enumerate() {
            let [first, second, third, fourth] = turns.map(|turn| turn[row]);
            let logs = match new_first {
                true => [[second, first], [third, fourth]],
                false => [[first, second], [fourth, third]],
            };
            rounds.extend(logs.map(|[base, new]| [base.exp(), (new + change[row]).exp()]));
        }
        let rounds = rows[0].len();
        if rounds < least {
            continue;
        }
        let pairs = rows.iter().map(|rounds| Pairs::new(rounds, 2));
        let pairs: Vec<Pairs> = pairs.map(|row| row.expect("rates are positive")).collect();
        let judged = judge(&pairs, &margins());
        let places: Vec<Place> = judged.iter().map(|judged| judged.place).collect();
        if rounds >= MOST_ROUNDS || !places.contains(&Place::Open) {
            return (places, rounds);
        }
    }
}
