//! The kernels: their sources, compiled by NVRTC for the device that is there, and kept on disk for
//! the next start.

// Calls into NVRTC are calls into C; the program handle lives from its making to the end of
// `compile`, and loading a library runs its initialisers, as using it would.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::{CString, c_char};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::{env, fs, process};

use cudarc::nvrtc::{result, sys};
use rayon::prelude::*;

use crate::{EngineError, Result};

struct KernelSource {
    /// Its name in messages of the compiler.
    name: &'static str,
    text: &'static str,
}

macro_rules! sources {
    ($($file:literal),* $(,)?) => {
        [$(KernelSource { name: $file, text: include_str!(concat!("../../kernels/", $file)) }),*]
    };
}

/// What the files include, by name.
const HEADERS: [(&str, &str); 2] = [
    ("common.cuh", include_str!("../../kernels/common.cuh")),
    ("conv.cuh", include_str!("../../kernels/conv.cuh")),
];

/// Every file of kernels.
const SOURCES: [KernelSource; 11] = sources![
    "conv.cu",
    "depthwise.cu",
    "elementwise.cu",
    "images.cu",
    "layout.cu",
    "linear.cu",
    "loss.cu",
    "norm.cu",
    "optim.cu",
    "pool.cu",
    "reduce.cu",
];

/// Machine code of every source for devices of that compute capability. It is compiled once on a
/// machine, with all its processors, and once in a process where nothing can be kept.
pub(crate) fn cubins(capability: (u32, u32)) -> Result<Cubins> {
    type Compiled = HashMap<(u32, u32), Cubins>;
    static COMPILED: Mutex<Option<Compiled>> = Mutex::new(None);
    // Held while the compiler runs: who comes meanwhile would only do the same.
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let compiled = compiled.get_or_insert_default();
    if let Some(cubins) = compiled.get(&capability) {
        return Ok(Arc::clone(cubins));
    }
    let cubins = SOURCES
        .par_iter()
        .map(|source| Ok((source.name, source.cubin(capability)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::clone(compiled.entry(capability).or_insert(cubins.into())))
}

/// Names of sources, and their machine code.
pub(crate) type Cubins = Arc<[(&'static str, Vec<u8>)]>;

impl KernelSource {
    /// Machine code for devices of that compute capability, from the disk where it was compiled
    /// before.
    fn cubin(&self, capability: (u32, u32)) -> Result<Vec<u8>> {
        load_compiler()?;
        let kept = cache_folder().map(|folder| folder.join(self.file_name(capability)));
        if let Some(cubin) = kept.as_deref().and_then(read_kept) {
            return Ok(cubin);
        }
        let cubin = self.compile(capability)?.cubin;
        if let Some(path) = kept {
            keep(&path, &cubin);
        }
        Ok(cubin)
    }

    /// Compiles it, whatever is on disk.
    fn compile(&self, (major, minor): (u32, u32)) -> Result<Compiled> {
        load_compiler()?;
        let text = |text: &str| CString::new(text).expect("sources and names have no zeros");
        let (source, name) = (text(self.text), text(self.name));
        let (names, headers) =
            (HEADERS.map(|(name, _)| text(name)), HEADERS.map(|(_, header)| text(header)));
        let pointers =
            |texts: &[CString; HEADERS.len()]| texts.each_ref().map(|text| text.as_ptr());
        let (includes, included) = (pointers(&names), pointers(&headers));
        let mut program = std::ptr::null_mut();
        // SAFETY: all strings end with a zero and outlive the program.
        unsafe {
            sys::nvrtcCreateProgram(
                &mut program,
                source.as_ptr(),
                name.as_ptr(),
                HEADERS.len() as i32,
                included.as_ptr(),
                includes.as_ptr(),
            )
            .result()
            .map_err(|e| EngineError::cuda(format!("NVRTC takes no program: {e}")))?;
        }
        let options = options((major, minor));
        // SAFETY: the program was created above and is destroyed below.
        let compiled = unsafe { result::compile_program(program, &options) };
        // SAFETY: as above; the log can be asked for after a compilation, whether it succeeded or
        // not.
        let log = unsafe { result::get_program_log(program) }
            .map(|log| as_text(&log))
            .unwrap_or_default();
        let cubin = compiled.map_err(|e| {
            EngineError::cuda(format!(
                "NVRTC cannot compile {} for sm_{major}{minor}: {e}\n{log}",
                self.name
            ))
            .with_hint("this GPU may be newer than the compiler: install a newer libnvrtc")
        });
        // SAFETY: the program was compiled; the buffer is as long as the compiler says.
        let cubin = cubin.and_then(|()| unsafe { get_cubin(program) });
        // SAFETY: the program is not used after this.
        unsafe { result::destroy_program(program) }
            .map_err(|e| EngineError::cuda(format!("NVRTC: {e}")))?;
        Ok(Compiled { cubin: cubin?, log })
    }

    /// Differs when the machine code would.
    fn file_name(&self, capability: (u32, u32)) -> String {
        let hash = hash_of((self.text, HEADERS, options(capability), compiler_version()));
        let (major, minor) = capability;
        format!("{}-sm{major}{minor}-{hash:016x}.cubin", self.name.trim_end_matches(".cu"))
    }
}

/// The compiler's options.
fn options((major, minor): (u32, u32)) -> [String; 3] {
    [
        format!("--gpu-architecture=sm_{major}{minor}"),
        "--std=c++17".to_owned(),
        "--ptxas-options=-v".to_owned(),
    ]
}

/// What the compiler made of a source.
struct Compiled {
    cubin: Vec<u8>,
    /// What it said: registers and spills of each kernel among it.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "only the tests look at registers and spills")
    )]
    log: String,
}

/// # Safety
/// `program` must be compiled and not destroyed.
unsafe fn get_cubin(program: sys::nvrtcProgram) -> Result<Vec<u8>> {
    let none = |e| EngineError::cuda(format!("NVRTC gives no machine code: {e}"));
    let mut size = 0;
    // SAFETY: what the caller promises.
    unsafe { sys::nvrtcGetCUBINSize(program, &mut size) }.result().map_err(none)?;
    let mut cubin = vec![0u8; size];
    // SAFETY: what the caller promises; the buffer has the size that was asked for.
    unsafe { sys::nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast()) }.result().map_err(none)?;
    Ok(cubin)
}

fn as_text(characters: &[c_char]) -> String {
    let bytes: Vec<u8> = characters.iter().map(|&c| c as u8).take_while(|&b| b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The version of NVRTC, which compiles the kernels: (13, 0).
///
/// # Errors
/// [`EngineError::Cuda`] when it is not found.
pub fn compiler() -> Result<(i32, i32)> {
    load_compiler().map(|()| compiler_version())
}

fn compiler_version() -> (i32, i32) {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two integers.
    let _ = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    (major, minor)
}

/// Finds NVRTC: where the loader looks, else where installers of CUDA and Python packages put it.
fn load_compiler() -> Result<()> {
    static SEARCH: Once = Once::new();
    // SAFETY: see the head of this file.
    let present = || unsafe { sys::is_culib_present() };
    SEARCH.call_once(|| {
        // What the user names is wanted whatever else there is.
        let named = env::var_os("ADWP_CUDA_LIBRARIES")
            .is_some_and(|folder| open_compiler(Path::new(&folder)));
        if !named && !present() {
            library_folders().iter().any(|folder| open_compiler(folder));
        }
    });
    if present() {
        return Ok(());
    }
    Err(EngineError::cuda(
        "there is no NVRTC on this machine (libnvrtc.so), which compiles the \
         kernels for the GPU",
    )
    .with_hint(
        "install it: pip install nvidia-cuda-nvrtc, or the CUDA toolkit; \
         ADWP_CUDA_LIBRARIES can name the folder it is in",
    ))
}

/// Opens NVRTC in that folder, with what it needs, and leaves it open: the loader then finds it by
/// its name.
fn open_compiler(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    // Libraries named so are for machines that the usual ones do not run on.
    files.retain(|path| !path.to_string_lossy().contains(".alt."));
    let named = |prefix: &'static str| {
        files.iter().filter(move |path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(prefix))
        })
    };
    let open = |path: &PathBuf| {
        // SAFETY: see the head of this file.
        let library = unsafe { libloading::Library::new(path) };
        library.map(std::mem::forget).is_ok()
    };
    named("libnvrtc-builtins.so").for_each(|path| {
        open(path);
    });
    named("libnvrtc.so").any(open)
}

