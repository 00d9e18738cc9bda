//! Which SKUs there are: in order, by store, by the words of their names, and which run low.
//!
//! Lists are read in parts, so that whoever adds a SKU never waits for a long search.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use super::ItemFilter;
use super::figures::StockFigures;
use crate::domain::{Sku, StoreId};

/// Entries that are looked at in one go.
const PART: usize = 4096;

/// An entry of a list, or a place in it where none need be.
#[derive(Clone, PartialEq, Eq)]
struct Listed {
    /// How it begins in lower case: most comparisons end here, without a look at the text elsewhere in memory.
    beginning: [u8; 16],
    entry: Entry,
}

#[derive(Clone, PartialEq, Eq)]
enum Entry {
    Sku(Sku),
    /// Before every SKU that reads so in some case.
    Place(Box<str>),
}

impl Listed {
    fn sku(sku: &Sku) -> Self {
        Self {
            beginning: beginning(sku.as_str()),
            entry: Entry::Sku(sku.clone()),
        }
    }

    fn place(text: &str) -> Self {
        Self {
            beginning: beginning(text),
            entry: Entry::Place(text.into()),
        }
    }

    fn text(&self) -> &str {
        match &self.entry {
            Entry::Sku(sku) => sku.as_str(),
            Entry::Place(text) => text,
        }
    }

    fn into_sku(self) -> Option<Sku> {
        match self.entry {
            Entry::Sku(sku) => Some(sku),
            Entry::Place(_) => None,
        }
    }
}

/// Without regard to case first, so that `85123a` stands beside `85123A`.
impl Ord for Listed {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_beginning = self.beginning.cmp(&other.beginning);
        let by_text = || compare_folded(self.text(), other.text());
        by_beginning
            .then_with(by_text)
            .then_with(|| match (&self.entry, &other.entry) {
                (Entry::Sku(a), Entry::Sku(b)) => a.cmp(b),
                (Entry::Place(_), Entry::Place(_)) => Ordering::Equal,
                (Entry::Place(_), Entry::Sku(_)) => Ordering::Less,
                (Entry::Sku(_), Entry::Place(_)) => Ordering::Greater,
            })
    }
}

impl PartialOrd for Listed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

type Skus = BTreeSet<Listed>;

#[derive(Default)]
pub struct Directory {
    sets: RwLock<Sets>,
}

#[derive(Default)]
struct Sets {
    all: Skus,
    stores: BTreeMap<StoreId, Skus>,
    words: BTreeMap<Box<str>, Skus>,
    low: Skus,
}

/// A part of a list.
#[derive(Default)]
pub struct Part {
    pub skus: Vec<Sku>,
    /// Where to go on, if there may be more.
    pub resume: Option<Sku>,
}

impl Directory {
    pub fn add(&self, sku: &Sku) {
        self.write(|sets| sets.all.insert(Listed::sku(sku)));
    }

    /// What is kept here, counted.
    pub fn figures(&self) -> StockFigures {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        StockFigures {
            items: sets.all.len() as u64,
            levels: sets.stores.values().map(|skus| skus.len() as u64).sum(),
            stores: sets.stores.len() as u64,
            low_items: sets.low.len() as u64,
            ..StockFigures::default()
        }
    }

    /// The SKU is no more. What it was called and where it was has been taken out already.
    pub fn remove(&self, sku: &Sku) {
        self.write(|sets| sets.all.remove(&Listed::sku(sku)));
    }

    pub fn remove_level(&self, sku: &Sku, store: &StoreId) {
        self.write(|sets| {
            if let Some(skus) = sets.stores.get_mut(store) {
                skus.remove(&Listed::sku(sku));
                if skus.is_empty() {
                    sets.stores.remove(store);
                }
            }
        });
    }

    pub fn add_level(&self, sku: &Sku, store: &StoreId) {
        self.write(|sets| {
            sets.all.insert(Listed::sku(sku));
            sets.stores.entry(store.clone()).or_default().insert(Listed::sku(sku));
        });
    }

    pub fn rename(&self, sku: &Sku, before: Option<&str>, after: Option<&str>) {
        if before == after {
            return;
        }
        self.write(|sets| {
            for word in before.into_iter().flat_map(words) {
                if let Some(skus) = sets.words.get_mut(&*word) {
                    skus.remove(&Listed::sku(sku));
                    if skus.is_empty() {
                        sets.words.remove(&*word);
                    }
                }
            }
            for word in after.into_iter().flat_map(words) {
                sets.words.entry(word).or_default().insert(Listed::sku(sku));
            }
        });
    }

