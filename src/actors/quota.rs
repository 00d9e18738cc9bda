//! How many lines a principal may hold at once, whichever SKUs they are of.
//!
//! What is held, the journal counts; what is under way is pledged here before an actor decides on it, so that no two
//! writes take the same last place. A pledge ends when its write is recorded, and counted by the journal, or refused.
//! Who would pass the limit by what is recorded alone is refused; who would only by what is under way waits for it, as
//! it may come to nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::expiry::Deadlines;
use crate::domain::Principal;
use crate::journal::{Journal, JournalError};

pub struct Quotas {
    /// `None`: there is none.
    limit: Option<u64>,
    accounts: DashMap<Principal, Arc<Account>, RandomState>,
}

/// What one principal has under way.
#[derive(Default)]
struct Account {
    under_way: Mutex<UnderWay>,
    /// Those who wait, one at a time and in their order.
    turn: tokio::sync::Mutex<()>,
    /// A pledge has ended.
    ended: Notify,
}

#[derive(Default)]
struct UnderWay {
    lines: u64,
    waiting: u32,
    /// How many pledges have ended: what the journal said before one did is out of date.
    ended: u64,
}

/// Lines that a write under way may come to hold. It travels with the write, as a claim does.
pub struct Pledge {
    account: Arc<Account>,
    lines: u64,
}

/// Lines that were asked for; without a quota there is nothing to keep.
pub type Asked = Result<Option<Pledge>, Full>;

/// There are not so many left.
pub struct Full {
    pub limit: u64,
    pub free: u64,
}

impl Quotas {
    /// `limit` 0: none.
    pub fn of(limit: u64) -> Self {
        Self {
            limit: Some(limit).filter(|limit| *limit > 0),
            accounts: DashMap::default(),
        }
    }

    /// Whether what a principal holds is counted at all.
    pub fn bind(&self, by: &Principal) -> bool {
        // Without authentication all callers are one, who cannot be held to a quota.
        self.limit.is_some() && !by.is_anonymous()
    }

    /// Pledges lines; waits for what is under way where it depends on that.
    pub async fn ask(
        &self,
        journal: &dyn Journal,
        deadlines: &Deadlines,
        by: &Principal,
        lines: u64,
    ) -> Result<Asked, JournalError> {
        let Some((limit, account)) = self.account(by, lines) else {
            return Ok(Ok(None));
        };
        if account.under_way().waiting == 0
            && let Some(Ok(pledge)) = account.ask(journal, by, limit, lines).await?
        {
            return Ok(Ok(pledge));
        }
        let _waiting = Waiting::on(&account);
        let _turn = account.turn.lock().await;
        let mut is_settled = false;
        loop {
            match account.ask(journal, by, limit, lines).await? {
                None => account.ended.notified().await,
                // Holds that are over may not be recorded yet.
                Some(Err(_)) if !is_settled => {
                    deadlines.settle().await;
                    is_settled = true;
                }
                Some(asked) => return Ok(asked),
            }
        }
    }

    /// The same at once, for whoever may be what it would wait for. `None`: it depends on what is under way.
    pub async fn ask_now(
        &self,
        journal: &dyn Journal,
        by: &Principal,
        lines: u64,
    ) -> Result<Option<Asked>, JournalError> {
        match self.account(by, lines) {
            Some((limit, account)) => account.ask(journal, by, limit, lines).await,
            None => Ok(Some(Ok(None))),
        }
    }

    fn account(&self, by: &Principal, lines: u64) -> Option<(u64, Arc<Account>)> {
        let limit = self.limit.filter(|_| lines > 0 && self.bind(by))?;
        if let Some(account) = self.accounts.get(by) {
            return Some((limit, account.clone()));
        }
        Some((limit, self.accounts.entry(by.clone()).or_default().clone()))
    }
}

impl Account {
    async fn ask(
        self: &Arc<Self>,
        journal: &dyn Journal,
        by: &Principal,
        limit: u64,
        lines: u64,
    ) -> Result<Option<Asked>, JournalError> {
        loop {
            let ended = self.under_way().ended;
            let held = journal.open_lines(by).await?;
            let mut under_way = self.under_way();
            if under_way.ended != ended {
                continue;
            }
            let free = limit.saturating_sub(held);
            if lines > free {
                return Ok(Some(Err(Full { limit, free })));
            }
            if under_way.lines + lines > free {
                return Ok(None);
            }
            under_way.lines += lines;
            let account = self.clone();
            return Ok(Some(Ok(Some(Pledge { account, lines }))));
        }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pledge {
    fn drop(&mut self) {
        let mut under_way = self.account.under_way();
        under_way.lines -= self.lines;
        under_way.ended += 1;
        let is_awaited = under_way.waiting > 0;
        drop(under_way);
        if is_awaited {
            self.account.ended.notify_one();
        }
    }
}

/// Whoever comes while others wait, waits behind them.
struct Waiting<'a>(&'a Account);

impl<'a> Waiting<'a> {
    fn on(account: &'a Account) -> Self {
        account.under_way().waiting += 1;
        Self(account)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.under_way().waiting -= 1;
    }
}
