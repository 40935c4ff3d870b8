//! Finds the ONNX Runtime shared library.
//!
//! The places, in order: what the user named, `ORT_DYLIB_PATH`, next to the program, the `.runtime`
//! folder of the checkout that the program lies in, installed Python packages, system folders.
//! Nothing is run and nothing is loaded by searching. The current folder is not searched: a library
//! is code, and a folder of someone's models must not bring its own.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{DeployError, Result, runtime::kind::OLDEST_MINOR};

/// The environment variable that names the library.
pub const ENV_VAR: &str = "ORT_DYLIB_PATH";

/// The folder of a checkout that holds a library.
pub const RUNTIME_DIR: &str = ".runtime";

/// How a library was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LibrarySource {
    /// The user named it.
    Explicit,
    /// [`ENV_VAR`] names it.
    Environment,
    /// It lies next to the program or in `../lib`.
    BesideProgram,
    /// It lies in a [`RUNTIME_DIR`] folder above the program.
    RuntimeDir,
    /// It is part of an installed Python package.
    PythonPackage,
    /// It is installed for the system.
    System,
}

impl fmt::Display for LibrarySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Explicit => "--ort-lib",
            Self::Environment => ENV_VAR,
            Self::BesideProgram => "beside the program",
            Self::RuntimeDir => RUNTIME_DIR,
            Self::PythonPackage => "Python package",
            Self::System => "system",
        })
    }
}

/// An ONNX Runtime library on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrtLibrary {
    /// The shared library.
    pub path: PathBuf,
    /// How it was found.
    pub source: LibrarySource,
    /// Its version, as far as names of files and folders tell.
    pub version: Option<String>,
}

impl OrtLibrary {
    fn new(path: PathBuf, source: LibrarySource) -> Self {
        let version = version_of(&path);
        Self { path, source, version }
    }

    /// Whether the version is known and too old to work.
    pub fn is_too_old(&self) -> bool {
        self.version
            .as_deref()
            .and_then(parse_version)
            .is_some_and(|version| version < [1, OLDEST_MINOR, 0])
    }
}

/// Finds the library to use. `explicit` is a library or a folder that holds one.
///
/// # Errors
/// What `explicit` or the environment variable names does not exist: then nothing else is tried. Or
/// there is none anywhere.
pub fn find(explicit: Option<&Path>) -> Result<OrtLibrary> {
    Places::of_process(explicit).find()
}

/// Every library in the places that [`find`] looks at, in its order, each once.
pub fn candidates(explicit: Option<&Path>) -> Vec<OrtLibrary> {
    Places::of_process(explicit).candidates()
}

/// Where to look: the parts of the process's surroundings that a search depends on.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// A library or a folder that the user named.
    pub explicit: Option<PathBuf>,
    /// The value of [`ENV_VAR`].
    pub environment: Option<PathBuf>,
    /// The folder of the program.
    pub program_dir: Option<PathBuf>,
    /// Folders that hold `lib/python3*/site-packages`: virtual environments and Python
    /// installations.
    pub python_prefixes: Vec<PathBuf>,
    /// System library folders.
    pub system_dirs: Vec<PathBuf>,
}

impl Places {
    /// The places of this process.
    pub fn of_process(explicit: Option<&Path>) -> Self {
        let program =
            env::current_exe().ok().map(|program| program.canonicalize().unwrap_or(program));
        Self {
            explicit: explicit.map(Path::to_owned),
            environment: env::var_os(ENV_VAR).filter(|value| !value.is_empty()).map(PathBuf::from),
            program_dir: program.as_deref().and_then(Path::parent).map(Path::to_owned),
            python_prefixes: python_prefixes(),
            system_dirs: system_dirs(),
        }
    }

