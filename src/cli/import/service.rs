//! Lines into a running service: batches over several connections, all lines of a SKU over the same one, so
//! that they arrive in their order.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use foldhash::fast::FixedState;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Lines;
use super::report::Report;
use crate::cli::client::{Call, Client, Service};
use crate::cli::retry::{GaveUp, Patience};
use crate::domain::{Details, Sku, StoreId};
use crate::import::row::{Fault, Line, Row};

const CONNECTIONS: usize = 4;
/// Operations in a batch.
const BATCH_LINES: usize = 1000;
/// A batch is closed when its body has so many bytes: the service takes 4 MiB, and a line has some 50 KiB at most.
const BATCH_BYTES: usize = 3 << 20;
/// An operation that is answered 503 is sent again so often, under the same key.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

pub struct ServiceTarget {
    service: Arc<Service>,
    uri: Uri,
    dry_run: bool,
    /// Begins every idempotency key, so that no two runs share one.
    run: Uuid,
}

/// What became of some lines.
struct Outcome {
    imported: u64,
    refused: Vec<(u64, Fault)>,
}

impl ServiceTarget {
    /// Looks first whether there is a service: a wrong address shows at once.
    pub async fn reach(url: &str, dry_run: bool) -> anyhow::Result<Self> {
        let service = Arc::new(Service::parse(url)?);
        service.reach().await.with_context(|| url.to_owned())?;
        Ok(Self {
            uri: Uri::try_from(service.path("/api/inventory/batch"))?,
            service,
            dry_run,
            run: Uuid::now_v7(),
        })
    }

    pub async fn import(self, lines: &mut Lines, report: &mut Report) -> anyhow::Result<()> {
        let target = Arc::new(self);
        let (outcomes, answered) = channel(2 * CONNECTIONS);
        let mut connections = JoinSet::new();
        let senders = (0..CONNECTIONS).map(|_| {
            let (sender, batches) = channel(1);
            connections.spawn(target.clone().connection(batches, outcomes.clone()));
            sender
        });
        let spread = Spread::new(senders.collect(), outcomes, target.dry_run);
        let (spread, reported) = tokio::join!(spread.run(lines), report_all(answered, report));
        let imported = report.summary.imported;
        while let Some(ended) = connections.join_next().await {
            ended?.with_context(|| {
                format!(
                    "stopped; {imported} lines are in, and others may be; import the file again: counting again leaves the \
                     same levels"
                )
            })?;
        }
        reported.and(spread)
    }

