//! The energy that the machine spends, by macmon, which needs no root.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use macmon::Sampler;

/// Reads the energy of CPU, GPU and neural engine together.
///
/// macmon tells the mean power since it was last asked, from counters of energy. So that power times
/// time is what was spent, over any time. Its sampler stays on a thread of its own, which ends with
/// the meter: it can't be sent, and panics at chips that it doesn't know.
#[derive(Debug)]
pub struct Meter {
    ask: Sender<()>,
    joules: Receiver<f64>,
}

impl Meter {
    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub fn open() -> Result<Self, String> {
        let (ask, asked) = mpsc::channel();
        let (told, joules) = mpsc::channel();
        let (opened, result) = mpsc::channel();
        thread::spawn(move || match open() {
            Ok((sampler, start)) => {
                if opened.send(Ok(())).is_ok() {
                    tell(sampler, start, &asked, &told);
                }
            }
            Err(reason) => {
                // The one who asked waits for it.
                let _ = opened.send(Err(reason));
            }
        });
        match result.recv() {
            Ok(result) => result.map(|()| Self { ask, joules }),
            Err(_) => Err("macmon doesn't know this chip".into()),
        }
    }

    /// What is counted.
    pub fn source(&self) -> &str {
        "macmon, CPU, GPU and neural engine"
    }

    /// Joules spent since this was opened; `None` when a counter can't be read.
    pub fn joules(&mut self) -> Option<f64> {
        self.ask.send(()).ok()?;
        self.joules.recv().ok()
    }
}

/// A sampler that has begun to count, and when it did.
fn open() -> Result<(Sampler, Instant), String> {
    let failed = |error| format!("macmon: {error}");
    let mut sampler = Sampler::new().map_err(failed)?;
    if sampler.get_soc_info().vm {
        return Err("a virtual machine has no power counters".into());
    }
    let start = Instant::now();
    sampler.get_metrics(0).map_err(failed)?;
    Ok((sampler, start))
}

/// Answers with the joules so far, as often as it is asked.
fn tell(mut sampler: Sampler, start: Instant, asked: &Receiver<()>, told: &Sender<f64>) {
    let (mut last, mut joules) = (start, 0.0);
    for () in asked {
        let now = Instant::now();
        let Ok(metrics) = sampler.get_metrics(0) else {
            return;
        };
        // Negative where a counter was reset.
        joules += f64::from(metrics.all_power).max(0.0) * (now - last).as_secs_f64();
        last = now;
        if told.send(joules).is_err() {
            return;
        }
    }
}
