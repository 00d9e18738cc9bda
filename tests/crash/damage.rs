//! Damage to what a stop in order has left: noticed and named, never read as if it were whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::folder::{
    A_DAY_MS, Files, Shop, State, faults, filters, is_index, options, read_files, runtime, scratch, segments, serve,
    told, write_files,
};

/// A folder that was stopped in order, and copies of it to damage.
struct Whole {
    files: Files,
    state: State,
    runtime: Arc<Runtime>,
    scratch: tempfile::TempDir,
}

/// Whether a copy may be read as if nothing had happened to it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harmless {
    No,
    /// The right state may be served, but `verify` must tell.
    Served,
    /// It says the same as before.
    Same,
}

impl Whole {
    /// With some of every kind of record, and no more: what is tried takes a time that grows with the square of it.
    fn new() -> Self {
        Self::of(12)
    }

    fn of(groups: u64) -> Self {
        let scratch = scratch();
        let mut shop = Shop::open(scratch.path());
        shop.write(groups);
        let (state, runtime) = (shop.state(), shop.runtime.clone());
        let files = shop.close(scratch.path());
        assert!(segments(&files).len() >= 4, "too few segments: {:?}", files.keys());
        let whole = Self {
            files,
            state,
            runtime,
            scratch,
        };
        whole.check(&whole.files.clone(), "nothing", Path::new(""), Harmless::Same);
        whole
    }

    /// The same to be tried beside it.
    fn elsewhere(&self) -> Self {
        Self {
            files: self.files.clone(),
            state: self.state.clone(),
            runtime: runtime(),
            scratch: scratch(),
        }
    }

    /// Tries each flip of a bit by itself; returns how many changed nothing.
    fn flip(&self, flips: &[(&PathBuf, usize, u32)]) -> u32 {
        let mut ignorable = 0;
        for (file, at, bit) in flips {
            let mut files = self.files.clone();
            let bytes = files.get_mut(*file).unwrap();
            let harmless = match () {
                () if is_case_of_checksum(bytes, *at, *bit) && !is_index(file) => Harmless::Same,
                () if can_be_made_again(file) => Harmless::Served,
                () => Harmless::No,
            };
            bytes[*at] ^= 1 << bit;
            let damage = format!("bit {bit} of byte {at} of {} flipped", file.display());
            self.check(&files, &damage, file, harmless);
            ignorable += u32::from(harmless == Harmless::Same);
        }
        ignorable
    }

    fn last_segment(&self) -> PathBuf {
        segments(&self.files).pop().unwrap()
    }

    /// Holds a copy that was damaged in one file to what is promised.
    fn check(&self, files: &Files, damage: &str, file: &Path, harmless: Harmless) {
        let folder = self.scratch.path();
        write_files(folder, files);
        let told = told(folder);
        let is_as_promised = match harmless {
            Harmless::No => !told.faults.is_empty(),
            Harmless::Served => !told.faults.is_empty() || !told.remade.is_empty(),
            Harmless::Same => told.faults.is_empty() && told.remade.is_empty(),
        };
        assert!(is_as_promised, "verify, with {damage}: {told:?}");
        // Once with everything needed, and once where only the end of the log is. `verify` has changed nothing.
        for retention_ms in [A_DAY_MS, 0] {
            if retention_ms == 0 {
                write_files(folder, files);
            }
            match serve(&self.runtime, folder, retention_ms) {
                Ok(state) => {
                    let expected = if retention_ms == 0 {
                        self.state.without_receipts()
                    } else {
                        self.state.clone()
                    };
                    let same = state.is_truly(&expected);
                    assert!(
                        same,
                        "served wrongly, with {damage}: {state:#?} instead of {:#?}",
                        self.state
                    );
                }
                Err(refusal) => {
                    assert_eq!(harmless, Harmless::No, "refused, with {damage}: {refusal}");
                    self.assert_names(&refusal, file, damage);
                }
            }
        }
    }