    /// As [`find`], in these places.
    ///
    /// # Errors
    /// As [`find`].
    pub fn find(&self) -> Result<OrtLibrary> {
        let named = [
            (&self.explicit, LibrarySource::Explicit, "--ort-lib"),
            (&self.environment, LibrarySource::Environment, ENV_VAR),
        ];
        for (path, source, named_by) in named {
            let Some(path) = path else { continue };
            let library = library_at(path)
                .ok_or_else(|| DeployError::OrtNotThere { path: path.clone(), named_by })?;
            return refuse_old(OrtLibrary::new(library, source));
        }
        let candidates = self.candidates();
        match candidates.iter().find(|library| !library.is_too_old()) {
            Some(library) => Ok(library.clone()),
            None => match candidates.into_iter().next() {
                Some(old) => refuse_old(old),
                None => Err(DeployError::OrtNotFound {
                    searched: self.folders().into_iter().map(|(folder, _)| folder).collect(),
                }),
            },
        }
    }

    /// As [`candidates`], in these places.
    pub fn candidates(&self) -> Vec<OrtLibrary> {
        let named = [
            (&self.explicit, LibrarySource::Explicit),
            (&self.environment, LibrarySource::Environment),
        ];
        let named = named
            .into_iter()
            .filter_map(|(path, source)| Some((library_at(path.as_ref()?)?, source)));
        let searched = self
            .folders()
            .into_iter()
            .filter_map(|(folder, source)| Some((newest_in(&folder)?, source)));
        let mut seen = Vec::new();
        named
            .chain(searched)
            .filter(|(path, _)| {
                let real = path.canonicalize().unwrap_or_else(|_| path.clone());
                let new = !seen.contains(&real);
                seen.push(real);
                new
            })
            .map(|(path, source)| OrtLibrary::new(path, source))
            .collect()
    }

    /// The folders to look into, in order; many do not exist.
    fn folders(&self) -> Vec<(PathBuf, LibrarySource)> {
        let mut folders = Vec::new();
        if let Some(dir) = &self.program_dir {
            folders.push((dir.clone(), LibrarySource::BesideProgram));
            folders.extend(
                dir.parent().map(|parent| (parent.join("lib"), LibrarySource::BesideProgram)),
            );
        }
        if let Some(start) = &self.program_dir {
            for above in start.ancestors() {
                let runtime = above.join(RUNTIME_DIR);
                if runtime.is_dir() {
                    let nested = subfolders(&runtime);
                    let holders = std::iter::once(runtime).chain(nested);
                    folders.extend(
                        holders
                            .flat_map(|dir| holders_in(&dir))
                            .map(|dir| (dir, LibrarySource::RuntimeDir)),
                    );
                }
            }
        }
        for prefix in &self.python_prefixes {
            let packages = site_packages(prefix).into_iter();
            folders.extend(
                packages.map(|dir| (dir.join("onnxruntime/capi"), LibrarySource::PythonPackage)),
            );
        }
        folders.extend(self.system_dirs.iter().map(|dir| (dir.clone(), LibrarySource::System)));
        folders
    }
}

fn refuse_old(library: OrtLibrary) -> Result<OrtLibrary> {
    if !library.is_too_old() {
        return Ok(library);
    }
    let version = library.version.unwrap_or_default();
    Err(DeployError::OrtLoad {
        path: library.path,
        detail: format!("version {version} is older than 1.{OLDEST_MINOR}"),
    })
}

/// The library that `path` is or holds.
fn library_at(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return holders_in(path).iter().find_map(|dir| newest_in(dir));
    }
    path.is_file().then(|| path.to_owned())
}

/// The folders inside an unpacked release or wheel that the library may lie in.
fn holders_in(dir: &Path) -> [PathBuf; 3] {
    [dir.to_owned(), dir.join("lib"), dir.join("onnxruntime/capi")]
}

fn subfolders(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut folders: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The library of the highest version in `dir`.
fn newest_in(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?;
    let libraries = entries.flatten().map(|entry| entry.path()).filter(|path| {
        path.is_file()
            && path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| is_library(name, env::consts::OS))
    });
    libraries.max_by_key(|path| (version_of(path).as_deref().and_then(parse_version), path.clone()))
}

