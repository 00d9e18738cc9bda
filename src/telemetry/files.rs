//! Files of lines that follow each other: when one is full it is put aside as `.1`, what was `.1` as `.2`, and the
//! oldest goes. None of them ever passes its size, but for a line that is larger than a whole file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

pub struct Files {
    path: PathBuf,
    max_bytes: u64,
    /// How many there are, the one in use included.
    count: u32,
    /// Else it is a pipe or a device, which is never full, and is not to be put aside.
    is_regular: bool,
    file: File,
    size: u64,
}

/// They name users and SKUs: not for everybody on the machine.
const MODE: u32 = 0o640;

impl Files {
    /// Goes on with what is there.
    pub fn open(path: PathBuf, max_bytes: u64, count: u32) -> io::Result<Self> {
        let file = open(&path)?;
        let about = file.metadata()?;
        Ok(Self {
            path,
            max_bytes,
            count,
            is_regular: about.is_file(),
            file,
            size: about.len(),
        })
    }

    /// Writes of these whole lines as many as there is room for, but at least one; returns how many bytes.
    pub fn write_some(&mut self, lines: &[u8]) -> io::Result<usize> {
        if !self.is_regular {
            self.file.write_all(lines)?;
            return Ok(lines.len());
        }
        let mut fitting = self.fitting(lines);
        if fitting == 0 && self.size > 0 {
            self.put_aside()?;
            fitting = self.fitting(lines);
        }
        if fitting == 0 {
            fitting = lines
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(lines.len(), |end| end + 1);
        }
        if let Err(error) = self.file.write_all(&lines[..fitting]) {
            // Half a line would spoil the next one. Where it cannot be taken back, nothing can be done.
            let _ = self.file.set_len(self.size);
            return Err(error);
        }
        self.size += fitting as u64;
        Ok(fitting)
    }

    /// How many bytes of whole lines there is room for.
    fn fitting(&self, lines: &[u8]) -> usize {
        let room = usize::try_from(self.max_bytes.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let lines = &lines[..lines.len().min(room)];
        lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
    }

    fn put_aside(&mut self) -> io::Result<()> {
        if self.count < 2 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        // Where this was once cut short, the gap is filled, and nothing else lost.
        let is_free = |number: &u32| !self.aside(*number).exists();
        let last = (1..self.count).find(is_free).unwrap_or(self.count - 1);
        for number in (1..=last).rev() {
            match fs::rename(self.aside(number - 1), self.aside(number)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }

    /// The file that was put aside so many files ago; 0 is the one in use.
    fn aside(&self, number: u32) -> PathBuf {
        match number {
            0 => self.path.clone(),
            number => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{number}"));
                name.into()
            }
        }
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// Writes all of it, as the thread does.
    fn write(files: &mut Files, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            rest = &rest[files.write_some(rest).unwrap()..];
        }
    }

    fn contents(folder: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<(String, String)> = entries
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        found.sort();
        found
    }

    fn told(found: &[(&str, &str)]) -> Vec<(String, String)> {
        found
            .iter()
            .map(|(name, text)| (name.to_string(), text.to_string()))
            .collect()
    }

    #[test]
    fn the_last_files_are_kept_whole_lines_each_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::open(folder.path().join("log"), 9, 3).unwrap();
        write(&mut files, "a1\na2\na3\nb1\nb2\nb3\nc1\n");
        let expected = [("log", "c1\n"), ("log.1", "b1\nb2\nb3\n"), ("log.2", "a1\na2\na3\n")];
        assert_eq!(contents(folder.path()), told(&expected));
        write(&mut files, "c2 is long\nd\n");
        let expected = [("log", "d\n"), ("log.1", "c2 is long\n"), ("log.2", "c1\n")];
        assert_eq!(contents(folder.path()), told(&expected));
        let mode = fs::metadata(folder.path().join("log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0);
    }

    #[test]
    fn what_was_begun_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        write(&mut Files::open(path.clone(), 6, 2).unwrap(), "a1\n");
        write(&mut Files::open(path, 6, 2).unwrap(), "a2\nb1\n");
        assert_eq!(contents(folder.path()), told(&[("log", "b1\n"), ("log.1", "a1\na2\n")]));
    }

    #[test]
    fn a_device_is_not_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let mut files = Files::open(path.clone(), 3, 2).unwrap();
        write(&mut files, "a1\nb1\nc1\n");
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(contents(folder.path()), told(&[("log", "")]));
    }

    #[test]
    fn a_single_file_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::open(folder.path().join("log"), 3, 1).unwrap();
        write(&mut files, "a1\nb1\nc1\n");
        assert_eq!(contents(folder.path()), told(&[("log", "c1\n")]));
    }

    #[test]
    fn a_change_of_files_that_was_cut_short_loses_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut files = Files::open(at("log"), 3, 4).unwrap();
        write(&mut files, "a1\nb1\nc1\n");
        // As far as it had come.
        fs::rename(at("log.2"), at("log.3")).unwrap();
        fs::rename(at("log.1"), at("log.2")).unwrap();
        write(&mut files, "d1\n");
        let expected = [("log", "d1\n"), ("log.1", "c1\n"), ("log.2", "b1\n"), ("log.3", "a1\n")];
        assert_eq!(contents(folder.path()), told(&expected));
    }
}