    /// Sends the batches of one connection, each when the one before has its answer.
    async fn connection(
        self: Arc<Self>,
        mut batches: Receiver<Batch>,
        outcomes: Sender<Outcome>,
    ) -> anyhow::Result<()> {
        let mut client = Client::new(self.service.clone());
        while let Some(batch) = batches.recv().await {
            let outcome = self.send(&mut client, batch).await?;
            if outcomes.send(outcome).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn send(&self, client: &mut Client, batch: Batch) -> anyhow::Result<Outcome> {
        let key = HeaderValue::try_from(format!("{}-{}", self.run, batch.number))?;
        let call = Call {
            method: Method::POST,
            uri: self.uri.clone(),
            body: Bytes::from(batch.body),
            key: (!self.dry_run).then_some(key),
        };
        let mut attempt = 1;
        loop {
            let results = results(client, &call, batch.lines.len()).await?;
            if attempt == ATTEMPTS || !results.iter().any(OperationResult::may_pass) {
                return Ok(Outcome::of(&batch.lines, results));
            }
            attempt += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn results(client: &mut Client, call: &Call, lines: usize) -> anyhow::Result<Vec<OperationResult>> {
    let answer = match Patience::new(GIVE_UP_AFTER).send(client, call).await {
        Ok(answer) if answer.status == StatusCode::OK => answer,
        Ok(answer) => bail!(client.refusal("the service refused a batch", &answer)),
        Err(GaveUp { last }) => bail!("given up after {} s: {last}", GIVE_UP_AFTER.as_secs()),
    };
    let BatchAnswer { results } =
        serde_json::from_slice(&answer.body).context("the answer to a batch is not as promised")?;
    let in_order = results.iter().enumerate().all(|(i, result)| result.index == i);
    ensure!(
        in_order && results.len() == lines,
        "the answer to a batch of {lines} operations tells of others"
    );
    Ok(results)
}

async fn report_all(mut answered: Receiver<Outcome>, report: &mut Report) -> anyhow::Result<()> {
    while let Some(Outcome { imported, refused }) = answered.recv().await {
        report.imported(imported);
        for (line, fault) in refused {
            report.refused(line, fault)?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct BatchAnswer {
    results: Vec<OperationResult>,
}

#[derive(Deserialize)]
struct OperationResult {
    index: usize,
    status: u16,
    error: Option<String>,
    detail: Option<String>,
}

impl OperationResult {
    fn may_pass(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE.as_u16()
    }

    fn fault(self) -> Option<Fault> {
        let error = self.error.unwrap_or_else(|| self.status.to_string());
        let message = match self.detail {
            Some(detail) => format!("{error}: {detail}"),
            None => error,
        };
        (self.status >= 400).then(|| Fault::of_line(message))
    }
}

impl Outcome {
    fn of(lines: &[u64], results: Vec<OperationResult>) -> Self {
        let faults = lines.iter().zip(results);
        let refused: Vec<_> = faults
            .filter_map(|(line, result)| Some((*line, result.fault()?)))
            .collect();
        Self {
            imported: (lines.len() - refused.len()) as u64,
            refused,
        }
    }
}

/// The lines that one connection sends together.
#[derive(Default)]
struct Batch {
    number: u64,
    lines: Vec<u64>,
    body: Vec<u8>,
}

/// An operation of a batch, as the service takes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation<'a> {
    op: &'static str,
    sku: &'a Sku,
    store_id: &'a StoreId,
    quantity: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reorder_point: Option<u64>,
    #[serde(flatten)]
    details: &'a Details,
}

impl Batch {
    fn add(&mut self, line: u64, row: &Row) -> anyhow::Result<()> {
        let separator: &[u8] = if self.lines.is_empty() {
            b"{\"operations\":["
        } else {
            b","
        };
        self.body.extend_from_slice(separator);
        let operation = Operation {
            op: "set",
            sku: &row.sku,
            store_id: &row.store_id,
            quantity: row.quantity,
            reorder_point: row.reorder_point,
            details: &row.details,
        };
        serde_json::to_writer(&mut self.body, &operation)?;
        self.lines.push(line);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_LINES || self.body.len() >= BATCH_BYTES
    }
}

/// Hands the lines to the connections.
struct Spread {
    connections: Vec<Sender<Batch>>,
    /// What is being filled for each of them.
    batches: Vec<Batch>,
    outcomes: Sender<Outcome>,
    hasher: FixedState,
    dry_run: bool,
    sent: u64,
}

impl Spread {
    fn new(connections: Vec<Sender<Batch>>, outcomes: Sender<Outcome>, dry_run: bool) -> Self {
        Self {
            batches: connections.iter().map(|_| Batch::default()).collect(),
            connections,
            outcomes,
            hasher: FixedState::default(),
            dry_run,
            sent: 0,
        }
    }

    /// Ends with the lines, or when a connection or the report has ended, which then says why.
    async fn run(mut self, lines: &mut Lines) -> anyhow::Result<()> {
        while let Some(batch) = lines.recv().await {
            for line in batch {
                if !self.take(line).await? {
                    return Ok(());
                }
            }
        }
        for connection in 0..self.connections.len() {
            if !self.batches[connection].lines.is_empty() && !self.send(connection).await {
                break;
            }
        }
        Ok(())
    }

    async fn take(&mut self, line: Line) -> anyhow::Result<bool> {
        let row = match line.read {
            Ok(row) => row,
            Err(fault) => {
                let outcome = Outcome {
                    imported: 0,
                    refused: vec![(line.number, fault)],
                };
                return Ok(self.outcomes.send(outcome).await.is_ok());
            }
        };
        let connection = self.hasher.hash_one(&row.sku) as usize % self.connections.len();
        let batch = &mut self.batches[connection];
        batch.add(line.number, &row)?;
        if batch.is_full() {
            return Ok(self.send(connection).await);
        }
        Ok(true)
    }

    async fn send(&mut self, connection: usize) -> bool {
        let mut batch = std::mem::take(&mut self.batches[connection]);
        let end: &[u8] = if self.dry_run { b"],\"dryRun\":true}" } else { b"]}" };
        batch.body.extend_from_slice(end);
        self.sent += 1;
        batch.number = self.sent;
        self.connections[connection].send(batch).await.is_ok()
    }
}
