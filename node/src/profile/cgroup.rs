//! What memory Linux's control groups leave to this process: a container's limit, a service's.
//!
//! A limit of any group on the way from the process's own to the outermost that can be seen bounds all
//! of them. What counts towards a limit and can be dropped when memory is short, files that are cached,
//! is counted as free, as `MemAvailable` does for the whole system.
//!
//! | | version 2 | version 1 |
//! |---|---|---|
//! | limits | `memory.max`, `memory.high` | `memory.limit_in_bytes` |
//! | in use | `memory.current` | `memory.usage_in_bytes` |
//! | of it cached files, in `memory.stat` | `inactive_file`, `active_file` | `total_inactive_file`, `total_active_file` |

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Bytes that the control groups of this process leave to it; `None` without a limit. `root` is the
/// folder of `proc` and of what is mounted.
pub(super) fn available_memory(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let hierarchies = mounts.lines().filter_map(Hierarchy::of_mount);
    let left = hierarchies.filter_map(|hierarchy| hierarchy.left(root, &groups));
    left.min()
}

/// A version of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where groups are seen that may limit memory.
#[derive(Debug)]
struct Hierarchy {
    version: Version,
    /// The group that is seen at `at`.
    top: PathBuf,
    at: PathBuf,
}

impl Hierarchy {
    /// Of a line of `/proc/self/mountinfo`, see proc_pid_mountinfo(5).
    fn of_mount(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (top, at) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let version = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => Version::Two,
            ("cgroup", options) if options.split(',').any(|o| o == "memory") => Version::One,
            _ => return None,
        };
        Some(Self {
            version,
            top: unescaped(top),
            at: unescaped(at),
        })
    }

    /// The least that its groups leave to this process; `groups` is `/proc/self/cgroup`.
    fn left(&self, root: &Path, groups: &str) -> Option<u64> {
        let own = groups.lines().find_map(|line| self.own_group(line))?;
        // A group outside of what is seen here, as in a container with the host's file: the limit is
        // that of the group that is seen.
        let below = own.strip_prefix(&self.top).unwrap_or(Path::new(""));
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let below = match below.components().all(is_plain) {
            true => below,
            false => Path::new(""),
        };
        let at = root.join(self.at.strip_prefix("/").unwrap_or(&self.at));
        let groups = below.ancestors().map(|group| at.join(group));
        groups.filter_map(|group| self.left_of(&group)).min()
    }

    /// This process's group, of a line of `/proc/self/cgroup`: `4:memory:/a/b`, or `0::/a/b`.
    fn own_group(&self, line: &str) -> Option<PathBuf> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers) = (fields.next()?, fields.next()?);
        let is_own = match self.version {
            Version::One => controllers.split(',').any(|name| name == "memory"),
            Version::Two => number == "0" && controllers.is_empty(),
        };
        is_own.then_some(fields.next().map(PathBuf::from)).flatten()
    }

    /// What one group leaves; `None` if it has no limit.
    fn left_of(&self, group: &Path) -> Option<u64> {
        let (limits, used, cached): (&[&str], _, _) = match self.version {
            Version::One => (
                &["memory.limit_in_bytes"],
                "memory.usage_in_bytes",
                ["total_inactive_file", "total_active_file"],
            ),
            Version::Two => (
                &["memory.max", "memory.high"],
                "memory.current",
                ["inactive_file", "active_file"],
            ),
        };
        // `max` is no number.
        let limits = limits.iter().filter_map(|file| number(group, file));
        let limit = limits.min().filter(|&limit| limit < NO_LIMIT)?;
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cached = stat.lines().filter_map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            cached
                .contains(&name)
                .then(|| bytes.trim().parse::<u64>().ok())?
        });
        let cached = cached.fold(0, u64::saturating_add);
        let used = number(group, used).unwrap_or(0).saturating_sub(cached);
        Some(limit.saturating_sub(used))
    }
}

/// Version 1 writes the largest number of pages for no limit: more than any device has.
const NO_LIMIT: u64 = 1 << 60;

fn number(group: &Path, file: &str) -> Option<u64> {
    let text = fs::read_to_string(group.join(file)).ok()?;
    text.trim().parse().ok()
}

