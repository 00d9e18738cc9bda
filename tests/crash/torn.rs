//! What a power cut leaves of the last group: any of its pages, in any order. None of it was answered.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::folder::{A_DAY_MS, Files, Shop, State, faults, scratch, segments, serve, write_files};

/// A log that was killed, and the one group at its end that may be torn.
struct Killed {
    files: Files,
    before: State,
    after: State,
    runtime: Arc<Runtime>,
    /// Where the last group lies in the last segment.
    last: std::ops::Range<usize>,
}

impl Killed {
    /// `groups` decides where in its segment the last group lies.
    fn new(folder: &Path, groups: u64) -> Self {
        let mut shop = Shop::open(folder);
        shop.write(groups);
        let before = shop.state();
        shop.write_group(3);
        let (after, runtime) = (shop.state(), shop.runtime.clone());
        let files = shop.crash(folder);
        let bytes = &files[&segments(&files).pop().unwrap()];
        let end = bytes.iter().rposition(|byte| *byte != b'\n').unwrap() + 2;
        let text = std::str::from_utf8(&bytes[..end]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let group: usize = lines[lines.len() - 4..].iter().map(|line| line.len() + 1).sum();
        Self {
            files,
            before,
            after,
            runtime,
            last: end - group..end,
        }
    }

    /// Ways to lose a part of the last group: its end, its beginning, or a piece of it.
    fn tears(&self) -> Vec<(String, Files)> {
        let length = self.last.len();
        let mut tears = Vec::new();
        for lost in LOST {
            for at in (3..length - 1).step_by(3) {
                let end = self.with_last(|group| group[at..].fill(lost));
                tears.push((format!("{lost} from byte {at} of {length} on"), end));
                let beginning = self.with_last(|group| group[..at].fill(lost));
                tears.push((format!("{lost} up to byte {at} of {length}"), beginning));
            }
            for border in self.line_borders() {
                let beginning = self.with_last(|group| group[..border].fill(lost));
                tears.push((
                    format!("{lost} up to the end of a line at {border} of {length}"),
                    beginning,
                ));
                let end = self.with_last(|group| group[border..].fill(lost));
                tears.push((format!("{lost} from the end of a line at {border} of {length} on"), end));
            }
            for pair in self.line_borders().windows(2) {
                let line = self.with_last(|group| group[pair[0]..pair[1]].fill(lost));
                tears.push((format!("{lost} for the line at {} of {length}", pair[0]), line));
            }
            for at in (20..length - 60).step_by(20) {
                let piece = self.with_last(|group| group[at..at + 40].fill(lost));
                tears.push((format!("{lost} for 40 bytes at {at} of {length}"), piece));
            }
        }
        tears
    }

    /// Where the lines of the last group end, but for the last one.
    fn line_borders(&self) -> Vec<usize> {
        let file = &self.files[&segments(&self.files).pop().unwrap()];
        let group = &file[self.last.clone()];
        (1..group.len()).filter(|at| group[at - 1] == b'\n').collect()
    }

    /// What is wrong with how it is read back, if anything.
    fn fault_of(&self, files: &Files, is_whole: bool) -> Option<String> {
        let scratch = scratch();
        write_files(scratch.path(), files);
        let found = faults(scratch.path());
        if !found.is_empty() {
            return Some(format!("verify: {found:?}"));
        }
        let expected = if is_whole { &self.after } else { &self.before };
        match serve(&self.runtime, scratch.path(), A_DAY_MS) {
            Err(refusal) => Some(refusal),
            Ok(state) if state != *expected => Some(format!("another state is served: {state:?}")),
            // What recovery has made of it is a log like any other.
            Ok(_) => faults(scratch.path()).pop(),
        }
    }

    fn with_last(&self, tear: impl FnOnce(&mut [u8])) -> Files {
        let mut files = self.files.clone();
        let file = segments(&files).pop().unwrap();
        tear(&mut files.get_mut(&file).unwrap()[self.last.clone()]);
        files
    }
}

/// Room is newlines; a file system that lost a page may show zeros.
const LOST: [u8; 2] = [b'\n', 0];

#[test]
fn a_torn_last_group_is_cut_off_and_all_before_it_is_served() {
    let made = scratch();
    let mut wrong = Vec::new();
    for groups in [1, 2, 6] {
        let folder = tempfile::tempdir_in(made.path()).unwrap();
        let killed = Killed::new(folder.path(), groups);
        assert_eq!(killed.fault_of(&killed.files, true), None, "nothing was lost");
        for (tear, files) in killed.tears() {
            wrong.extend(killed.fault_of(&files, false).map(|fault| format!("{tear}: {fault}")));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} tears, the first ones:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(8)].join("\n")
    );
}