    pub fn set_low(&self, sku: &Sku, is_low: bool) {
        self.write(|sets| match is_low {
            true => sets.low.insert(Listed::sku(sku)),
            false => sets.low.remove(&Listed::sku(sku)),
        });
    }

    /// SKUs behind `after` that may fit: whether a level in a store runs low is for the caller to see.
    pub fn find(&self, filter: &ItemFilter, after: Option<&Sku>) -> Part {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        let start = after.map_or(Bound::Unbounded, |sku| Bound::Excluded(Listed::sku(sku)));
        let empty = Skus::new();
        let of_store = |store| sets.stores.get(store).unwrap_or(&empty);
        let in_store = filter.only_store().map(of_store);
        let low = filter.low_stock.then_some(&sets.low);
        let seen = filter.scope.stores().filter(|_| in_store.is_none());
        let seen: Option<Vec<&Skus>> = seen.map(|stores| stores.iter().map(of_store).collect());
        let fits = |sku: &Listed| {
            in_store.is_none_or(|set| set.contains(sku))
                && low.is_none_or(|set| set.contains(sku))
                && seen
                    .as_ref()
                    .is_none_or(|sets| sets.iter().any(|set| set.contains(sku)))
        };
        match &filter.q {
            None => {
                let sets_given = [in_store, low].into_iter().flatten();
                let smallest = sets_given.min_by_key(|set| set.len()).unwrap_or(&sets.all);
                take(smallest.range((start, Bound::Unbounded)), fits)
            }
            Some(q) => merge(sets.with_prefix(q, &start, fits), sets.with_words(q, &start, fits)),
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut Sets) -> T) -> T {
        change(&mut self.sets.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sets {
    fn with_prefix(&self, q: &str, after: &Bound<Listed>, fits: impl Fn(&Listed) -> bool) -> Part {
        let first = Listed::place(q);
        let start = match after {
            Bound::Excluded(after) if *after > first => Bound::Excluded(after.clone()),
            _ => Bound::Included(first),
        };
        let range = self.all.range((start, Bound::Unbounded));
        take(range.take_while(|sku| starts_with_folded(sku.text(), q)), fits)
    }

    fn with_words(&self, q: &str, after: &Bound<Listed>, fits: impl Fn(&Listed) -> bool) -> Part {
        let sets: Option<Vec<&Skus>> = words(q).map(|word| self.words.get(&word)).collect();
        let mut sets = sets.unwrap_or_default();
        sets.sort_by_key(|set| set.len());
        let Some((smallest, others)) = sets.split_first() else {
            return Part::default();
        };
        let range = smallest.range((after.clone(), Bound::Unbounded));
        take(range, |sku| others.iter().all(|set| set.contains(sku)) && fits(sku))
    }
}

/// Looks at no more than [`PART`] entries.
fn take<'a>(entries: impl Iterator<Item = &'a Listed>, fits: impl Fn(&Listed) -> bool) -> Part {
    let mut part = Part::default();
    let mut last: Option<&Sku> = None;
    for (i, entry) in entries.enumerate() {
        let Entry::Sku(sku) = &entry.entry else { continue };
        if i == PART {
            part.resume = last.cloned();
            break;
        }
        last = Some(sku);
        if fits(entry) {
            part.skus.push(sku.clone());
        }
    }
    part
}

/// Two parts of the same list, in its order; what lies behind the end of an unfinished one is left for the next part.
fn merge(a: Part, b: Part) -> Part {
    let ends = [&a.resume, &b.resume].into_iter().flatten();
    let end = ends.map(Listed::sku).min();
    let all: Skus = a.skus.iter().chain(&b.skus).map(Listed::sku).collect();
    let within = all.into_iter().filter(|sku| end.as_ref().is_none_or(|end| sku <= end));
    Part {
        skus: within.filter_map(Listed::into_sku).collect(),
        resume: end.and_then(Listed::into_sku),
    }
}

/// Whether a search for `q` finds what has this id and this name: by the beginning of the id, or by words of the name, in
/// any case.
pub fn finds(q: &str, id: &str, name: &str) -> bool {
    let named: Vec<Box<str>> = words(name).collect();
    let mut asked = words(q).peekable();
    starts_with_folded(id, q) || asked.peek().is_some() && asked.all(|word| named.contains(&word))
}

/// The words of a text, in lower case.
fn words(text: &str) -> impl Iterator<Item = Box<str>> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.to_lowercase().into_boxed_str())
}

/// Zeros behind a shorter text come before every character that an id may have.
fn beginning(text: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    if text.is_ascii() {
        let folded = text.bytes().map(|byte| byte.to_ascii_lowercase());
        bytes.iter_mut().zip(folded).for_each(|(at, byte)| *at = byte);
    } else {
        let folded: String = fold(text).take(16).collect();
        bytes.iter_mut().zip(folded.bytes()).for_each(|(at, byte)| *at = byte);
    }
    bytes
}

