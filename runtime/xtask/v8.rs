//! Finds the V8 archive that the `v8` crate links.
//!
//! Owns: the order of places, the line that says which was taken, `.v8/`. Called by: every command that compiles V8's
//! dependents. Always true: one checkout gives one absolute path, because a `RUSTY_V8_ARCHIVE` that changes makes cargo
//! compile everything above V8 again.

use crate::cargo::{Checkout, status};
use crate::{Usage, exit_code, nothing_left};
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

/// The crate's download has no time limit of its own; a network that swallows packets must not look like a build.
const DOWNLOAD_SECONDS_MAX: u64 = 20 * 60;

/// Read by cargo if it exists (`include` in `.cargo/config.toml`); written by `cargo xtask v8 link`.
const LINK: &str = ".v8/cargo.toml";

#[derive(Debug, PartialEq, Eq)]
pub enum Archive {
    /// An absolute path, and which of our places it is in.
    File { path: PathBuf, place: Place },
    /// `RUSTY_V8_ARCHIVE` may also be an address; the crate's build script fetches it.
    Address(OsString),
    /// Nothing here: the crate's build script downloads what fits it.
    Download,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Variable,
    Checkout,
    Shared,
}

impl Place {
    fn how(self) -> &'static str {
        match self {
            Place::Variable => "named by RUSTY_V8_ARCHIVE",
            Place::Checkout => "found in .v8/",
            Place::Shared => "found in ../shared/v8/",
        }
    }
}

impl Archive {
    /// What `RUSTY_V8_ARCHIVE` is to be, if anything.
    pub fn value(&self) -> Option<&OsStr> {
        match self {
            Archive::File { path, .. } => Some(path.as_os_str()),
            Archive::Address(address) => Some(address),
            Archive::Download => None,
        }
    }
}

impl std::fmt::Display for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Archive::File { path, place } => {
                write!(f, "{} ({})", path.display(), place.how())
            }
            Archive::Address(address) => {
                write!(f, "{} (address in RUSTY_V8_ARCHIVE)", address.display())
            }
            Archive::Download => f.write_str("none at hand, the v8 crate downloads one"),
        }
    }
}

/// What the archive must fit.
struct Wanted {
    version: String,
    target: String,
}

impl Wanted {
    fn find(checkout: &Checkout) -> Result<Self> {
        let lock = fs::read_to_string(checkout.path("Cargo.lock")).unwrap_or_default();
        let manifest =
            fs::read_to_string(checkout.path("Cargo.toml")).context("cannot read Cargo.toml")?;
        let version = locked_version(&lock).or_else(|| pinned_version(&manifest));
        let version =
            version.context("neither Cargo.lock nor Cargo.toml names a version of the v8 crate")?;
        let target = match env::var("CARGO_BUILD_TARGET") {
            Ok(target) => target,
            Err(_) => host()?,
        };
        Ok(Self { version, target })
    }

    /// `simdutf`: the feature `deno_core` turns on, hence part of the published archive's name.
    fn file_names(&self) -> [String; 2] {
        let name = format!(
            "librusty_v8_simdutf_release_{}-{}.a",
            self.target, self.version
        );
        [format!("{name}.gz"), name]
    }
}

fn locked_version(lock: &str) -> Option<String> {
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"v8\"");
    let version = lines.nth(1)?.strip_prefix("version = \"")?;
    Some(version.strip_suffix('"')?.to_owned())
}

/// From a line such as `v8 = { version = "=150.4.0", ... }` or `v8 = "=150.4.0"`.
fn pinned_version(manifest: &str) -> Option<String> {
    let line = manifest.lines().find(|line| line.starts_with("v8 = "))?;
    let (_, version) = line.split_once("\"=")?;
    Some(version.split('"').next()?.to_owned())
}

fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .context("rustc does not say which target it compiles for")?
        .to_owned())
}