#[test]
fn the_log_goes_on_behind_a_torn_group_that_was_cut_off() {
    let scratch = scratch();
    let killed = Killed::new(scratch.path(), 5);
    let torn = killed.with_last(|group| {
        let half = group.len() / 2;
        group[half..].fill(b'\n');
    });
    write_files(scratch.path(), &torn);
    let mut shop = Shop::open(scratch.path());
    shop.write(4);
    let (state, runtime) = (shop.state(), shop.runtime.clone());
    let files = shop.crash(scratch.path());
    write_files(scratch.path(), &files);
    assert_eq!(faults(scratch.path()), [""; 0]);
    assert_eq!(serve(&runtime, scratch.path(), A_DAY_MS), Ok(state));
}

/// A group is begun only once the one before it is on stable storage: so this is no torn tail.
#[test]
fn a_bad_record_before_a_later_group_is_damage_also_after_a_kill() {
    let scratch = scratch();
    let killed = Killed::new(scratch.path(), 7);
    let runtime = Shop::open(scratch.path()).runtime.clone();
    for file in segments(&killed.files) {
        let end = if file == segments(&killed.files).pop().unwrap() {
            killed.last.start
        } else {
            killed.files[&file].len()
        };
        for at in (0..end).step_by(5) {
            if killed.files[&file][at] == b'\n' && killed.files[&file].get(at + 1) == Some(&b'\n') {
                continue;
            }
            let mut files = killed.files.clone();
            files.get_mut(&file).unwrap()[at] ^= 1;
            write_files(scratch.path(), &files);
            let torn = format!("byte {at} of {} changed", file.display());
            assert!(!faults(scratch.path()).is_empty(), "verify, with {torn}");
            write_files(scratch.path(), &files);
            let refusal = serve(&runtime, scratch.path(), A_DAY_MS).expect_err(&torn);
            assert!(refusal.contains("events"), "{torn}: {refusal}");
        }
    }
}

/// Between the two steps of going over to a new segment: the old one says that it is closed, with room
/// still behind that; the new one has room and nothing in it.
#[test]
fn a_crash_before_a_closed_segment_is_cut_is_no_damage() {
    let scratch = scratch();
    let mut shop = Shop::open(scratch.path());
    shop.write(16);
    let (state, runtime) = (shop.state(), shop.runtime.clone());
    let files = shop.crash(scratch.path());
    let all = segments(&files);
    let mut files = files;
    // As if the last group had not been written yet: the segment before it ends the log.
    let last = &all[all.len() - 1];
    let before = &all[all.len() - 2];
    files.insert(last.clone(), vec![b'\n'; 5000]);
    files.get_mut(before).unwrap().extend(vec![b'\n'; 5000]);
    write_files(scratch.path(), &files);
    assert_eq!(faults(scratch.path()), [""; 0]);
    let served = serve(&runtime, scratch.path(), A_DAY_MS).unwrap_or_else(|refusal| panic!("{refusal}"));
    let (served, all) = (served.events.unwrap(), state.events.unwrap());
    assert_eq!(served, all[..served.len()]);
    assert!(!served.is_empty() && served.len() < all.len());
}