fn fold(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

fn compare_folded(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        let [a, b] = [a, b].map(|text| text.bytes().map(|byte| byte.to_ascii_lowercase()));
        return a.cmp(b);
    }
    fold(a).cmp(fold(b))
}

fn starts_with_folded(text: &str, prefix: &str) -> bool {
    let mut text = fold(text);
    fold(prefix).all(|c| text.next() == Some(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Scope;

    fn sku(text: &str) -> Sku {
        Sku::parse(text).unwrap()
    }

    fn directory(items: &[(&str, &str)]) -> Directory {
        let directory = Directory::default();
        for (id, name) in items {
            directory.add_level(&sku(id), &StoreId::parse("s").unwrap());
            directory.rename(&sku(id), None, Some(name));
        }
        directory
    }

    fn find(directory: &Directory, q: &str, after: Option<&str>) -> Vec<String> {
        let filter = ItemFilter {
            q: Some(q.to_owned()),
            ..ItemFilter::default()
        };
        let part = directory.find(&filter, after.map(sku).as_ref());
        part.skus.iter().map(|sku| sku.to_string()).collect()
    }

    #[test]
    fn a_search_finds_the_beginning_of_a_sku_and_words_of_a_name_in_any_case() {
        let directory = directory(&[
            ("AB/12", "White Heart"),
            ("ab 3", "GRÖSSE 38"),
            ("AB 1", ""),
            ("c", "heart of ab"),
            ("...", "dots"),
        ]);
        assert_eq!(find(&directory, "ab", None), ["AB 1", "ab 3", "AB/12", "c"]);
        assert_eq!(find(&directory, "Ab ", None), ["AB 1", "ab 3", "c"]);
        assert_eq!(find(&directory, "ab", Some("ab 3")), ["AB/12", "c"]);
        assert_eq!(find(&directory, "HEART white", None), ["AB/12"]);
        assert_eq!(find(&directory, "größe", None), Vec::<String>::new());
        assert_eq!(find(&directory, "grösse", None), ["ab 3"]);
        assert_eq!(find(&directory, ".", None), ["..."]);
        directory.rename(&sku("c"), Some("heart of ab"), Some("stone"));
        assert_eq!(find(&directory, "heart", None), ["AB/12"]);
    }

    #[test]
    fn who_sees_some_stores_finds_what_lies_in_any_of_them() {
        let directory = Directory::default();
        for (id, name) in [("a", "s"), ("b", "t"), ("c", "u"), ("d", "t"), ("e", "u")] {
            directory.add_level(&sku(id), &StoreId::parse(name).unwrap());
            directory.rename(&sku(id), None, Some("heart"));
        }
        let found = |names: &[&str], store: Option<&str>, q: Option<&str>| {
            let stores: Vec<StoreId> = names.iter().map(|name| StoreId::parse(name).unwrap()).collect();
            let filter = ItemFilter {
                q: q.map(str::to_owned),
                store: store.map(|name| StoreId::parse(name).unwrap()),
                scope: Scope::of(&stores),
                ..ItemFilter::default()
            };
            let skus = directory.find(&filter, None).skus;
            skus.iter().map(|sku| sku.to_string()).collect::<String>()
        };
        assert_eq!(found(&["t"], None, None), "bd");
        assert_eq!(found(&["t", "s"], None, None), "abd");
        assert_eq!(found(&["t", "s"], None, Some("heart")), "abd");
        assert_eq!(found(&["t", "s"], Some("s"), None), "a");
        assert_eq!(found(&["nowhere"], None, None), "");
        assert_eq!(found(&[], None, None), "");
    }

    #[test]
    fn a_long_search_goes_on_where_it_stopped_and_misses_nothing() {
        let directory = Directory::default();
        for i in 0..3 * PART {
            let sku = sku(&format!("x{i:06}"));
            directory.add_level(&sku, &StoreId::parse("s").unwrap());
            directory.rename(&sku, None, Some(if i % 2 == 0 { "x even" } else { "odd" }));
        }
        for (q, expected) in [("x", 3 * PART), ("even", 3 * PART / 2)] {
            let filter = ItemFilter {
                q: Some(q.to_owned()),
                ..ItemFilter::default()
            };
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let part = directory.find(&filter, after.as_ref());
                found.extend(part.skus);
                match part.resume {
                    Some(resume) => after = Some(resume),
                    None => break,
                }
            }
            let distinct: BTreeSet<_> = found.iter().collect();
            assert_eq!((found.len(), distinct.len()), (expected, expected));
        }
    }
}
