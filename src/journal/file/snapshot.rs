//! A file per SKU with its whole state, for people and for `verify`. Recovery does not need them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{private_folder, write_atomically};
use super::line;
use crate::domain::{Sku, StockImage};

/// Longer encoded names are cut, and told apart by a hash: file systems take 255 bytes.
const MAX_NAME: usize = 180;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub sku: Sku,
    /// The last event that it contains.
    pub seq: u64,
    pub stock: StockImage,
}

pub fn encode(sku: Sku, seq: u64, stock: StockImage) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    line::push_object(&mut out, &Snapshot { sku, seq, stock })?;
    Ok(out)
}

pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        private_folder(folder)?;
    }
    write_atomically(path, |out| out.write_all(bytes))
}

pub fn read(bytes: &[u8]) -> Result<Snapshot, line::LineFault> {
    line::read(bytes.trim_ascii_end())
}

/// Spread over 256 folders, as a folder of a million names is slow to list.
pub fn path(folder: &Path, sku: &Sku) -> PathBuf {
    let hash = blake3::hash(sku.as_str().as_bytes()).to_hex();
    folder
        .join("skus")
        .join(&hash[..2])
        .join(format!("{}.json", file_name(sku, &hash)))
}

/// Lower-case letters, digits and `-` stand for themselves, every other byte is `_` and two digits: so
/// any SKU is a safe name, and file systems that ignore case do not merge `85123a` with `85123A`.
fn file_name(sku: &Sku, hash: &str) -> String {
    let mut name = String::new();
    for byte in sku.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => name.push(byte.into()),
            _ => name.push_str(&format!("_{byte:02x}")),
        }
    }
    if name.len() > MAX_NAME {
        name.truncate(MAX_NAME - 40);
        name = format!("{name}__{}", &hash[..32]);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sku: &str) -> String {
        let path = path(Path::new("data"), &Sku::parse(sku).unwrap());
        path.file_name().unwrap().to_str().unwrap().to_lowercase()
    }

    #[test]
    fn no_two_skus_meet_even_where_case_is_ignored() {
        let long = "名".repeat(64);
        let longer = format!("{}x", "名".repeat(63));
        let skus = [
            "85123a", "85123A", "AB/12", "AB_2f12", "_", "__", "...", "a.b", &long, &longer,
        ];
        let names: std::collections::HashSet<_> = skus.iter().map(|sku| name(sku)).collect();
        assert_eq!(names.len(), skus.len());
        assert!(names.iter().all(|name| name.len() <= 200 && !name.contains('/')));
    }

    #[test]
    fn no_sku_leaves_the_folder() {
        for sku in ["../../x", "..x", "/etc/passwd", "a\\..\\b"] {
            let path = path(Path::new("data"), &Sku::parse(sku).unwrap());
            assert_eq!(path.components().count(), 4, "{sku}");
        }
    }
}