/// Whether `name` is what ONNX Runtime's own library is called on `os`, and not one of its
/// plug-ins.
fn is_library(name: &str, os: &str) -> bool {
    match os {
        "windows" => name.eq_ignore_ascii_case("onnxruntime.dll"),
        "macos" => {
            let middle =
                name.strip_prefix("libonnxruntime").and_then(|rest| rest.strip_suffix(".dylib"));
            middle.is_some_and(is_version_suffix)
        }
        _ => name.strip_prefix("libonnxruntime.so").is_some_and(is_version_suffix),
    }
}

fn is_version_suffix(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix('.')
            .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// The version that the file's name, the name of what it links to, or the Python package around it
/// gives.
fn version_of(path: &Path) -> Option<String> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    [path, &real].into_iter().find_map(version_in_name).or_else(|| version_of_package(&real))
}

fn version_in_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (_, rest) = name.split_once("onnxruntime")?;
    let version: String = rest
        .trim_start_matches(".so")
        .trim_start_matches('.')
        .chars()
        .take_while(|&c| c.is_ascii_digit() || c == '.')
        .collect();
    let version = version.trim_end_matches('.');
    parse_version(version).filter(|version| version[0] > 0 && version[1] > 0)?;
    Some(version.to_owned())
}

fn version_of_package(library: &Path) -> Option<String> {
    let packages = library.parent()?.parent()?.parent()?;
    let entries = fs::read_dir(packages).ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name();
        let rest = name.to_str()?.strip_prefix("onnxruntime-")?.strip_suffix(".dist-info")?;
        Some(rest.to_owned())
    })
}

fn parse_version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let major = parts.next()??;
    let mut next = || parts.next().flatten().unwrap_or(0);
    Some([major, next(), next()])
}

fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let lib = prefix.join("lib");
    let mut versions: Vec<_> = subfolders(&lib)
        .into_iter()
        .filter(|dir| {
            dir.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with("python3"))
        })
        .collect();
    versions.reverse();
    let mut packages: Vec<_> = versions
        .iter()
        .flat_map(|dir| [dir.join("site-packages"), dir.join("dist-packages")])
        .collect();
    // Windows keeps them without a version.
    packages.push(prefix.join("Lib").join("site-packages"));
    packages.retain(|dir| dir.is_dir());
    packages
}

fn python_prefixes() -> Vec<PathBuf> {
    let var = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = env::home_dir();
    let mut prefixes: Vec<PathBuf> =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(var).collect();
    let path = env::var_os("PATH").unwrap_or_default();
    let pythons =
        env::split_paths(&path).map(|dir| dir.join(format!("python3{}", env::consts::EXE_SUFFIX)));
    // A relative entry, such as an empty one, is the current folder.
    let pythons = pythons.filter(|python| python.is_absolute());
    prefixes.extend(
        pythons.filter_map(|python| {
            python.canonicalize().ok()?.parent()?.parent().map(Path::to_owned)
        }),
    );
    prefixes.extend(home.iter().map(|home| home.join(".local")));
    let pyenv = var("PYENV_ROOT").or_else(|| home.as_ref().map(|home| home.join(".pyenv")));
    prefixes.extend(pyenv.iter().flat_map(|root| subfolders(&root.join("versions"))));
    prefixes.extend(
        var("LOCALAPPDATA").iter().flat_map(|dir| subfolders(&dir.join("Programs").join("Python"))),
    );
    prefixes.extend(["/usr/local", "/usr"].map(PathBuf::from));
    prefixes.retain(|prefix| prefix.is_dir());
    prefixes
}

fn system_dirs() -> Vec<PathBuf> {
    let triple = format!("{}-linux-gnu", env::consts::ARCH);
    let mut dirs: Vec<PathBuf> =
        ["/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/usr/lib64", "/opt/homebrew/lib"]
            .map(PathBuf::from)
            .to_vec();
    dirs.push(Path::new("/usr/lib").join(triple));
    let unpacked = subfolders(Path::new("/opt")).into_iter();
    dirs.extend(
        unpacked
            .filter(|dir| dir.to_string_lossy().contains("onnxruntime"))
            .flat_map(|dir| holders_in(&dir)),
    );
    dirs
}