/// A path in which a space, a tab, a line end or a backslash is written as an octal number.
fn unescaped(path: &str) -> PathBuf {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let plain = escapes
        .iter()
        .fold(path.to_owned(), |path, (escape, plain)| {
            path.replace(escape, plain)
        });
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::root;
    use super::*;

    const MB: u64 = 1 << 20;
    const V1_MOUNT: &str =
        "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory";
    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";

    /// What is left in a system with these files.
    fn left(group: &str, mount: &str, files: &[(&str, &str)]) -> Option<u64> {
        let own = [("proc/self/cgroup", group), ("proc/self/mountinfo", mount)];
        let root = root(&[&own[..], files].concat());
        available_memory(root.path())
    }

    #[test]
    fn a_limit_of_version_2_counts_less_what_is_in_use_and_cannot_be_dropped() {
        let group = "0::/pod/app";
        let max = [("sys/fs/cgroup/pod/app/memory.max", "104857600")];
        assert_eq!(left(group, V2_MOUNT, &max), Some(100 * MB));
        let used = [
            max[0],
            ("sys/fs/cgroup/pod/app/memory.current", "83886080"),
            (
                "sys/fs/cgroup/pod/app/memory.stat",
                "anon 1048576\nfile 62914560\ninactive_file 31457280\nactive_file 10485760",
            ),
        ];
        assert_eq!(left(group, V2_MOUNT, &used), Some(60 * MB));
        let high = ("sys/fs/cgroup/pod/app/memory.high", "73400320");
        let both = [&used[..], &[high]].concat();
        assert_eq!(left(group, V2_MOUNT, &both), Some(30 * MB));
    }

    #[test]
    fn the_least_of_all_groups_on_the_way_counts() {
        let files = [
            ("sys/fs/cgroup/a/b/memory.max", "max"),
            ("sys/fs/cgroup/a/b/memory.high", "max"),
            ("sys/fs/cgroup/a/memory.max", "52428800"),
            ("sys/fs/cgroup/memory.max", "104857600"),
            ("sys/fs/cgroup/other/memory.max", "1"),
        ];
        assert_eq!(left("0::/a/b", V2_MOUNT, &files), Some(50 * MB));
        // More in use than the limit, which was lowered.
        let used = [
            &files[..],
            &[("sys/fs/cgroup/a/memory.current", "62914560")],
        ]
        .concat();
        assert_eq!(left("0::/a/b", V2_MOUNT, &used), Some(0));
    }

    #[test]
    fn a_limit_of_version_1_counts_and_its_largest_number_is_none() {
        let groups = "5:cpu,cpuacct:/x\n4:memory:/docker/1d34\n0::/";
        let mounts = format!("{V2_MOUNT}\n{V1_MOUNT}");
        let files = [
            (
                "sys/fs/cgroup/memory/docker/1d34/memory.limit_in_bytes",
                "104857600",
            ),
            (
                "sys/fs/cgroup/memory/docker/1d34/memory.usage_in_bytes",
                "94371840",
            ),
            (
                "sys/fs/cgroup/memory/docker/1d34/memory.stat",
                "inactive_file 1\ntotal_inactive_file 20971520\ntotal_active_file 0",
            ),
        ];
        assert_eq!(left(groups, &mounts, &files), Some(30 * MB));
        let none = [(files[0].0, "9223372036854771712")];
        assert_eq!(left(groups, &mounts, &none), None);
    }

    #[test]
    fn a_group_is_found_below_the_one_that_a_container_sees() {
        let mount = "30 23 0:26 /docker/1d34 /sys/fs/cg\\040roup ro - cgroup2 cgroup ro";
        let files = [
            ("sys/fs/cg roup/memory.max", "20971520"),
            ("sys/fs/cg roup/app/memory.max", "10485760"),
        ];
        assert_eq!(left("0::/docker/1d34/app", mount, &files), Some(10 * MB));
        assert_eq!(left("0::/docker/1d34", mount, &files), Some(20 * MB));
        // Its own path is not seen from here, or leads out of it.
        assert_eq!(left("0::/elsewhere", mount, &files), Some(20 * MB));
        assert_eq!(left("0::/docker/1d34/../x", mount, &files), Some(20 * MB));
    }

    #[test]
    fn files_that_say_nothing_are_no_limit() {
        assert_eq!(available_memory(root(&[]).path()), None);
        for text in ["", "max", "much", "-1", "99999999999999999999999"] {
            let files = [("sys/fs/cgroup/memory.max", text)];
            assert_eq!(left("0::/", V2_MOUNT, &files), None, "{text:?}");
        }
        let files = [("sys/fs/cgroup/memory.max", "5")];
        for (group, mount) in [
            ("", V2_MOUNT),
            ("0::/", ""),
            ("0", "a - b"),
            ("0::/", " - "),
        ] {
            assert_eq!(left(group, mount, &files), None, "{group:?} {mount:?}");
        }
    }
}
