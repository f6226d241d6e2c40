//! What macOS's tools print, read.

use mlxbench_core::results::PowerSource;

/// From `pmset -g batt`.
pub(crate) fn power_source(text: &str) -> Option<PowerSource> {
    let (_, rest) = text.split_once("Now drawing from '")?;
    match rest.split('\'').next()? {
        "AC Power" => Some(PowerSource::Mains),
        "Battery Power" => Some(PowerSource::Battery),
        _ => None,
    }
}

/// From `pmset -g`.
pub(crate) fn low_power_mode(text: &str) -> Option<bool> {
    let mut lines = text.lines().map(str::split_whitespace);
    let mut line = lines.find(|line| line.clone().next() == Some("lowpowermode"))?;
    Some(line.nth(1)? == "1")
}

/// From `notifyutil -g com.apple.system.thermalpressurelevel`. Source of the levels: macOS's
/// `libkern/OSThermalNotification.h`.
pub(crate) fn thermal_pressure(text: &str) -> Option<String> {
    let level = match text.split_whitespace().last()? {
        "0" => "nominal",
        "1" => "moderate",
        "2" => "heavy",
        "3" => "trapping",
        "4" => "sleeping",
        _ => return None,
    };
    Some(level.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_source_is_read() {
        let desktop = "Now drawing from 'AC Power'\n";
        assert_eq!(power_source(desktop), Some(PowerSource::Mains));
        let away =
            "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t87%; discharging;";
        assert_eq!(power_source(away), Some(PowerSource::Battery));
        assert_eq!(power_source(""), None);
    }

    #[test]
    fn low_power_mode_is_read() {
        let settings = |mode| {
            format!("Currently in use:\n standby              1\n lowpowermode         {mode}\n")
        };
        assert_eq!(low_power_mode(&settings(1)), Some(true));
        assert_eq!(low_power_mode(&settings(0)), Some(false));
        assert_eq!(low_power_mode("Currently in use:\n"), None);
    }

    #[test]
    fn thermal_pressure_is_named() {
        let line = |level| format!("com.apple.system.thermalpressurelevel {level}\n");
        assert_eq!(thermal_pressure(&line(0)).as_deref(), Some("nominal"));
        assert_eq!(thermal_pressure(&line(2)).as_deref(), Some("heavy"));
        assert_eq!(thermal_pressure("name not found"), None);
    }
}