    /// The end of the log is missing from the folder, not from a file; all else names the file or its neighbour.
    fn assert_names(&self, refusal: &str, file: &Path, damage: &str) {
        let all = segments(&self.files);
        let at = all.iter().position(|path| path == file);
        let near = at.map_or(&[][..], |at| &all[at.saturating_sub(1)..(at + 2).min(all.len())]);
        let names = near.iter().any(|path| refusal.contains(path.to_str().unwrap()));
        let names_folder = file == self.last_segment() && refusal.contains("events");
        assert!(
            names || names_folder,
            "it does not name the file, with {damage}: {refusal}"
        );
    }
}

/// All but the log itself: checkpoint, snapshots, indexes.
fn can_be_made_again(file: &Path) -> bool {
    !file.starts_with("events") || is_index(file)
}

/// An index is proved block by block, by a sum over each, and has its own tests of every bit.
fn step_through(file: &Path, nth: usize) -> usize {
    if is_index(file) { 40 * nth } else { nth }
}

/// A letter's case in a checksum of eight hexadecimal digits, `{"crc":"` before it. Of a record's line
/// the hash of its group tells, and a line that has no such hash says the same in either case.
fn is_case_of_checksum(bytes: &[u8], at: usize, bit: u32) -> bool {
    let line = bytes[..at]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let end = bytes[line..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |length| line + length);
    let is_hashed = bytes[line..end].windows(8).any(|window| window == b"\"event\":");
    bit == 5 && (8..16).contains(&(at - line)) && bytes[at].is_ascii_alphabetic() && !is_hashed
}

#[test]
fn a_flipped_bit_is_noticed() {
    flip_in_every(11);
}

#[test]
#[ignore = "every single byte: minutes; `.ci/run` runs it"]
fn a_flipped_bit_in_any_byte_is_noticed() {
    flip_in_every(1);
}

