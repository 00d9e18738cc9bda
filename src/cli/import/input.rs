//! The file that is imported: opened, its format found out.

use std::fs::File;
use std::io;
use std::path::Path;

use indicatif::ProgressBar;
use serde_json::Value;

use super::Format;
use crate::domain::StoreId;
use crate::import::text::{Text, unpack};

/// Opens a file, or standard input for `-`; `bar` moves with the bytes of the file.
pub fn open(file: &Path, bar: &ProgressBar) -> anyhow::Result<Text> {
    if is_stdin(file) {
        return Ok(unpack(bar.wrap_read(io::stdin()))?);
    }
    let opened = File::open(file)?;
    let metadata = opened.metadata()?;
    anyhow::ensure!(!metadata.is_dir(), "it is a folder");
    bar.set_length(metadata.len());
    Ok(unpack(bar.wrap_read(opened))?)
}

pub fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

impl Format {
    /// By the name of the file, and where that does not tell, by how it begins.
    pub fn of(file: &Path, head: &[u8]) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv" | "tsv") => Self::Csv,
            Some("ndjson" | "jsonl") => Self::Ndjson,
            _ => Self::of_text(head),
        }
    }

    fn of_text(head: &[u8]) -> Self {
        match head.trim_ascii_start() {
            [b'[', ..] => Self::Json,
            object @ [b'{', ..] if begins_with_a_line_of_its_own(object) => Self::Ndjson,
            [b'{', ..] => Self::Json,
            _ => Self::Csv,
        }
    }
}

/// The first line is a whole object, and of one SKU: a map of one line has SKUs for its names.
fn begins_with_a_line_of_its_own(text: &[u8]) -> bool {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let object = serde_json::from_slice::<Value>(line);
    object.is_ok_and(|object| object["sku"].is_string() && !object["quantity"].is_null())
}

/// The store that the file of an older service is named after: `inventory_<store>.json`.
pub fn store_in_name(file: &Path) -> Option<StoreId> {
    let name = file.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let store = name.strip_prefix("inventory_")?.strip_suffix(".json")?;
    StoreId::parse(store).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_known_by_name_or_by_how_a_file_begins() {
        for (name, text, format) in [
            ("a.csv", "{", Format::Csv),
            ("a.CSV.gz", "", Format::Csv),
            ("a.tsv", "", Format::Csv),
            ("a.ndjson", "sku", Format::Ndjson),
            ("a.jsonl.gz", "", Format::Ndjson),
            ("a.json", " \n[{", Format::Json),
            ("a.json", "{\"sku\":\"A\",\"quantity\":1}\n{\"sku\"", Format::Ndjson),
            ("a.json", "{\"A\":{\"sku\":\"A\",\"quantity\":1}}", Format::Json),
            ("a.json", "{\n\"sku\": 1", Format::Json),
            ("-", "{\"sku\":5,\"quantity\":6}", Format::Json),
            ("-", "sku,quantity", Format::Csv),
            ("-", "", Format::Csv),
        ] {
            assert_eq!(Format::of(Path::new(name), text.as_bytes()), format, "{name} {text}");
        }
    }

    #[test]
    fn a_store_is_known_by_the_name_of_its_file() {
        let store = |name: &str| store_in_name(Path::new(name)).map(|store| store.to_string());
        assert_eq!(store("x/inventory_paris.json").as_deref(), Some("paris"));
        assert_eq!(store("inventory_north_1.json.gz").as_deref(), Some("north_1"));
        for name in [
            "inventory.json",
            "inventory_.json",
            "inventory_paris.csv",
            "stock_paris.json",
            "-",
        ] {
            assert_eq!(store(name), None, "{name}");
        }
    }
}
