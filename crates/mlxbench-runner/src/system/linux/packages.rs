//! What the distribution's own packages are called.

use sysinfo::System;

/// The command that installs OpenBLAS under the name that the loader looks for, where the distribution is a known
/// one.
pub fn openblas() -> Option<&'static str> {
    let id = System::distribution_id();
    let like = System::distribution_id_like();
    std::iter::once(id.as_str())
        .chain(like.iter().map(String::as_str))
        .find_map(openblas_of)
}

fn openblas_of(distribution: &str) -> Option<&'static str> {
    Some(match distribution {
        "debian" | "ubuntu" => "sudo apt install libopenblas0-pthread",
        "fedora" | "rhel" | "centos" => "sudo dnf install openblas",
        "arch" => "sudo pacman -S openblas",
        "suse" | "opensuse" => "sudo zypper install libopenblas_pthreads0",
        _ => return None,
    })
}

/// The command that has the kernel keep clocks high.
pub fn performance_governor() -> Option<&'static str> {
    Some("sudo cpupower frequency-set -g performance")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distributions_have_a_command() {
        assert_eq!(
            openblas_of("debian"),
            Some("sudo apt install libopenblas0-pthread")
        );
        assert_eq!(openblas_of("plan9"), None);
    }
}
