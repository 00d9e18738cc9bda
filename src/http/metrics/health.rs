//! Whether what is measured is as it should be, in three sentences: that it works at all, that it has what it needs, and
//! that it does what it is for.

use schemars::JsonSchema;
use serde::Serialize;

use super::forms::rounded;
use super::reading::Reading;
use crate::domain::Timestamp;

/// How the service does, judged.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HealthMetrics")]
pub struct HealthForm {
    /// The worst of the three.
    status: Status,
    basic: BasicForm,
    detailed: DetailedForm,
    business: BusinessForm,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "MetricsStatus")]
pub enum Status {
    /// As it should be.
    #[default]
    Ok,
    /// Somebody should look at it.
    Warn,
    /// Somebody must look at it now.
    Fail,
}

/// Whether it takes requests and writes.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BasicHealth")]
struct BasicForm {
    status: Status,
    /// For a person.
    sentence: String,
    uptime_seconds: u64,
    version: &'static str,
}

/// Whether it has what it needs.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DetailedHealth")]
struct DetailedForm {
    status: Status,
    /// For a person.
    sentence: String,
    /// The share of requests of the last minute that were answered with 500 or above.
    error_rate_one_minute: f64,
    /// The same of five minutes.
    error_rate_five_minutes: f64,
    /// Of the last five minutes.
    p99_micros: u64,
    commands_waiting: u64,
    longest_queue: u64,
    queue_limit: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_open_files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_free_bytes: Option<u64>,
}

/// Whether it does what it is for.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BusinessHealth")]
struct BusinessForm {
    status: Status,
    /// For a person.
    sentence: String,
    /// Of the stock operations of the last five minutes, the share that took effect. A refusal is no failure: stock that is
    /// not there cannot be sold.
    success_share: f64,
    /// Operations of the last five minutes that took effect.
    succeeded: u64,
    /// Operations of the last five minutes that were refused.
    refused: u64,
    /// Differences between two that must say the same: it must be 0.
    drift: u64,
    /// When it was looked for them last, which is done every 10 s; left out before the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_at: Option<Timestamp>,
    /// What was compared, a few SKUs at a time, in turn.
    comparisons: Vec<ComparisonForm>,
}

