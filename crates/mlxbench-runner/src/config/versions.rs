//! One framework in several versions: a worker for each, in one run.

use std::path::Path;

use super::{BackendConfig, Config};

impl Config {
    /// The config with a backend for each of `workers`, pairs of a name and a worker's program, in place of
    /// `backend`: every target of that one is a target of each of them.
    ///
    /// # Errors
    /// When no target is of `backend`, or it is a program of the config's own.
    pub fn with_workers(
        &self,
        backend: &str,
        workers: &[(String, impl AsRef<Path>)],
    ) -> Result<Self, String> {
        if self.backends.contains_key(backend) {
            return Err(format!(
                "the config has a command of its own for {backend}, whose versions aren't known"
            ));
        }
        let mut config = self.clone();
        config.targets.clear();
        for target in &self.targets {
            if target.backend != backend {
                config.targets.push(target.clone());
                continue;
            }
            for (name, _) in workers {
                let mut target = target.clone();
                target.backend.clone_from(name);
                config.targets.push(target);
            }
        }
        if config.targets == self.targets {
            let mut names: Vec<&str> = self.targets.iter().map(|t| t.backend.as_str()).collect();
            names.dedup();
            return Err(format!(
                "the config's targets are of {}, none of {backend}",
                names.join(", ")
            ));
        }
        for (name, worker) in workers {
            let command = vec![worker.as_ref().to_string_lossy().into_owned()];
            config.backends.insert(
                name.clone(),
                BackendConfig {
                    command,
                    ..BackendConfig::default()
                },
            );
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const CONFIG: &str = "name = \"two\"\n[model]\nsource = \"synthetic:gemma-3-270m\"\n\
        [[test]]\nprompt_tokens = 8\n\
        [[target]]\nbackend = \"mlx\"\ndtypes = [\"f32\", \"bf16\"]\n\
        [[target]]\nbackend = \"candle\"\ndtypes = [\"f32\"]\n";

    fn workers() -> Vec<(String, String)> {
        let worker = |version: &str| (format!("mlx-{version}"), format!("/w/{version}/worker"));
        ["0.31.2", "0.32.2"].map(worker).to_vec()
    }

    #[test]
    fn each_target_of_the_framework_is_there_once_a_version() {
        let config = Config::parse(CONFIG).unwrap();
        let config = config.with_workers("mlx", &workers()).unwrap();
        let targets = config.targets.iter();
        let targets: Vec<_> = targets
            .map(|t| (t.backend.as_str(), t.dtypes.len()))
            .collect();
        assert_eq!(
            targets,
            [("mlx-0.31.2", 2), ("mlx-0.32.2", 2), ("candle", 1)]
        );
        assert_eq!(config.backends["mlx-0.31.2"].command, ["/w/0.31.2/worker"]);
        // What was run can be run again.
        assert_eq!(Config::parse(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn a_config_without_the_framework_is_refused() {
        let config = Config::parse(CONFIG).unwrap();
        let message = config.with_workers("tch", &workers()).unwrap_err();
        assert!(message.contains("of mlx, candle, none of tch"), "{message}");
        let own = format!("{CONFIG}[backend.mlx]\ncommand = [\"my-worker\"]\n");
        let config = Config::parse(&own).unwrap();
        let message = config.with_workers("mlx", &workers()).unwrap_err();
        assert!(message.contains("command of its own for mlx"), "{message}");
    }
}