/// Folders that may hold the libraries of CUDA.
fn library_folders() -> Vec<PathBuf> {
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(env::var_os).map(PathBuf::from);
    let toolkits = toolkits
        .chain(children(Path::new("/usr/local"), "cuda"))
        .flat_map(|root| [root.join("lib64"), root.join("lib")]);
    let conda = env::var_os("CONDA_PREFIX").map(|prefix| PathBuf::from(prefix).join("lib"));
    toolkits
        .chain(conda)
        .chain(python_folders().into_iter().flat_map(|packages| in_packages(&packages)))
        .collect()
}

/// Where Python packages of NVIDIA have their libraries.
fn in_packages(packages: &Path) -> Vec<PathBuf> {
    let nvidia = packages.join("nvidia");
    let mut folders: Vec<PathBuf> =
        children(&nvidia, "cu").map(|folder| folder.join("lib")).collect();
    folders.push(nvidia.join("cuda_nvrtc").join("lib"));
    folders
}

/// The folders of packages of every Python that can be seen from here.
fn python_folders() -> Vec<PathBuf> {
    let environments =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(env::var_os).map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".local"));
    let on_path = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect::<Vec<_>>())
        .unwrap_or_default();
    let on_path = on_path
        .into_iter()
        .filter(|folder| folder.join("python3").exists())
        .filter_map(|folder| folder.parent().map(Path::to_owned));
    let roots =
        environments.chain(home).chain(on_path).chain(["/usr/local", "/usr"].map(PathBuf::from));
    let libraries =
        roots.flat_map(|root| children(&root.join("lib"), "python3").collect::<Vec<_>>());
    libraries
        .flat_map(|library| [library.join("site-packages"), library.join("dist-packages")])
        .collect()
}

