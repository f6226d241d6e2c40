//! The energy that the machine spends, from the processor's RAPL counters.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads the energy of all processor packages. Source: the kernel's
/// Documentation/power/powercap/powercap.rst.
#[derive(Debug)]
pub struct Meter(Vec<Counter>);

impl Meter {
    /// How often it may be read without being a load of its own.
    pub const LOOK: Duration = Duration::from_millis(10);

    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub fn open() -> Result<Self, String> {
        Self::of(Path::new("/sys/class/powercap"))
    }

    /// What is counted.
    pub fn source(&self) -> &str {
        "RAPL, processor packages"
    }

    /// Joules spent since this was opened; `None` when a counter can't be read. Ask more often than a
    /// counter starts again, which takes some 17 minutes at 250 W.
    pub fn joules(&mut self) -> Option<f64> {
        let spent = self.0.iter_mut().map(Counter::spent);
        let microjoules: u64 = spent.sum::<Option<_>>()?;
        Some(microjoules as f64 / 1e6)
    }

    fn of(powercap: &Path) -> Result<Self, String> {
        let none = || "this machine has no RAPL counters".to_owned();
        // By name: a package can be listed twice, by its registers and by mapped memory.
        let mut packages = BTreeMap::new();
        for zone in fs::read_dir(powercap).map_err(|_| none())?.flatten() {
            let zone = zone.path();
            let name = fs::read_to_string(zone.join("name")).unwrap_or_default();
            if name.starts_with("package-") {
                packages.insert(name, zone);
            }
        }
        if packages.is_empty() {
            return Err(none());
        }
        let counters = packages.values().map(|zone| Counter::of(zone));
        let counters = counters.collect::<Option<_>>().ok_or_else(|| {
            let path = powercap.display();
            format!("only root may read the RAPL counters: chmod a+r {path}/*/energy_uj")
        })?;
        Ok(Self(counters))
    }
}

/// A counter of microjoules that starts again at 0.
#[derive(Debug)]
struct Counter {
    path: PathBuf,
    /// The value after which it starts again.
    most: u64,
    last: u64,
    spent: u64,
}

impl Counter {
    fn of(zone: &Path) -> Option<Self> {
        let path = zone.join("energy_uj");
        Some(Self {
            most: number(&zone.join("max_energy_range_uj"))?,
            last: number(&path)?,
            spent: 0,
            path,
        })
    }

    /// Microjoules since the beginning.
    fn spent(&mut self) -> Option<u64> {
        let now = number(&self.path)?;
        self.spent += match now.checked_sub(self.last) {
            Some(spent) => spent,
            None => now + self.most.saturating_sub(self.last),
        };
        self.last = now;
        Some(self.spent)
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(powercap: &Path, folder: &str, files: &[(&str, &str)]) {
        let path = powercap.join(folder);
        fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            fs::write(path.join(file), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn packages_add_up_and_counters_start_again() {
        let folder = tempfile::tempdir().unwrap();
        let powercap = folder.path();
        let set = |at: &str, name: &str, value: &str| {
            let most = ("max_energy_range_uj", "10000000");
            zone(powercap, at, &[("name", name), ("energy_uj", value), most]);
        };
        set("intel-rapl:0", "package-0", "9000000");
        set("intel-rapl:0:0", "core", "0");
        set("intel-rapl:1", "package-1", "1000000");
        set("intel-rapl-mmio:0", "package-0", "9000000");
        let mut meter = Meter::of(powercap).unwrap();
        assert_eq!(meter.joules(), Some(0.0));

        set("intel-rapl:0", "package-0", "500000");
        set("intel-rapl:0:0", "core", "5000000");
        set("intel-rapl:1", "package-1", "1250000");
        set("intel-rapl-mmio:0", "package-0", "500000");
        assert_eq!(meter.joules(), Some(1.75));
        assert_eq!(meter.joules(), Some(1.75));

        fs::remove_file(powercap.join("intel-rapl:1/energy_uj")).unwrap();
        assert_eq!(meter.joules(), None);
    }

    #[test]
    fn why_there_is_no_meter_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let why = || Meter::of(folder.path()).unwrap_err();
        assert_eq!(why(), "this machine has no RAPL counters");
        zone(folder.path(), "intel-rapl:0", &[("name", "package-0")]);
        assert!(why().starts_with("only root may read"), "{}", why());
    }
}
