//! The resources that a process uses, read from `/proc`.

/// Returns the resident memory in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes: u64 =
        line.trim().trim_end_matches(" kB").parse().expect("a number of kilobytes");
    kilobytes * 1024
}

/// Returns the number of open file descriptors.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process's descriptors").count()
}

/// Returns the CPU time of all threads so far, in milliseconds.
pub fn processor_ms(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process's times");
    let after_name = stat.rsplit_once(") ").expect("a process name").1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("ticks");
    // Fields 14 and 15 of proc(5), utime and stime, in hundredths of a second on Linux.
    (ticks(11) + ticks(12)) * 10
}