/// Looks in each place, in order. `variable` is what `RUSTY_V8_ARCHIVE` holds.
fn search(root: &Path, variable: Option<&OsStr>, wanted: &Wanted) -> Result<Archive> {
    if let Some(variable) = variable {
        if variable
            .to_str()
            .is_some_and(|value| value.starts_with("http:") || value.starts_with("https:"))
        {
            return Ok(Archive::Address(variable.to_owned()));
        }
        if !is_archive(Path::new(variable)) {
            bail!(
                "RUSTY_V8_ARCHIVE is {}, and that is no file with anything in it",
                variable.display()
            );
        }
        return Ok(Archive::File {
            path: Path::new(variable).canonicalize()?,
            place: Place::Variable,
        });
    }
    for (place, folder) in [
        (Place::Checkout, root.join(".v8")),
        (Place::Shared, root.join("../shared/v8")),
    ] {
        for name in wanted.file_names() {
            let path = folder.join(name);
            if is_archive(&path) {
                return Ok(Archive::File {
                    path: path.canonicalize()?,
                    place,
                });
            }
        }
    }
    Ok(Archive::Download)
}

fn is_archive(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.len() > 0)
}

/// Finds the archive and says on stderr which it is; compiles nothing.
fn announce(checkout: &Checkout) -> Result<Archive> {
    let archive = search(
        checkout.root(),
        variable(checkout)?.as_deref(),
        &Wanted::find(checkout)?,
    )?;
    eprintln!("xtask: V8 archive: {archive}");
    Ok(archive)
}

/// The archive for a build. If it must be downloaded, that has worked when this returns.
///
/// # Errors
/// Also when the download does not work; then the text says what is left. Building V8 from source is never begun
/// here: it takes hours and root, which somebody who typed `cargo xtask test` has not asked for.
pub fn ensure(checkout: &Checkout, release: bool) -> Result<Archive> {
    let archive = announce(checkout)?;
    if archive == Archive::Download {
        download(checkout, release)?;
    }
    Ok(archive)
}

/// `RUSTY_V8_ARCHIVE`, unless it is our own link to a file that is gone: then the link goes too.
fn variable(checkout: &Checkout) -> Result<Option<OsString>> {
    let Some(value) = env::var_os("RUSTY_V8_ARCHIVE").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let link = checkout.path(LINK);
    if !is_archive(Path::new(&value))
        && fs::read_to_string(&link).is_ok_and(|text| text == link_text(&value))
    {
        fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
        eprintln!(
            "xtask: {LINK} named an archive that is gone, {}: removed",
            value.display()
        );
        return Ok(None);
    }
    Ok(Some(value))
}

/// Has the crate's build script download, apart from the real build: so a failure is known for what it is.
fn download(checkout: &Checkout, release: bool) -> Result<()> {
    let mut command = checkout.cargo(Some(&Archive::Download))?;
    command
        .args(["build", "--package", "v8"])
        .stdin(Stdio::null());
    if release {
        command.arg("--release");
    }
    let mut child = command.spawn().context("cannot start cargo")?;
    // Polled, because std cannot wait with a limit. A downloader that cargo leaves behind ends with its connection.
    let mut tenths = 0;
    let why = loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(_) => break "did not work".to_owned(),
            None if tenths >= DOWNLOAD_SECONDS_MAX * 10 => {
                child.kill()?;
                child.wait()?;
                break format!("took more than {} minutes", DOWNLOAD_SECONDS_MAX / 60);
            }
            None => {
                thread::sleep(Duration::from_millis(100));
                tenths += 1;
            }
        }
    };
    let [name, _] = Wanted::find(checkout)?.file_names();
    bail!(
        "the download of the V8 archive {why}, see above\n\
         two ways are left:\n\
         - put {name} into .v8/ or ../shared/v8/, or name it in RUSTY_V8_ARCHIVE\n\
         - `cargo xtask v8 build` makes it from source, out of package registries alone: hours, root, Debian"
    )
}

