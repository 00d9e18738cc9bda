//! What the operating system says of this process. On Linux, from `/proc`; elsewhere nothing.

use std::fs;

/// What is not known is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    pub resident_bytes: Option<u64>,
    /// Of all threads, in user code and in the kernel.
    pub cpu_seconds: Option<f64>,
    pub threads: Option<u64>,
    pub open_files: Option<u64>,
    /// How many may be open.
    pub max_open_files: Option<u64>,
}

impl Process {
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        // One of them is the folder that is being read.
        let open = fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1) as u64);
        Self {
            resident_bytes: value(&status, "VmRSS:").map(|kib| kib * 1024),
            cpu_seconds: cpu_seconds(&stat),
            threads: value(&status, "Threads:"),
            open_files: open.ok(),
            max_open_files: value(&limits, "Max open files"),
        }
    }
}

/// The first number behind a name at the beginning of a line.
fn value(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Linux tells times to programs in hundredths of a second, whatever it counts in itself.
const TICKS_A_SECOND: f64 = 100.0;
/// The places of the time in user code and of that in the kernel, behind the name of the program, which may hold anything.
const TIMES: [usize; 2] = [11, 12];

fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = TIMES.map(|place| fields.get(place)?.parse::<u64>().ok());
    Some((ticks[0]? + ticks[1]?) as f64 / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_linux_writes() {
        let status = "Name:\tholdfast\nVmRSS:\t   20480 kB\nThreads:\t7\n";
        assert_eq!(
            (value(status, "VmRSS:"), value(status, "Threads:")),
            (Some(20480), Some(7))
        );
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(value(limits, "Max open files"), Some(1024));
        let stat = "42 (hold) fast) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 7 0 100 200 300";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!((value("", "VmRSS:"), cpu_seconds("")), (None, None));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_threads_and_open_files() {
        let told = Process::read();
        assert!(
            told.resident_bytes.unwrap() > 1 << 20 && told.threads.unwrap() >= 1,
            "{told:?}"
        );
        let (open, most) = (told.open_files.unwrap(), told.max_open_files.unwrap());
        assert!(open >= 3 && open <= most && told.cpu_seconds.is_some(), "{told:?}");
    }
}
