//! macmon's sampler on a thread of its own: it can't be sent, and panics at chips that it doesn't know.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use macmon::{Metrics, Sampler};

/// A sampler that has begun to count. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Macmon {
    ask: Sender<()>,
    metrics: Receiver<Metrics>,
}

impl Macmon {
    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub(super) fn open() -> Result<Self, String> {
        let (ask, asked) = mpsc::channel();
        let (told, metrics) = mpsc::channel();
        let (opened, result) = mpsc::channel();
        thread::spawn(move || match open() {
            Ok(sampler) => {
                if opened.send(Ok(())).is_ok() {
                    tell(sampler, &asked, &told);
                }
            }
            Err(reason) => {
                // The one who asked waits for it.
                let _ = opened.send(Err(reason));
            }
        });
        match result.recv() {
            Ok(result) => result.map(|()| Self { ask, metrics }),
            Err(_) => Err("macmon doesn't know this chip".into()),
        }
    }

    /// Means since this was asked before, or opened; `None` when a counter can't be read.
    pub(super) fn metrics(&mut self) -> Option<Metrics> {
        self.ask.send(()).ok()?;
        self.metrics.recv().ok()
    }
}

/// A sampler that has begun to count.
fn open() -> Result<Sampler, String> {
    let failed = |error| format!("macmon: {error}");
    let mut sampler = Sampler::new().map_err(failed)?;
    if sampler.get_soc_info().vm {
        return Err("a virtual machine has no power counters".into());
    }
    sampler.get_metrics(0).map_err(failed)?;
    Ok(sampler)
}

/// Answers as often as it is asked.
fn tell(mut sampler: Sampler, asked: &Receiver<()>, told: &Sender<Metrics>) {
    for () in asked {
        let Ok(metrics) = sampler.get_metrics(0) else {
            return;
        };
        if told.send(metrics).is_err() {
            return;
        }
    }
}
