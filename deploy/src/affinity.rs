//! Which processors this process runs on.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{DeployError, Result};

/// The processors of a list such as `0-3,8`, in ascending order.
///
/// # Errors
/// It is no such list, or names a processor above 1023.
pub fn parse(list: &str) -> Result<Vec<usize>> {
    let wrong =
        || DeployError::setting("cpu", format!("`{list}` is no list of processors such as 0-3,8"));
    let mut processors = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.trim().parse::<usize>().ok().filter(|&number| number < 1024).ok_or_else(wrong)
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        processors.extend(first..=last);
    }
    processors.sort_unstable();
    processors.dedup();
    Ok(processors)
}

/// Lets this thread, and the threads that it starts from now on, run on `processors` alone.
/// `taskset`, a part of every usual Linux, is asked to do it.
///
/// # Errors
/// The machine does not have one of them or does not allow it, or there is no `taskset`.
pub fn pin(processors: &[usize]) -> Result<()> {
    let failed = |detail: String| DeployError::setting("cpu", detail);
    // The number of the calling thread: `/proc/thread-self` is a link to PROCESS/task/THREAD.
    let link = fs::read_link("/proc/thread-self")
        .map_err(|_| failed("processors can only be chosen on Linux".to_owned()))?;
    let thread = link.file_name().unwrap_or_default();
    let list = processors.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let output = Command::new("taskset")
        .args(["-p", "-c"])
        .arg(&list)
        .arg(thread)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| {
        failed(format!("`taskset`, which chooses processors, cannot be started: {error}"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!(
        "processors {list} cannot be used: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_those_of_the_kernel() {
        assert_eq!(parse("0-2,8,1").unwrap(), [0, 1, 2, 8]);
        for text in ["", "a", "3-1", "0,", "-1", "0-2000", "99999999999999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_stays_where_it_was_pinned() {
        let first = |text: &str| parse(text).unwrap()[0];
        let of_this = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let list = |status: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
                .unwrap()
                .trim()
                .to_owned()
        };
        let allowed = first(&list(&of_this()));
        std::thread::spawn(move || {
            pin(&[allowed]).unwrap();
            assert_eq!(list(&of_this()), allowed.to_string());
        })
        .join()
        .unwrap();
        assert!(pin(&[1023]).is_err());
    }
}
