//! Rows from a data folder, read through the journal page by page.

use super::What;
use super::output::Output;
use super::stock::{ItemForm, LevelForm};
use crate::cli::folder::Folder;
use crate::domain::Event;
use crate::http::forms;
use crate::journal::{HistoryFilter, ItemFilter, Journal};

const PAGE: usize = 1000;

pub async fn export(folder: &Folder, what: What, output: &mut Output) -> anyhow::Result<()> {
    match what {
        What::Stock => stock(&folder.journal, output).await,
        What::Events => events(&folder.journal, output).await,
        What::Movements => movements(&folder.journal, output).await,
    }
}

async fn stock(journal: &impl Journal, output: &mut Output) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = journal.items(&ItemFilter::default(), after.as_ref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (sku, view) in page {
            let levels = view.item.levels.into_iter();
            let levels = levels
                .map(|image| LevelForm::of(image.store_id, &image.level))
                .collect();
            let item = ItemForm::of(sku, view.item.details, levels);
            item.rows().try_for_each(|row| output.write(&row))?;
        }
    }
}

async fn events(journal: &impl Journal, output: &mut Output) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let page = journal.events(after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        let shown = |event: &Event| !event.changes.is_empty() && !event.kind.is_hidden();
        for (seq, event) in page.iter().filter(|(_, event)| shown(event)) {
            output.write(&forms::event(*seq, event))?;
        }
    }
}

/// Newest first, and of one event the last of its changes first, as the API has them.
async fn movements(journal: &impl Journal, output: &mut Output) -> anyhow::Result<()> {
    let filter = HistoryFilter {
        moved: true,
        ..HistoryFilter::default()
    };
    let mut before = u64::MAX;
    loop {
        let page = journal.history(filter.clone(), before, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        before = *last;
        for (seq, event) in &page {
            let moves: Vec<_> = event.moves().collect();
            for (change, one) in moves.iter().rev() {
                output.write(&forms::movement(*seq, event, &event.changes[*change], one))?;
            }
        }
    }
}
