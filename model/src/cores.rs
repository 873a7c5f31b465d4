//! The cores that this process may use: how fast they are beside each other, and how many are worth
//! a thread each.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::str::FromStr;
use std::thread;

/// A core with less than this share of the fastest's capacity is a small one.
const SMALL: f32 = 0.4;
/// Small cores of a kind help if together they add this share to all that are faster. Else they cost
/// the fast ones more time, at the end of each loop, than they save.
const ADDED: f32 = 0.5;

/// Capacities of cores, in proportion, the largest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cores(Vec<u32>);

impl Cores {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Self {
        let count = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self::read(Path::new("/"), count)
    }

    /// What Linux and Android say under `root`: the capacities of the cores that the process may run on,
    /// or their highest clocks; elsewhere `count` equal ones. A quota may make it fewer than the cores
    /// there are.
    fn read(root: &Path, count: NonZeroUsize) -> Self {
        let known = || {
            let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
            let allowed = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            let cores = numbers_of(allowed.trim())?;
            let of = |file: &str| {
                let each = cores.iter().map(|core| {
                    let directory = root.join(format!("sys/devices/system/cpu/cpu{core}"));
                    let text = fs::read_to_string(directory.join(file)).ok()?;
                    text.trim().parse().ok().filter(|&capacity| capacity > 0)
                });
                each.collect::<Option<Vec<u32>>>()
            };
            of("cpu_capacity").or_else(|| of("cpufreq/cpuinfo_max_freq"))
        };
        let mut capacities = known().unwrap_or_default();
        capacities.sort_unstable_by(|a, b| b.cmp(a));
        capacities.truncate(count.get());
        if capacities.is_empty() {
            capacities = vec![1; count.get()];
        }
        Self(capacities)
    }

    /// How many of the fastest are worth a thread.
    pub(crate) fn that_help(&self) -> usize {
        let fastest = self.0.first().map_or(1.0, |&core| core as f32);
        let (mut count, mut sum) = (0, 0.0);
        for kind in self.0.chunk_by(|a, b| a == b) {
            let each = kind[0] as f32;
            let added = each * kind.len() as f32;
            if each < SMALL * fastest && added < ADDED * sum {
                break;
            }
            count += kind.len();
            sum += added;
        }
        count.max(1)
    }

    /// The capacities of the cores that `threads` threads run on, which a system that knows them gives
    /// to those that have most to do.
    pub(crate) fn of_threads(&self, threads: NonZeroUsize) -> Vec<u32> {
        let last = self.0.last().copied().unwrap_or(1);
        let each = self.0.iter().copied().chain(std::iter::repeat(last));
        each.take(threads.get()).collect()
    }
}

/// The numbers of a list like `0-3,6`; `None` if it is none, or has more than any device.
fn numbers_of(list: &str) -> Option<Vec<u32>> {
    const MOST: u32 = 4096;
    let mut numbers = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (u32::from_str(first).ok()?, u32::from_str(last).ok()?);
        if first > last || last >= MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helping(kinds: &[(usize, u32)]) -> usize {
        let of_kind = |&(count, capacity): &(usize, u32)| vec![capacity; count];
        let cores = kinds.iter().flat_map(of_kind);
        Cores(cores.collect()).that_help()
    }

    #[test]
    fn small_cores_count_where_there_are_many_beside_few_fast_ones() {
        assert_eq!(helping(&[(2, 1)]), 2);
        assert_eq!(helping(&[(64, 1024)]), 64);
        assert_eq!(helping(&[(1, 1024), (4, 870), (3, 330)]), 5);
        assert_eq!(helping(&[(2, 1024), (2, 498), (4, 160)]), 4);
        assert_eq!(helping(&[(2, 1024), (6, 380)]), 8);
        assert_eq!(helping(&[(4, 1024), (4, 450)]), 8);
        assert_eq!(helping(&[(1, 1024)]), 1);
        assert_eq!(helping(&[]), 1);
    }

    /// A folder that looks like a system's root.
    struct Root(std::path::PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("cores-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("in the root")).expect("a folder");
                fs::write(path, text).expect("a file");
            }
            Self(root)
        }

        fn cores(&self, count: usize) -> Vec<u32> {
            Cores::read(&self.0, NonZeroUsize::new(count).expect("not zero")).0
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const STATUS: (&str, &str) = ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t1-2,4\n");

    #[test]
    fn capacities_are_read_for_the_cores_that_the_process_may_use() {
        let core = |n, text| (format!("sys/devices/system/cpu/cpu{n}/cpu_capacity"), text);
        let files = [
            core(0, "9"),
            core(1, "300\n"),
            core(2, "1024\n"),
            core(4, "800\n"),
        ];
        let mut files: Vec<_> = files.iter().map(|(p, t)| (p.as_str(), *t)).collect();
        files.push(STATUS);
        let root = Root::new("capacities", &files);
        assert_eq!(root.cores(8), [1024, 800, 300]);
        assert_eq!(root.cores(2), [1024, 800], "a quota");
    }

    #[test]
    fn clocks_stand_for_capacities_only_where_all_have_them() {
        let clock = |n| format!("sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq");
        let clocks = [clock(1), clock(2), clock(4)];
        let capacity = "sys/devices/system/cpu/cpu1/cpu_capacity";
        let mut files = vec![STATUS, (capacity, "1024")];
        files.extend(clocks.iter().map(|path| (path.as_str(), "1800000")));
        assert_eq!(Root::new("clocks", &files).cores(8), [1_800_000; 3]);
        files.pop();
        assert_eq!(Root::new("few-clocks", &files).cores(3), [1; 3]);
    }

    #[test]
    fn cores_are_equal_where_nothing_is_known() {
        assert_eq!(Root::new("nothing", &[]).cores(3), [1, 1, 1]);
        for list in ["", "3-1", "0-", "0-99999999", "x"] {
            assert_eq!(numbers_of(list), None, "{list}");
        }
        assert_eq!(numbers_of("0-2,7"), Some(vec![0, 1, 2, 7]));
    }

    #[test]
    fn threads_beyond_the_cores_are_as_the_slowest() {
        let threads = |n| NonZeroUsize::new(n).expect("not zero");
        let cores = Cores(vec![4, 2]);
        assert_eq!(cores.of_threads(threads(1)), [4]);
        assert_eq!(cores.of_threads(threads(4)), [4, 2, 2, 2]);
    }
}