/// Two that must say the same.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Comparison")]
struct ComparisonForm {
    between: &'static str,
    /// How often, since the start of the service.
    compared: u64,
    /// How often they were not the same, since the start.
    differing: u64,
    /// The last difference, or why they could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    /// When they were compared last.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

/// With fewer requests a share says little.
const ENOUGH_REQUESTS: u64 = 20;
const HIGH_ERROR_RATE: f64 = 0.01;
const VERY_HIGH_ERROR_RATE: f64 = 0.1;
const SLOW_MICROS: u64 = 1_000_000;
/// Of what may be used at most, so much is near the end.
const NEARLY_ALL: f64 = 0.8;
const LITTLE_DISK_BYTES: u64 = 1 << 30;

impl HealthForm {
    pub fn of(reading: &Reading) -> Self {
        let (basic, detailed, business) = (
            BasicForm::of(reading),
            DetailedForm::of(reading),
            BusinessForm::of(reading),
        );
        Self {
            status: basic.status.max(detailed.status).max(business.status),
            basic,
            detailed,
            business,
        }
    }
}

/// What is not as it should be, the worst of it first.
fn judge(found: impl IntoIterator<Item = (bool, Status, String)>, all_is_well: &str) -> (Status, String) {
    let mut faults: Vec<(Status, String)> = found
        .into_iter()
        .filter(|(is_so, ..)| *is_so)
        .map(|(_, status, sentence)| (status, sentence))
        .collect();
    faults.sort_by_key(|(status, _)| std::cmp::Reverse(*status));
    let Some((worst, _)) = faults.first() else {
        return (Status::Ok, all_is_well.to_owned());
    };
    let worst = *worst;
    let sentences: Vec<String> = faults.into_iter().map(|(_, sentence)| sentence).collect();
    (worst, sentences.join(" "))
}

impl BasicForm {
    fn of(reading: &Reading) -> Self {
        let reason = reading.refusing.iter();
        let refused = reason.map(|reason| (true, Status::Fail, format!("Writes are refused: {reason}.")));
        let (status, sentence) = judge(refused, "It takes reads and writes.");
        Self {
            status,
            sentence,
            uptime_seconds: reading.uptime.as_secs(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl DetailedForm {
    fn of(reading: &Reading) -> Self {
        let (minute, five) = (&reading.lately.minute, &reading.lately.five_minutes);
        let (workload, process, disk) = (&reading.workload, &reading.process, reading.standing.disk_free_bytes);
        let (rate, p99) = (five.error_rate(), five.tally.micros.percentile(99.0));
        let is_judged = five.tally.requests >= ENOUGH_REQUESTS;
        let failed = format!("{:.1} % of the requests of five minutes failed.", rate * 100.0);
        let (files, most_files) = (
            process.open_files.unwrap_or(0),
            process.max_open_files.unwrap_or(u64::MAX),
        );
        let (status, sentence) = judge(
            [
                (is_judged && rate > VERY_HIGH_ERROR_RATE, Status::Fail, failed.clone()),
                (
                    is_judged && (HIGH_ERROR_RATE..=VERY_HIGH_ERROR_RATE).contains(&rate),
                    Status::Warn,
                    failed,
                ),
                (
                    is_judged && p99 > SLOW_MICROS,
                    Status::Warn,
                    format!("One request in a hundred takes {} ms or more.", p99 / 1000),
                ),
                (
                    is_near(workload.longest_queue, workload.queue_limit),
                    Status::Warn,
                    format!("{} commands wait for one SKU.", workload.longest_queue),
                ),
                (
                    is_near(files, most_files),
                    Status::Warn,
                    format!("{files} of {most_files} files are open."),
                ),
                (
                    disk.is_some_and(|free| free < LITTLE_DISK_BYTES),
                    Status::Warn,
                    format!("The disk has only {} MiB left.", disk.unwrap_or(0) >> 20),
                ),
            ],
            "It has what it needs.",
        );
        Self {
            status,
            sentence,
            error_rate_one_minute: rounded(minute.error_rate()),
            error_rate_five_minutes: rounded(rate),
            p99_micros: p99,
            commands_waiting: workload.commands_waiting,
            longest_queue: workload.longest_queue,
            queue_limit: workload.queue_limit,
            resident_bytes: process.resident_bytes,
            open_files: process.open_files,
            max_open_files: process.max_open_files,
            disk_free_bytes: disk,
        }
    }
}

fn is_near(used: u64, most: u64) -> bool {
    used as f64 > most as f64 * NEARLY_ALL
}

impl BusinessForm {
    fn of(reading: &Reading) -> Self {
        let five = &reading.lately.five_minutes;
        let drift = reading.drift.iter().map(|found| found.differing).sum();
        let faults = reading.drift.iter().map(|found| {
            let differs = found.differing > 0;
            let status = if differs { Status::Fail } else { Status::Warn };
            let fault = found.fault.clone().unwrap_or_default();
            (found.fault.is_some(), status, format!("Of {}: {fault}.", found.between))
        });
        let (status, sentence) = judge(faults, "What is shown is what the log says.");
        Self {
            status,
            sentence,
            success_share: rounded(five.success_share()),
            succeeded: five.tally.succeeded,
            refused: five.tally.refused,
            drift,
            checked_at: reading.drift_checked_at,
            comparisons: reading
                .drift
                .iter()
                .map(|found| ComparisonForm {
                    between: found.between,
                    compared: found.compared,
                    differing: found.differing,
                    fault: found.fault.clone(),
                    at: found.at,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_fault_decides_and_is_told_first() {
        let fault = |is_so, status, sentence: &str| (is_so, status, sentence.to_owned());
        assert_eq!(judge([], "well"), (Status::Ok, "well".to_owned()));
        assert_eq!(judge([fault(false, Status::Fail, "a")], "well").0, Status::Ok);
        let told = judge(
            [
                fault(true, Status::Warn, "a."),
                fault(true, Status::Fail, "b."),
                fault(true, Status::Warn, "c."),
            ],
            "well",
        );
        assert_eq!(told, (Status::Fail, "b. a. c.".to_owned()));
    }

    #[test]
    fn what_is_nearly_used_up_is_told_and_what_has_no_limit_is_not() {
        assert!(is_near(82, 100) && !is_near(80, 100) && !is_near(1 << 40, u64::MAX));
    }
}