/// `cargo xtask v8 status|link|build`
pub fn run(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    let (command, rest) = args
        .split_first()
        .map_or(("status", args), |(first, rest)| (first.as_str(), rest));
    match command {
        "status" => {
            nothing_left(rest)?;
            announce(checkout)?;
            if let Ok(text) = fs::read_to_string(checkout.path(LINK)) {
                eprintln!(
                    "xtask: plain cargo: {}",
                    text.lines().last().unwrap_or_default()
                );
            } else {
                eprintln!(
                    "xtask: plain cargo: RUSTY_V8_ARCHIVE or the download (`cargo xtask v8 link` makes it the above)"
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        "link" => {
            nothing_left(rest)?;
            link(checkout)
        }
        "build" => build(checkout, rest),
        other => Err(Usage(format!("there is no command `v8 {other}`")).into()),
    }
}

fn link(checkout: &Checkout) -> Result<ExitCode> {
    let archive = announce(checkout)?;
    let Archive::File { path, .. } = &archive else {
        bail!("there is no file to link to")
    };
    let link = checkout.path(LINK);
    fs::create_dir_all(checkout.path(".v8"))?;
    fs::write(&link, link_text(path.as_os_str()))
        .with_context(|| format!("cannot write {}", link.display()))?;
    eprintln!(
        "xtask: wrote {LINK}; plain cargo uses that archive from now on (delete the file to undo)"
    );
    Ok(ExitCode::SUCCESS)
}

fn link_text(path: &OsStr) -> String {
    // A TOML basic string is written as a JSON string is.
    let path = serde_json::Value::from(path.to_string_lossy());
    format!(
        "# Written by `cargo xtask v8 link`, read by .cargo/config.toml.\n[env]\nRUSTY_V8_ARCHIVE = {path}\n"
    )
}

fn build(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    let (own, script_args) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &[][..]),
    };
    let yes = own.first().is_some_and(|arg| arg == "--yes");
    nothing_left(if yes { &own[1..] } else { own })?;
    let looks_only = script_args
        .iter()
        .any(|arg| arg == "--dry-run" || arg == "--help");
    if !yes && !looks_only && !confirmed()? {
        return Ok(ExitCode::FAILURE);
    }
    let mut script = Command::new("bash");
    script
        .arg(checkout.path("runtime/xtask/build-v8.sh"))
        .args(script_args);
    Ok(exit_code(status(&mut script)?.success()))
}

fn confirmed() -> Result<bool> {
    eprintln!(
        "xtask: this compiles V8 from source: two to three hours on two cores, 12 GB of disk, root, Debian"
    );
    if !std::io::stdin().is_terminal() {
        eprintln!("xtask: nobody to ask; give `--yes` to go ahead");
        return Ok(false);
    }
    eprint!("go ahead? type yes: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkout with a folder for `../shared` beside it, removed at the end.
    struct Folders(PathBuf);

    impl Folders {
        fn new(test: &str) -> Self {
            let base = env::temp_dir().join(format!("facetd-xtask-{}-{test}", std::process::id()));
            fs::create_dir_all(base.join("checkout/.v8")).unwrap();
            fs::create_dir_all(base.join("shared/v8")).unwrap();
            Self(base.canonicalize().unwrap())
        }

        fn put(&self, path: &str, content: &str) -> PathBuf {
            let path = self.0.join(path);
            fs::write(&path, content).unwrap();
            path
        }

        fn search(&self, variable: Option<&Path>) -> Result<Archive> {
            search(
                &self.0.join("checkout"),
                variable.map(Path::as_os_str),
                &wanted(),
            )
        }
    }

    impl Drop for Folders {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const GZ: &str = "librusty_v8_simdutf_release_x86_64-unknown-linux-gnu-150.4.0.a.gz";
    const PLAIN: &str = "librusty_v8_simdutf_release_x86_64-unknown-linux-gnu-150.4.0.a";

    fn wanted() -> Wanted {
        Wanted {
            version: "150.4.0".into(),
            target: "x86_64-unknown-linux-gnu".into(),
        }
    }

    #[test]
    fn places_are_searched_in_their_order() {
        let folders = Folders::new("order");
        assert_eq!(
            folders.search(None).unwrap(),
            Archive::Download,
            "nothing at hand"
        );

        let shared = folders.put(&format!("shared/v8/{GZ}"), "x");
        let found = folders.search(None).unwrap();
        assert_eq!(
            found,
            Archive::File {
                path: shared,
                place: Place::Shared
            },
            "beside the checkout, without `..`"
        );

        let plain = folders.put(&format!("checkout/.v8/{PLAIN}"), "x");
        let found = folders.search(None).unwrap();
        assert_eq!(
            found,
            Archive::File {
                path: plain,
                place: Place::Checkout
            },
            "the checkout's own comes first"
        );

        let gz = folders.put(&format!("checkout/.v8/{GZ}"), "x");
        let found = folders.search(None).unwrap();
        assert_eq!(
            found,
            Archive::File {
                path: gz,
                place: Place::Checkout
            },
            "packed before plain"
        );

        let named = folders.put("mine.a", "x");
        let found = folders.search(Some(&named)).unwrap();
        assert_eq!(
            found,
            Archive::File {
                path: named,
                place: Place::Variable
            },
            "the variable beats all"
        );
    }

    #[test]
    fn a_variable_without_its_file_is_an_error_not_a_reason_to_look_on() {
        let folders = Folders::new("absent");
        folders.put(&format!("checkout/.v8/{GZ}"), "x");
        let empty = folders.put("empty.a", "");
        for path in [folders.0.join("absent.a"), folders.0.clone(), empty] {
            let error = folders.search(Some(&path)).unwrap_err().to_string();
            assert!(
                error.contains("RUSTY_V8_ARCHIVE") && error.contains(path.to_str().unwrap()),
                "{error}"
            );
        }
    }

    #[test]
    fn archives_of_another_version_or_target_and_broken_links_are_passed_over() {
        let folders = Folders::new("other");
        folders.put(
            "checkout/.v8/librusty_v8_simdutf_release_x86_64-unknown-linux-gnu-149.0.0.a.gz",
            "x",
        );
        folders.put(
            "checkout/.v8/librusty_v8_simdutf_release_aarch64-unknown-linux-gnu-150.4.0.a.gz",
            "x",
        );
        folders.put(&format!("shared/v8/{GZ}"), "");
        std::os::unix::fs::symlink("/nowhere", folders.0.join("checkout/.v8").join(GZ)).unwrap();
        assert_eq!(
            folders.search(None).unwrap(),
            Archive::Download,
            "none of these would link"
        );
    }

    #[test]
    fn a_link_in_the_checkout_is_followed() {
        let folders = Folders::new("link");
        let real = folders.put("elsewhere.a.gz", "x");
        std::os::unix::fs::symlink(&real, folders.0.join("checkout/.v8").join(GZ)).unwrap();
        let found = folders.search(None).unwrap();
        assert_eq!(
            found,
            Archive::File {
                path: real,
                place: Place::Checkout
            },
            "one file has one path"
        );
    }

    #[test]
    fn an_address_is_left_to_the_build_script() {
        let address = Path::new("https://example.com/v8.a.gz");
        let found = Folders::new("address").search(Some(address)).unwrap();
        assert_eq!(
            found,
            Archive::Address(address.into()),
            "the v8 crate takes addresses too"
        );
        assert_eq!(
            Archive::Download.value(),
            None,
            "a download needs no variable"
        );
    }

    #[test]
    fn the_version_is_the_lock_files_or_else_the_pin() {
        let lock = "[[package]]\nname = \"v8_more\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"v8\"\nversion = \"150.4.0\"\n";
        assert_eq!(
            locked_version(lock).as_deref(),
            Some("150.4.0"),
            "the package of exactly that name"
        );
        assert_eq!(
            locked_version("[[package]]\nname = \"v9\"\nversion = \"1.0.0\"\n"),
            None,
            "not locked yet"
        );
        let manifest = "serde_v8 = \"=0.322.0\"\nv8 = { version = \"=150.4.0\", features = [] }\n";
        assert_eq!(
            pinned_version(manifest).as_deref(),
            Some("150.4.0"),
            "our own exact pin"
        );
    }
}
