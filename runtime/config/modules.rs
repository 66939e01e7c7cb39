//! Collects the modules of a configured worker: which files, under which names, of which type.
//!
//! Three ways, as in wrangler: by default start at `main` and follow the imports (`imports` finds
//! them); with `find_additional_modules` or `no_bundle` take every file below the base directory that a
//! rule matches; with `facetd.modules` take exactly the list. Following is the default because it
//! touches only files that are used: start-up stays fast in a folder with a whole repository in it, and a
//! package.json or a test file does not become part of the worker.
//! Dropped: `oxc_parser` for exact imports (dozens of crates for the sake of a few string
//! literals); es-module-lexer has no kept Rust crate.
//! Always true: no file outside the base directory is read, not even through a symbolic link.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::config_file::{extension, typescript_advice};
use crate::error::ConfigError;
use crate::imports::specifiers;
use crate::project::{ModuleKind, ModuleSource};
use crate::rules::{Rules, parse_kind};
use crate::settings::Settings;
use crate::value::Field;

/// All modules of a worker together; workerd's limit for dynamic workers.
const MODULES_BYTES_MAX: u64 = 64 << 20;

/// Directory entries looked at with `find_additional_modules`: more means a wrong base directory.
const WALK_ENTRIES_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Modules {
    /// The name of the main module, the first of `list`.
    pub main: String,
    pub list: Vec<ModuleSource>,
}

/// Collects the modules of a worker with a config. `root` is the real path of the config's folder.
pub(crate) fn discover(
    settings: &Settings,
    root: &Path,
    warnings: &mut Vec<String>,
) -> Result<Modules, ConfigError> {
    let file = settings.file();
    let Some(main) = settings.get("main") else {
        let message = match settings.get("assets") {
            Some(_) => "missing; facetd does not serve assets without a worker yet",
            None => {
                "missing; set it to the worker's .js file, for example \"main\": \"src/index.js\""
            }
        };
        return Err(ConfigError::invalid(file, "main", message));
    };
    let rules = Rules::parse(settings, warnings)?;
    if let Some(list) = settings.facetd("modules")? {
        return explicit(&main, &list, root, &rules);
    }

    let main_path = normalize(&root.join(main.name()?));
    refuse_other_languages(&main, &main_path)?;
    if !main_path.is_file() {
        let message = format!(
            "{}: {}: the file \"{}\" does not exist. Correct the path, or build the worker first",
            file.display(),
            main.path,
            main.string()?
        );
        return Err(ConfigError::not_found(&main_path, message));
    }
    let base = match settings.get("base_dir") {
        Some(field) => {
            let base = normalize(&root.join(field.name()?));
            if !base.is_dir() {
                let message = format!(
                    "{}: {}: no such folder: {}",
                    file.display(),
                    field.path,
                    base.display()
                );
                return Err(ConfigError::not_found(&base, message));
            }
            base
        }
        None => main_path.parent().unwrap_or(root).to_owned(),
    };
    let Some(name) = main_path.strip_prefix(&base).ok().and_then(virtual_name) else {
        return Err(main.invalid(format!("outside the base directory {}", base.display())));
    };
    // The entry is an ES module whatever the rules say of its extension.
    if !matches!(extension(&main_path), "js" | "mjs")
        && rules.kind_of(&name) != Some(ModuleKind::EsModule)
    {
        return Err(main.invalid("Main module must be an ES module: a .js or .mjs file"));
    }

    let flag = |key| settings.get(key).map(|field| field.boolean()).transpose();
    let whole_folder = flag("find_additional_modules")?
        .or(flag("no_bundle")?)
        .unwrap_or(false);
    let mut collector = Collector::new(file, root, base)?;
    collector.add(&name, ModuleKind::EsModule)?;
    if whole_folder {
        collector.walk(&rules, warnings)?;
    } else {
        collector.follow_imports(&rules, warnings)?;
    }
    Ok(Modules {
        main: name,
        list: collector.modules,
    })
}

