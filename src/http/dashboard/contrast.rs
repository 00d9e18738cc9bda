//! The contrast of the colours that stand on one another, as WCAG 2.2 computes it, in light and in dark.

const STYLE: &str = include_str!("assets/style.css");

/// Text needs 4.5 (AA).
const TEXT: f64 = 4.5;
/// Lines of charts, borders of controls and marks need 3.
const MARK: f64 = 3.0;

/// What stands on what, and how far it must stand out.
const PAIRS: &[(&str, &[&str], f64)] = &[
    ("ink", &["paper", "card", "raised", "warn-wash", "bad-wash"], TEXT),
    ("soft", &["paper", "card", "raised"], TEXT),
    ("accent", &["paper", "card"], TEXT),
    ("on-accent", &["accent"], TEXT),
    ("ok", &["card"], TEXT),
    ("warn", &["card", "warn-wash"], TEXT),
    ("bad", &["paper", "card", "bad-wash"], TEXT),
    ("edge", &["paper", "card", "raised"], MARK),
    ("series-1", &["card"], MARK),
    ("series-2", &["card"], MARK),
];

/// A colour in light and in dark.
fn colour(name: &str) -> [f64; 2] {
    let (_, rest) = STYLE
        .split_once(&format!("\n    --{name}: light-dark("))
        .unwrap_or_else(|| panic!("no colour {name}"));
    let (both, _) = rest.split_once(");").unwrap();
    let (light, dark) = both.split_once(", ").unwrap();
    [light, dark].map(luminance)
}

/// Relative luminance of `#rrggbb`.
fn luminance(hex: &str) -> f64 {
    let digits = hex.strip_prefix('#').filter(|digits| digits.len() == 6).unwrap();
    let channel = |i: usize| {
        let value = f64::from(u8::from_str_radix(&digits[i..i + 2], 16).unwrap()) / 255.0;
        match value <= 0.04045 {
            true => value / 12.92,
            false => ((value + 0.055) / 1.055).powf(2.4),
        }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}

fn contrast(a: f64, b: f64) -> f64 {
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn what_is_read_stands_out_in_light_and_in_dark() {
    assert!((contrast(luminance("#000000"), luminance("#ffffff")) - 21.0).abs() < 1e-9);
    assert!((contrast(luminance("#777777"), luminance("#ffffff")) - 4.48).abs() < 0.01);
    for (front, backs, least) in PAIRS {
        for back in *backs {
            let (fronts, backs) = (colour(front), colour(back));
            for (theme, (front_light, back_light)) in ["light", "dark"].iter().zip(fronts.into_iter().zip(backs)) {
                let found = contrast(front_light, back_light);
                assert!(found >= *least, "{front} on {back} in {theme}: {found:.2} < {least}");
            }
        }
    }
}

/// So that no colour escapes the test above.
#[test]
fn every_colour_is_named_among_the_others() {
    let (names, rest) = STYLE.split_once("}\n").unwrap();
    assert!(names.contains("color-scheme"), "the names do not come first");
    let bare = rest.split('#').skip(1).filter(|after| {
        let digits: String = after.chars().take_while(char::is_ascii_hexdigit).collect();
        let ends_as_colour = after[digits.len()..].starts_with([';', ',', ')', ' ']);
        [3, 4, 6, 8].contains(&digits.len()) && ends_as_colour
    });
    assert_eq!(bare.count(), 0, "a colour stands outside of :root");
}
