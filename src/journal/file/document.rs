//! Documents that are made from the log: a file of one line each, beside the checkpoint.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::disk::write_atomically;
use super::line;
use crate::journal::{Document, Kept};

pub fn path(folder: &Path, document: Document) -> PathBuf {
    folder.join(match document {
        Document::Totals => "central.json",
        Document::Sales => "sales.json",
        Document::Deliveries => "deliveries.json",
    })
}

pub fn write(folder: &Path, document: Document, kept: &Kept) -> io::Result<()> {
    let mut bytes = Vec::new();
    line::push_object(&mut bytes, kept)?;
    write_atomically(&path(folder, document), |out| out.write_all(&bytes))
}

/// What was kept last; a fault names the file.
pub fn read(folder: &Path, document: Document) -> Result<Option<Kept>, String> {
    let path = path(folder, document);
    let name = |fault: &dyn std::fmt::Display| format!("{}: {fault}", path.display());
    match std::fs::read(&path) {
        Ok(bytes) => line::read(bytes.trim_ascii_end())
            .map(Some)
            .map_err(|fault| name(&fault)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(name(&error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_flipped_bit_is_noticed_and_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept {
            seq: 7,
            body: RawValue::from_string("{\"stores\":[]}".to_owned()).unwrap(),
        };
        write(folder.path(), Document::Totals, &kept).unwrap();
        let path = path(folder.path(), Document::Totals);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let fault = read(folder.path(), Document::Totals).unwrap_err();
        assert!(fault.contains("central.json: its checksum does not match"), "{fault}");
    }
}