/// Collects a worker without a config: `file` and what it imports from its folder.
pub(crate) fn single_file(
    file: &Path,
    root: &Path,
    warnings: &mut Vec<String>,
) -> Result<Modules, ConfigError> {
    let Some(name) = file
        .file_name()
        .and_then(|name| virtual_name(Path::new(name)))
    else {
        return Err(ConfigError::invalid(
            file,
            "",
            "the file's name is not UTF-8",
        ));
    };
    let mut collector = Collector::new(file, root, root.to_owned())?;
    collector.add(&name, ModuleKind::EsModule)?;
    collector.follow_imports(&Rules::default(), warnings)?;
    Ok(Modules {
        main: name,
        list: collector.modules,
    })
}

fn explicit(
    main: &Field,
    list: &Field,
    root: &Path,
    rules: &Rules,
) -> Result<Modules, ConfigError> {
    let main_name = main.name()?;
    let mut collector = Collector::new(main.file, root, root.to_owned())?;
    for item in list.items()? {
        let entry = item.object()?;
        let name_field = entry.required("name")?;
        let path_field = entry.required("path")?;
        let name = match resolve("", name_field.name()?) {
            Target::Inside(name) if !name.is_empty() => name,
            _ => {
                return Err(name_field
                    .invalid("a module name is a path without \"..\", such as \"lib/util.js\""));
            }
        };
        let path = normalize(&root.join(path_field.name()?));
        let kind = match entry.get("type") {
            Some(field) => parse_kind(&field)?,
            None => rules.kind_of(&name).ok_or_else(|| {
                item.invalid(format!(
                    "no rule gives \"{name}\" a type: add \"type\", for example \"ESModule\""
                ))
            })?,
        };
        if !path.starts_with(root) {
            return Err(
                path_field.invalid(format!("outside the project folder {}", root.display()))
            );
        }
        if !path.is_file() {
            let message = format!(
                "{}: {}: the file \"{}\" does not exist",
                main.file.display(),
                path_field.path,
                path_field.string()?
            );
            return Err(ConfigError::not_found(&path, message));
        }
        if !collector.names.insert(name.clone()) {
            return Err(name_field.invalid(format!("\"{name}\" is listed twice")));
        }
        collector.read(name, kind, path)?;
    }
    // `main` is a module's name; a path works too, so that the same config suits wrangler.
    let main_path = normalize(&root.join(main_name));
    let wanted = main_name.strip_prefix("./").unwrap_or(main_name);
    let by_name = collector
        .modules
        .iter()
        .position(|module| module.name == wanted);
    let Some(at) = by_name.or_else(|| {
        collector
            .modules
            .iter()
            .position(|module| module.path == main_path)
    }) else {
        return Err(main.invalid(format!(
            "\"{main_name}\" is not among the modules of \"{}\"",
            list.path
        )));
    };
    if collector.modules[at].kind != ModuleKind::EsModule {
        return Err(main.invalid("Main module must be an ES module: give it the type \"ESModule\""));
    }
    collector.modules[..=at].rotate_right(1);
    Ok(Modules {
        main: collector.modules[0].name.clone(),
        list: collector.modules,
    })
}

fn refuse_other_languages(main: &Field, path: &Path) -> Result<(), ConfigError> {
    match extension(path) {
        "ts" | "mts" | "cts" | "tsx" | "jsx" => {
            Err(main.invalid(typescript_advice(Path::new(main.string()?))))
        }
        "py" => Err(main.invalid("Python Workers are not supported.")),
        _ => Ok(()),
    }
}

struct Collector<'a> {
    /// The config, or the single file: what errors point at.
    file: &'a Path,
    root: &'a Path,
    base: PathBuf,
    /// `base` without symbolic links.
    real_base: PathBuf,
    modules: Vec<ModuleSource>,
    names: HashSet<String>,
    bytes: u64,
}

impl<'a> Collector<'a> {
    fn new(file: &'a Path, root: &'a Path, base: PathBuf) -> Result<Self, ConfigError> {
        let real_base = base
            .canonicalize()
            .map_err(ConfigError::io("open", &base))?;
        Ok(Self {
            file,
            root,
            base,
            real_base,
            modules: Vec::new(),
            names: HashSet::new(),
            bytes: 0,
        })
    }

    fn add(&mut self, name: &str, kind: ModuleKind) -> Result<(), ConfigError> {
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        let path = self.path_of(name);
        self.read(name.to_owned(), kind, path)
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.base.join(name.strip_suffix("?module").unwrap_or(name))
    }

