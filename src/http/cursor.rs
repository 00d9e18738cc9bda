//! Cursors of paged lists: where the next page begins, and a checksum that ties it to its list.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::problem::Problem;

/// `list` names the list with its filters; `last` is the last row of the page.
pub fn encode(list: &[&str], last: &str) -> String {
    let mut bytes = checksum(list, last).to_be_bytes().to_vec();
    bytes.extend_from_slice(last.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The row behind which the page begins; a cursor of another list, or an edited one, is refused.
pub fn decode(list: &[&str], cursor: &str) -> Result<String, Problem> {
    let decoded = URL_SAFE_NO_PAD.decode(cursor).ok();
    let parts = decoded.as_deref().and_then(|bytes| bytes.split_first_chunk::<4>());
    let last = parts.and_then(|(sum, last)| {
        let last = std::str::from_utf8(last).ok()?;
        (u32::from_be_bytes(*sum) == checksum(list, last)).then(|| last.to_owned())
    });
    last.ok_or_else(|| {
        Problem::invalid(
            "after",
            "it is not a cursor of this list; take `next` of a page as it is",
        )
    })
}

fn checksum(list: &[&str], last: &str) -> u32 {
    let parts = list.iter().chain([&last]);
    parts.fold(0, |sum, part| {
        crc32c::crc32c_append(crc32c::crc32c_append(sum, part.as_bytes()), &[0])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_own_list_only() {
        let cursor = encode(&["levels", "s1"], "AB/12");
        assert_eq!(decode(&["levels", "s1"], &cursor).unwrap(), "AB/12");
        assert!(decode(&["levels", "s2"], &cursor).is_err());
        for i in 0..cursor.len() {
            let other = if cursor[i..].starts_with('A') { "B" } else { "A" };
            let edited = format!("{}{other}{}", &cursor[..i], &cursor[i + 1..]);
            assert!(decode(&["levels", "s1"], &edited).is_err(), "{edited}");
        }
        assert!(decode(&["levels", "s1"], "").is_err());
    }
}