/// Another bit each; of every other letter the case: the one bit that may not matter.
fn flip_in_every(nth: usize) {
    let whole = Whole::new();
    let mut flips = Vec::new();
    for (file, bytes) in &whole.files {
        for at in (0..bytes.len()).step_by(step_through(file, nth)) {
            let bit = match bytes[at].is_ascii_alphabetic() {
                true if at % 2 == 0 && !is_index(file) => 5,
                true => at % 5,
                false => at % 8,
            };
            flips.push((file, at, bit as u32));
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let ignorable: u32 = std::thread::scope(|scope| {
        let shares = flips
            .chunks(flips.len().div_ceil(threads))
            .map(|share| (whole.elsewhere(), share));
        let running: Vec<_> = shares
            .map(|(whole, share)| scope.spawn(move || whole.flip(share)))
            .collect();
        running.into_iter().map(|share| share.join().unwrap()).sum()
    });
    let tried = flips.len();
    eprintln!("{tried} flips; {ignorable} of them changed the case of a checksum and nothing else");
}

#[test]
fn a_file_cut_short_anywhere_is_noticed() {
    let whole = Whole::new();
    for (file, bytes) in &whole.files {
        let borders = (0..bytes.len()).filter(|at| *at == 0 || bytes[at - 1] == b'\n');
        let middles = (0..bytes.len()).filter(|at| at % step_through(file, 97) == 50);
        let newlines = (1..bytes.len()).filter(|at| bytes[*at] == b'\n' && at + 1 < bytes.len());
        for length in borders.chain(middles).chain(newlines) {
            let mut files = whole.files.clone();
            files.get_mut(file).unwrap().truncate(length);
            let harmless = if can_be_made_again(file) {
                Harmless::Served
            } else {
                Harmless::No
            };
            whole.check(
                &files,
                &format!("{} cut to {length} bytes", file.display()),
                file,
                harmless,
            );
        }
    }
}

/// The line itself is whole; so both may be right, but not a panic.
#[test]
fn a_file_without_its_last_newline_is_read_or_refused() {
    let whole = Whole::new();
    for (file, bytes) in &whole.files {
        let mut files = whole.files.clone();
        files.get_mut(file).unwrap().truncate(bytes.len() - 1);
        write_files(whole.scratch.path(), &files);
        match serve(&whole.runtime, whole.scratch.path(), A_DAY_MS) {
            Ok(state) => assert!(state.is_truly(&whole.state), "{}: {state:#?}", file.display()),
            Err(refusal) => whole.assert_names(&refusal, file, "the last newline cut off"),
        }
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    let whole = Whole::new();
    for file in segments(&whole.files) {
        let mut files = whole.files.clone();
        files.remove(&file);
        whole.check(&files, &format!("{} removed", file.display()), &file, Harmless::No);
    }
}

#[test]
fn missing_segments_are_noticed_though_the_checkpoint_is_missing_too() {
    let whole = Whole::new();
    let all = segments(&whole.files);
    for file in &all {
        let mut files = whole.files.clone();
        files.remove(Path::new("checkpoint.json"));
        files.remove(file);
        whole.check(
            &files,
            &format!("{} and the checkpoint removed", file.display()),
            file,
            Harmless::No,
        );
    }
    let mut files = whole.files.clone();
    files.retain(|file, _| !file.starts_with("events"));
    whole.check(&files, "all segments removed", &all[all.len() - 1], Harmless::No);
}

#[test]
fn without_its_checkpoint_the_right_state_is_served() {
    let whole = Whole::new();
    let mut files = whole.files.clone();
    files.remove(Path::new("checkpoint.json")).unwrap();
    whole.check(&files, "the checkpoint removed", Path::new(""), Harmless::Same);
}

#[test]
fn searches_find_what_the_log_holds() {
    let whole = Whole::of(16);
    let events = whole.state.events.clone().unwrap();
    for (filter, found) in filters().iter().zip(whole.state.histories.clone().unwrap()) {
        let fitting = events.iter().rev().filter(|(_, event)| filter.takes(event));
        assert_eq!(found, fitting.cloned().collect::<Vec<_>>(), "{filter:?}");
    }
    let found = whole.state.histories.unwrap();
    assert!(
        found[1].len() > 5 && found[2].len() > 5 && found[3].len() > 1,
        "{found:?}"
    );
}

#[test]
fn without_its_indexes_the_right_state_is_served_and_they_are_made_again() {
    let whole = Whole::new();
    let indexes: Vec<PathBuf> = whole.files.keys().filter(|file| is_index(file)).cloned().collect();
    assert_eq!(indexes.len(), segments(&whole.files).len() - 1);
    let mut files = whole.files.clone();
    files.retain(|file, _| !is_index(file));
    whole.check(&files, "all indexes removed", Path::new(""), Harmless::Same);
    assert_has_indexes_of(&whole, "all indexes removed");
    for (i, file) in indexes.iter().enumerate() {
        let other = &indexes[(i + 1) % indexes.len()];
        for (damage, bytes) in [
            ("another in its place", whole.files[other].clone()),
            ("garbage in its place", b"garbage".repeat(2000)),
            ("nothing in it", Vec::new()),
        ] {
            let mut files = whole.files.clone();
            files.insert(file.clone(), bytes);
            let damage = format!("{}: {damage}", file.display());
            whole.check(&files, &damage, file, Harmless::Served);
            assert_has_indexes_of(&whole, &damage);
            write_files(whole.scratch.path(), &files);
            let told = told(whole.scratch.path());
            let names = |line: &String| line.contains(file.to_str().unwrap());
            let is_named = told.remade.len() == 1 && told.remade.iter().all(names);
            assert!(is_named && told.faults.is_empty(), "{damage}: {told:?}");
        }
    }
}

/// Behind the back of the process, so that nothing but a search can notice.
#[test]
fn an_index_that_goes_bad_while_it_is_in_use_is_made_again() {
    let whole = Whole::new();
    let folder = whole.scratch.path();
    write_files(folder, &whole.files);
    let shop = Shop::open(folder);
    assert_eq!(shop.state(), whole.state);
    for (file, bytes) in whole.files.iter().filter(|(file, _)| is_index(file)) {
        let path = folder.join(file);
        for at in [0, 4096, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, flipped).unwrap();
            assert_eq!(shop.state(), whole.state, "byte {at} of {}", file.display());
            assert_has_indexes_of(&whole, "a flipped bit");
        }
        std::fs::write(&path, &bytes[..4096]).unwrap();
        assert_eq!(shop.state(), whole.state, "{} cut", file.display());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(shop.state(), whole.state, "{} removed", file.display());
        assert_has_indexes_of(&whole, "its removal");
    }
}

/// After the folder was served.
fn assert_has_indexes_of(whole: &Whole, damage: &str) {
    let served = read_files(whole.scratch.path());
    for (file, bytes) in whole.files.iter().filter(|(file, _)| is_index(file)) {
        assert!(served.get(file) == Some(bytes), "{} after {damage}", file.display());
    }
}

#[test]
fn a_segment_in_the_place_of_another_is_noticed() {
    let whole = Whole::new();
    let all = segments(&whole.files);
    for (i, file) in all.iter().enumerate() {
        let other = &all[(i + 1) % all.len()];
        let mut files = whole.files.clone();
        files.insert(file.clone(), whole.files[other].clone());
        let damage = format!("{} in the place of {}", other.display(), file.display());
        whole.check(&files, &damage, file, Harmless::No);
    }
}

/// With its checksum recomputed, as someone would who wants it to pass.
#[test]
fn an_edited_record_is_noticed_though_its_checksum_is_right() {
    let whole = Whole::new();
    for file in segments(&whole.files) {
        let text = String::from_utf8(whole.files[&file].clone()).unwrap();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| line.contains("\"event\":")) {
            let edited = line.replace("\"requestId\":\"r-1\"", "\"requestId\":\"r-2\"");
            assert_ne!(line, edited);
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines[i] = with_checksum(&edited);
            let mut files = whole.files.clone();
            files.insert(file.clone(), format!("{}\n", lines.join("\n")).into_bytes());
            let damage = format!("line {i} of {} edited", file.display());
            write_files(whole.scratch.path(), &files);
            assert!(!faults(whole.scratch.path()).is_empty(), "{damage}");
            write_files(whole.scratch.path(), &files);
            let refusal = serve(&whole.runtime, whole.scratch.path(), A_DAY_MS).expect_err(&damage);
            whole.assert_names(&refusal, &file, &damage);
        }
    }
}

/// A checkpoint is made while the log goes on: a SKU in it may be further than its head says. If the
/// log ends between the two, what was acknowledged is missing from it.
#[test]
fn a_log_that_ends_before_a_state_in_the_checkpoint_is_noticed() {
    let scratch = scratch();
    let checkpoint = Path::new("checkpoint.json");
    let mut shop = Shop::open(scratch.path());
    shop.write(3);
    let early = shop.close(scratch.path());
    let mut shop = Shop::open(scratch.path());
    shop.write(1);
    let runtime = shop.runtime.clone();
    let between = shop.close(scratch.path());
    let mut shop = Shop::open(scratch.path());
    shop.write(3);
    let late = shop.close(scratch.path());

    let head = |files: &Files| {
        String::from_utf8(files[checkpoint].clone())
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    let states = String::from_utf8(late[checkpoint].clone()).unwrap();
    let (_, states) = states.split_once('\n').unwrap();
    let made_meanwhile = format!("{}\n{states}", head(&early));
    let with_log_of = |files: &Files| {
        let mut files: Files = files
            .iter()
            .filter(|(file, _)| file.starts_with("events"))
            .map(|(f, b)| (f.clone(), b.clone()))
            .collect();
        files.insert(checkpoint.to_owned(), made_meanwhile.clone().into_bytes());
        files
    };
    write_files(scratch.path(), &with_log_of(&late));
    assert!(
        faults(scratch.path()).is_empty(),
        "the whole log is right: {:?}",
        faults(scratch.path())
    );
    assert!(serve(&runtime, scratch.path(), A_DAY_MS).is_ok());
    write_files(scratch.path(), &with_log_of(&between));
    assert!(!faults(scratch.path()).is_empty());
    let served = serve(&runtime, scratch.path(), A_DAY_MS);
    assert!(
        served.is_err(),
        "it serves states that its log does not have: {:#?}",
        served.unwrap()
    );
}

fn with_checksum(line: &str) -> String {
    let rest = &line[18..];
    format!("{{\"crc\":\"{:08x}\",{rest}", crc32c::crc32c(rest.as_bytes()))
}

#[test]
fn a_second_process_on_the_folder_is_refused_and_told_who_has_it() {
    let scratch = scratch();
    let _shop = Shop::open(scratch.path());
    let refusal = holdfast::journal::file::FileJournal::open(&options(scratch.path(), 0))
        .err()
        .unwrap()
        .to_string();
    assert!(
        refusal.contains(&format!("process {}", std::process::id())),
        "{refusal}"
    );
}