    fn read(&mut self, name: String, kind: ModuleKind, path: PathBuf) -> Result<(), ConfigError> {
        let real = path
            .canonicalize()
            .map_err(ConfigError::io("open", &path))?;
        if !real.starts_with(&self.real_base) {
            let message = format!(
                "module \"{name}\" is a link that leads outside the base directory, to {}",
                real.display()
            );
            return Err(ConfigError::invalid(self.file, "", message));
        }
        let mut bytes = Vec::new();
        let left = MODULES_BYTES_MAX - self.bytes;
        std::fs::File::open(&real)
            .and_then(|opened| opened.take(left + 1).read_to_end(&mut bytes))
            .map_err(ConfigError::io("read", &path))?;
        self.bytes += bytes.len() as u64;
        if self.bytes > MODULES_BYTES_MAX {
            let message = format!(
                "the modules are larger than {MODULES_BYTES_MAX} bytes together (reached at \"{name}\"): set \
                 \"base_dir\" to a smaller folder, or list the modules in \"facetd.modules\""
            );
            return Err(ConfigError::invalid(self.file, "", message));
        }
        self.modules.push(ModuleSource {
            name,
            kind,
            path,
            bytes,
        });
        Ok(())
    }

    /// Adds what the modules so far import, and what those import, breadth first.
    fn follow_imports(
        &mut self,
        rules: &Rules,
        warnings: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        let mut looked_at = HashSet::new();
        let mut next = 0;
        while next < self.modules.len() {
            let module = &self.modules[next];
            next += 1;
            if !matches!(module.kind, ModuleKind::EsModule | ModuleKind::CommonJs) {
                continue;
            }
            let importer = module.name.clone();
            let mut found = Vec::new();
            for specifier in specifiers(&module.bytes) {
                match resolve(&importer, specifier) {
                    Target::Inside(name) if looked_at.insert(name.clone()) => {
                        found.push((name, specifier.to_owned()))
                    }
                    Target::Outside(climb) if self.base.join(&climb).is_file() => {
                        let message = format!(
                            "\"{importer}\" imports \"{specifier}\", which is outside the base directory {}: set \
                             \"base_dir\" to a folder that holds both",
                            self.base.display()
                        );
                        return Err(ConfigError::invalid(self.file, "", message));
                    }
                    Target::Inside(_) | Target::Outside(_) | Target::Builtin => {}
                }
            }
            for (name, specifier) in found {
                if !self.path_of(&name).is_file() {
                    warnings.extend(self.explain_missing(&importer, &specifier, &name));
                } else if let Some(kind) = rules.kind_of(&name) {
                    self.add(&name, kind)?;
                } else {
                    warnings.push(format!(
                        "\"{importer}\" imports \"{specifier}\", but no rule says what type it is: add one to \"rules\""
                    ));
                }
            }
        }
        Ok(())
    }

    /// A hint for the two things a bundler would have done. Anything else that is missing is V8's to
    /// report, should the import be real.
    fn explain_missing(&self, importer: &str, specifier: &str, name: &str) -> Option<String> {
        if specifier.starts_with('.') {
            let found = [".js", ".mjs", ".ts", "/index.js", "/index.ts"]
                .into_iter()
                .find(|suffix| self.base.join(format!("{name}{suffix}")).is_file())?;
            return Some(format!(
                "\"{importer}\" imports \"{specifier}\", which does not exist, but \"{specifier}{found}\" does: facetd \
                 does not guess extensions, so write them out or bundle the worker"
            ));
        }
        let segments = if specifier.starts_with('@') { 2 } else { 1 };
        let package: Vec<&str> = specifier.split('/').take(segments).collect();
        let installed = [self.base.as_path(), self.root].iter().any(|folder| {
            package
                .iter()
                .all(|segment| !segment.is_empty() && *segment != "..")
                && folder.join("node_modules").join(package.join("/")).is_dir()
        });
        installed.then(|| {
            format!(
                "\"{importer}\" imports the package \"{specifier}\": facetd does not look into node_modules. Bundle the \
                 worker first, for example with \"npx wrangler deploy --dry-run --outdir dist\""
            )
        })
    }