/// The entries of a folder whose names start so, in order, later versions first.
fn children(folder: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.into_iter().rev()
}

/// Where compiled kernels are kept; none where there is no home.
fn cache_folder() -> Option<PathBuf> {
    let named = env::var_os("ADWP_KERNEL_CACHE").map(PathBuf::from);
    let cache = || {
        env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))
    };
    named.or_else(|| Some(cache()?.join("adwp").join("kernels")))
}

/// A hash of the machine code, then the code: a file that was damaged is not taken.
fn read_kept(path: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok()?;
    let (hash, cubin) = bytes.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*hash) == hash_of(cubin)).then(|| cubin.to_vec())
}

fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A disk that cannot be written costs the next start a compilation, nothing else.
fn keep(path: &Path, cubin: &[u8]) {
    let Some(folder) = path.parent() else { return };
    let temporary = path.with_extension(format!("{}.tmp", process::id()));
    let bytes = [&hash_of(cubin).to_le_bytes(), cubin].concat();
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&temporary, bytes))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::Kernel;

    /// What the assembler says of a kernel.
    #[derive(Debug, Default)]
    struct Resources {
        kernel: String,
        registers: u32,
        spilled_bytes: u32,
    }

    /// The number before `unit` in a line of the assembler.
    fn number_before(line: &str, unit: &str) -> Option<u32> {
        line.split(unit).next()?.split_whitespace().last()?.parse().ok()
    }

    fn resources(log: &str) -> Vec<Resources> {
        let mut all: Vec<Resources> = Vec::new();
        for line in log.lines() {
            if let Some((_, rest)) = line.split_once("Compiling entry function '") {
                let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
                all.push(Resources { kernel, ..Resources::default() });
            } else if let Some(last) = all.last_mut() {
                let spilled = [" bytes spill stores", " bytes spill loads"]
                    .iter()
                    .filter(|unit| line.contains(*unit));
                last.spilled_bytes +=
                    spilled.filter_map(|unit| number_before(line, unit)).sum::<u32>();
                if line.contains(" registers") {
                    last.registers = number_before(line, " registers").unwrap_or(0);
                }
            }
        }
        all
    }

    /// Whether NVRTC is there; a test that needs it and must run says so by the environment.
    fn compiler_is_there() -> bool {
        let found = load_compiler();
        assert!(found.is_ok() || env::var_os("ADWP_REQUIRE_NVRTC").is_none(), "{found:?}");
        found.is_ok()
    }

    #[test]
    #[allow(
        clippy::print_stdout,
        reason = "registers and spills are listed for those who ask with --nocapture"
    )]
    fn every_kernel_compiles_and_keeps_its_values_in_registers() {
        if !compiler_is_there() {
            return;
        }
        for capability in [(8, 0), (9, 0)] {
            let mut names = Vec::new();
            for source in &SOURCES {
                let compiled = source.compile(capability).unwrap_or_else(|error| panic!("{error}"));
                assert!(!compiled.cubin.is_empty());
                for Resources { kernel, registers, spilled_bytes } in resources(&compiled.log) {
                    println!(
                        "{capability:?} {kernel:28} {registers:4} registers {spilled_bytes:4} \
                         bytes spilled"
                    );
                    assert!((1..=255).contains(&registers), "{kernel}: {registers} registers");
                    assert_eq!(spilled_bytes, 0, "{kernel} for {capability:?}");
                    names.push((kernel, source.name));
                }
            }
            names.sort();
            let mut expected: Vec<_> = Kernel::ALL
                .iter()
                .map(|kernel| (kernel.name().to_owned(), kernel.source()))
                .collect();
            expected.sort();
            assert_eq!(
                names, expected,
                "the kernels of the sources are those that the engine knows"
            );
        }
    }

    #[test]
    fn a_source_with_a_mistake_is_an_error_that_names_it() {
        if !compiler_is_there() {
            return;
        }
        let source =
            KernelSource { name: "wrong.cu", text: "#include \"common.cuh\"\nKERNEL wrong(" };
        let Err(error) = source.compile((9, 0)) else { panic!("this is no kernel") };
        let text = error.to_string();
        assert!(text.contains("wrong.cu") && text.contains("error"), "{text}");
    }

    #[test]
    fn kept_machine_code_that_was_damaged_is_not_taken() {
        let folder = env::temp_dir().join(format!("adwp-kernels-{}", process::id()));
        let path = folder.join("kernel.cubin");
        keep(&path, &[1, 2, 3]);
        assert_eq!(read_kept(&path), Some(vec![1, 2, 3]));
        let whole = fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() - 1], &[&whole[..whole.len() - 1], &[7]].concat()] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(read_kept(&path), None);
        }
        fs::write(&path, [0; 3]).unwrap();
        assert_eq!(read_kept(&path), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
