//! Runs cargo for this checkout: where it is, with which environment, and what it built.

use crate::tally::Tally;
use crate::v8::Archive;
use anyhow::{Context, Result, bail};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// The root folder of the checkout.
pub struct Checkout {
    root: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

impl Checkout {
    pub fn find() -> Result<Self> {
        // Set anew by each `cargo run`; what was compiled in may be another clone's that shares the target folder.
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.ancestors().nth(2).unwrap_or(&package);
        let root = root
            .canonicalize()
            .with_context(|| format!("the checkout {} is gone", root.display()))?;
        Ok(Self { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A cargo command run at the root. `archive` is none for what compiles nothing.
    pub fn cargo(&self, archive: Option<&Archive>) -> Result<Command> {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        // `cargo run` describes our own package to us. Some build scripts (ring's) ask to be run again when such a
        // variable changes, so a cargo below us must not see them, or it compiles what plain `cargo build` has made.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(describes_our_package) {
                command.env_remove(name);
            }
        }
        if let Some(target) = env::var_os("CARGO_TARGET_DIR") {
            command.env("CARGO_TARGET_DIR", std::path::absolute(target)?);
        }
        if let Some(archive) = archive {
            match archive.value() {
                Some(value) => command.env("RUSTY_V8_ARCHIVE", value),
                None => command.env_remove("RUSTY_V8_ARCHIVE"),
            };
        }
        Ok(command)
    }

    /// Builds the binary and says where it lies.
    pub fn build_facetd(&self, archive: &Archive, profile: Profile) -> Result<PathBuf> {
        let mut command = self.cargo(Some(archive))?;
        // `--workspace`, so that the features are those `cargo test --workspace` compiled with, and nothing twice.
        command.args([
            "build",
            "--workspace",
            "--bin",
            "facetd",
            "--message-format=json-render-diagnostics",
        ]);
        if profile == Profile::Release {
            command.arg("--release");
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let stdout = child.stdout.take().context("cargo has no output")?;
        let mut binary = None;
        for line in BufReader::new(stdout).lines() {
            let message: serde_json::Value = serde_json::from_str(&line?).unwrap_or_default();
            if message["target"]["name"] == "facetd"
                && let Some(path) = message["executable"].as_str()
            {
                binary = Some(PathBuf::from(path));
            }
        }
        if !child.wait()?.success() {
            bail!("facetd does not build");
        }
        binary.context("cargo built facetd and did not say where it is")
    }

    /// Runs `cargo test --workspace` with `args`, showing its output as it comes and counting its results.
    ///
    /// A run that ends badly without a failed test (it does not compile, a test program crashed) counts one failure.
    pub fn test(
        &self,
        archive: &Archive,
        args: &[&str],
        variable: Option<(&str, &str)>,
    ) -> Result<Tally> {
        let mut command = self.cargo(Some(archive))?;
        command
            .args(["test", "--workspace", "--no-fail-fast"])
            .args(args)
            .envs(variable);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let mut stdout = BufReader::new(child.stdout.take().context("cargo has no output")?);
        let mut tally = Tally::default();
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line)? > 0 {
            std::io::stdout().write_all(&line)?; // bytes: a test may print what is not UTF-8
            tally.read_line(&String::from_utf8_lossy(&line));
            line.clear();
        }
        let status = child.wait()?;
        if !status.success() && tally.failed == 0 {
            println!("FAIL cargo test: {status}, though no test failed");
            tally.failed += 1;
        }
        Ok(tally)
    }
}

/// Runs to the end, the output going where ours goes.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    command
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))
}

fn describes_our_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || name.starts_with("CARGO_BIN_")
        || matches!(
            name,
            "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cargo_below_us_does_not_see_our_package() {
        assert!(
            describes_our_package("CARGO_PKG_NAME") && describes_our_package("CARGO_MANIFEST_DIR"),
            "set by cargo run"
        );
        for kept in [
            "CARGO_TARGET_DIR",
            "CARGO_HOME",
            "CARGO_INCREMENTAL",
            "RUSTFLAGS",
        ] {
            assert!(!describes_our_package(kept), "{kept} is the user's");
        }
    }
}