    /// Adds every file below the base directory that has a type, sorted by name.
    fn walk(&mut self, rules: &Rules, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
        let mut found = Vec::new();
        let mut seen = 0usize;
        let mut folders = vec![self.base.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(ConfigError::io("list", &folder))? {
                let entry = entry.map_err(ConfigError::io("list", &folder))?;
                seen += 1;
                if seen > WALK_ENTRIES_MAX {
                    let message = format!(
                        "more than {WALK_ENTRIES_MAX} files below {}: set \"base_dir\" to a smaller folder, or list the \
                         modules in \"facetd.modules\"",
                        self.base.display()
                    );
                    return Err(ConfigError::invalid(
                        self.file,
                        "find_additional_modules",
                        message,
                    ));
                }
                // Dot folders hold data (.facetd, .wrangler) and tools (.git), never modules.
                let file_name = entry.file_name();
                if file_name == "node_modules" || file_name.as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let path = entry.path();
                let file_type = entry.file_type().map_err(ConfigError::io("open", &path))?;
                if file_type.is_dir() {
                    folders.push(path);
                    continue;
                }
                let Some(name) = path.strip_prefix(&self.base).ok().and_then(virtual_name) else {
                    warnings.push(format!("skipped {}: its name is not UTF-8", path.display()));
                    continue;
                };
                // `is_file` follows a link; where it leads is checked when it is read.
                let is_config = self.file.file_name() == Some(&file_name) && folder == self.root;
                if let Some(kind) = rules
                    .kind_of(&name)
                    .filter(|_| !is_config && path.is_file())
                {
                    found.push((name, kind));
                }
            }
        }
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, kind) in found {
            self.add(&name, kind)?;
        }
        Ok(())
    }
}

/// Where a specifier leads.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// A name below the base directory; nothing says that it exists.
    Inside(String),
    /// Above the base directory: the path relative to it.
    Outside(String),
    /// `node:fs`, `cloudflare:workers`, a URL.
    Builtin,
}

/// The rules of worker-loader.md: relative to the importing module's name; `/x` and bare `x` from the root.
fn resolve(importer: &str, specifier: &str) -> Target {
    let relative = specifier.starts_with("./") || specifier.starts_with("../");
    if !relative
        && specifier
            .split('/')
            .next()
            .is_some_and(|first| first.contains(':'))
    {
        return Target::Builtin;
    }
    let folder = importer.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut segments: Vec<&str> = Vec::new();
    let mut climbed = 0usize;
    for segment in if relative { folder } else { "" }
        .split('/')
        .chain(specifier.split('/'))
    {
        match segment {
            "" | "." => {}
            ".." => {
                if segments.pop().is_none() {
                    climbed += 1;
                }
            }
            name => segments.push(name),
        }
    }
    let name = segments.join("/");
    if climbed == 0 {
        Target::Inside(name)
    } else {
        Target::Outside(format!("{}{name}", "../".repeat(climbed)))
    }
}

/// `None` if it is not UTF-8 or climbs out.
fn virtual_name(relative: &Path) -> Option<String> {
    let mut segments = Vec::new();
    for component in relative.components() {
        match component {
            Component::Normal(segment) => segments.push(segment.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!segments.is_empty()).then(|| segments.join("/"))
}

/// Removes `.` and `..` without asking the file system.
pub(crate) fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_resolve_as_in_workerd() {
        let inside = |name: &str| Target::Inside(name.to_owned());
        for (importer, specifier, target) in [
            ("main.js", "./a.js", inside("a.js")),
            ("lib/x.js", "./a.js", inside("lib/a.js")),
            ("lib/x.js", "../a.js", inside("a.js")),
            ("lib/x.js", "/lib/../a.js", inside("a.js")),
            ("lib/x.js", "a.js", inside("a.js")),
            ("lib/x.js", "../../a.js", Target::Outside("../a.js".into())),
            ("main.js", "../p/a.js", Target::Outside("../p/a.js".into())),
            ("main.js", "node:fs", Target::Builtin),
            ("main.js", "cloudflare:workers", Target::Builtin),
            ("main.js", "https://x/y.js", Target::Builtin),
        ] {
            assert_eq!(
                resolve(importer, specifier),
                target,
                "{specifier} from {importer}"
            );
        }
    }

    #[test]
    fn virtual_names_never_climb() {
        assert_eq!(
            virtual_name(Path::new("a/./b.js")).as_deref(),
            Some("a/b.js")
        );
        assert_eq!(virtual_name(Path::new("../b.js")), None);
        assert_eq!(virtual_name(Path::new("")), None);
    }
}
