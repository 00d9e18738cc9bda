//! Jobs on a journal that fails on demand, and on folders as a kill leaves them.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::actors::{Options, Settings};
use crate::domain::command::{Reserve, Set};
use crate::domain::{
    Action, Expected, Level, Origin, Principal, Request, RequestId, Resource, Scope, Sku, StoreId, SyncSchedule,
};
use crate::import::Format;
use crate::import::row::LineError;
use crate::journal::contract::Fault;
use crate::journal::memory::MemoryJournal;

const DAY_MS: i64 = 24 * 3_600_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// A journal, an inventory on it, and a folder for jobs.
struct House {
    journal: Arc<MemoryJournal>,
    inventory: Arc<Inventory>,
    folder: tempfile::TempDir,
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(House) -> F) {
    actix_web::rt::System::new().block_on(async {
        let journal = Arc::new(MemoryJournal::new(DAY_MS));
        let settings = Settings {
            queue_limit: 8,
            idle_after: Duration::from_millis(50),
            snapshot_interval: Duration::from_secs(1),
            snapshots_per_second: 1,
            open_holds: 0,
            strict_catalogue: false,
            sync: SyncSchedule::of_setting(0),
            is_recording: true,
        };
        let inventory = Inventory::start(journal.clone(), settings);
        let folder = tempfile::tempdir().unwrap();
        test(House {
            journal,
            inventory,
            folder,
        })
        .await;
    });
}

impl House {
    fn jobs(&self) -> Arc<Jobs> {
        let settings = JobSettings {
            retention_ms: DAY_MS,
            authenticates: false,
        };
        let describe = |error| format!("{error:?}");
        Jobs::start(self.inventory.clone(), self.folder.path(), settings, describe).unwrap()
    }

    fn files(&self) -> Files {
        Files::open(self.folder.path()).unwrap().0
    }

    async fn act(&self, action: Action) {
        let request = Request {
            sku: Sku::parse("A").unwrap(),
            store_id: StoreId::default_store(),
            action,
            resource: Resource::Level,
            expected: Expected::default(),
            origin: Arc::new(Origin {
                by: Principal::anonymous(),
                request_id: RequestId::parse("r").unwrap(),
                scope: Scope::default(),
            }),
        };
        self.inventory.execute(request, Options::default()).await.unwrap();
    }

    async fn hold(&self, quantity: u64) {
        let set = Set {
            quantity: 10,
            ..Set::default()
        };
        self.act(Action::Set(set.into())).await;
        self.act(Action::Reserve(Reserve {
            quantity,
            reservation_id: new_id().into(),
            is_taken: false,
            over_quota: None,
            ttl_seconds: None,
            reference: None,
        }))
        .await;
    }

    async fn level(&self) -> Level {
        let (sku, store) = (Sku::parse("A").unwrap(), StoreId::default_store());
        self.inventory.level(&sku, &store).await.unwrap().unwrap()
    }

    /// Leaves the job as a kill does that comes after its lines are in, and before that is written down.
    fn forget_progress(&self, job: &Job, text: &str) -> Job {
        let mut before = job.as_made();
        before.begin(self.inventory.now());
        self.files().save(&before).unwrap();
        std::fs::write(self.files().input(&job.id), text).unwrap();
        before
    }
}

fn asked() -> Asked {
    Asked {
        format: Format::Csv,
        default_store: StoreId::default_store(),
        dry_run: false,
        by: Principal::anonymous(),
        request_id: RequestId::parse("r").unwrap(),
        key: None,
    }
}

async fn submit(jobs: &Jobs, text: &str) -> String {
    let admission = jobs.admit(None, &Principal::anonymous()).ok().unwrap();
    let spool = jobs.spool(admission, 0).await.unwrap();
    let spool = spool.write(text.into()).await.unwrap();
    match jobs.submit(spool, asked()).await.unwrap() {
        Submitted::New(view) => view.job.id.to_string(),
        _ => panic!("it was there already"),
    }
}

async fn ended(jobs: &Jobs, id: &str) -> Job {
    let job = jobs.wait(id, PATIENCE).await.unwrap().job;
    assert!(job.status.is_over(), "{job:?}");
    job
}

/// Brings a text in, and ends the service.
async fn brought_in(house: &House, text: &str) -> Job {
    let jobs = house.jobs();
    let id = submit(&jobs, text).await;
    let job = ended(&jobs, &id).await;
    jobs.stop().await;
    job
}

async fn errors(jobs: &Jobs, job: &Job) -> Vec<LineError> {
    jobs.errors(job).await.unwrap().next(1000).unwrap()
}

#[test]
fn a_chunk_that_is_in_already_is_not_brought_in_again_over_what_was_sold_since() {
    run(|house| async move {
        const TEXT: &str = "sku,quantity\nA,10\nB,x\n";
        let first = brought_in(&house, TEXT).await;
        house
            .act(Action::Adjust {
                delta: -3,
                movement: crate::domain::Movement::Sale,
                note: None,
            })
            .await;
        house.forget_progress(&first, TEXT);
        let jobs = house.jobs();
        let again = ended(&jobs, &first.id).await;
        assert_eq!((again.done.imported, again.done.failed), (1, 1));
        assert_eq!((house.level().await.quantity, house.level().await.version), (7, 2));
        assert_eq!(errors(&jobs, &again).await.len(), 1);
    });
}

#[test]
fn a_line_that_was_refused_before_a_kill_is_not_taken_behind_a_later_one_that_is_in() {
    run(|house| async move {
        const TEXT: &str = "sku,quantity\nA,0\nA,7\n";
        house.hold(5).await;
        let first = brought_in(&house, TEXT).await;
        assert_eq!((first.done.imported, first.done.failed), (1, 1));
        house.act(Action::ReleaseQuantity { quantity: 5 }).await;
        house.forget_progress(&first, TEXT);
        let jobs = house.jobs();
        let again = ended(&jobs, &first.id).await;
        assert_eq!((again.done.imported, again.done.failed), (1, 1));
        assert_eq!(house.level().await.quantity, 7);
        let errors = errors(&jobs, &again).await;
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<u64>>(), [2]);
    });
}

#[test]
fn a_job_whose_keys_may_be_gone_fails_and_brings_nothing_in() {
    run(|house| async move {
        const TEXT: &str = "sku,quantity\nA,10\n";
        let first = brought_in(&house, TEXT).await;
        let mut stale = house.forget_progress(&first, TEXT);
        let long_ago = house.inventory.now().as_millis() - 2 * DAY_MS;
        stale.progress_at = Some(Timestamp::from_millis(long_ago));
        house.files().save(&stale).unwrap();
        let jobs = house.jobs();
        let failed = ended(&jobs, &first.id).await;
        assert_eq!(failed.status, Status::Failed);
        let error = failed.error.unwrap();
        assert!(error.starts_with("The service was away for longer than"), "{error}");
        assert_eq!(house.level().await.version, 1);
    });
}

#[test]
fn a_start_carries_out_what_waits_but_not_what_may_be_in_by_keys_that_are_gone() {
    run(|house| async move {
        const TEXT: &str = "sku,quantity\nA,10\n";
        let made = brought_in(&house, TEXT).await;
        let mut waiting = house.forget_progress(&made, TEXT).as_made();
        house.files().save(&waiting).unwrap();
        assert_eq!(ended(&house.jobs(), &made.id).await.status, Status::Succeeded);
        assert_eq!(
            house.level().await.version,
            1,
            "the log had it already, as that of a backup may"
        );
        waiting.created_at = Timestamp::from_millis(house.inventory.now().as_millis() - 30 * DAY_MS);
        house.forget_progress(&made, TEXT);
        house.files().save(&waiting).unwrap();
        assert_eq!(ended(&house.jobs(), &made.id).await.status, Status::Failed);
    });
}

#[test]
fn what_a_crash_left_of_a_body_or_of_a_removal_is_cleared_away() {
    run(|house| async move {
        let job = brought_in(&house, "sku,quantity\nA,10\n").await;
        let files = house.files();
        std::fs::rename(files.folder(&job.id), files.unwhole(&job.id)).unwrap();
        let jobs = house.jobs();
        assert!(jobs.get(&job.id).is_none());
        assert_eq!(std::fs::read_dir(files.root()).unwrap().count(), 0);
    });
}

#[test]
fn what_storage_cannot_take_is_waited_for_and_no_line_is_refused_for_it() {
    run(|house| async move {
        let jobs = house.jobs();
        house.journal.fail(Some(Fault::Full));
        let id = submit(&jobs, "sku,quantity\nA,1\nB,2\n").await;
        let waiting = jobs.wait(&id, Duration::from_millis(500)).await.unwrap();
        assert_eq!(waiting.job.status, Status::Running);
        assert!(waiting.waiting.is_some());
        house.journal.fail(None);
        let job = ended(&jobs, &id).await;
        assert_eq!(
            (job.status, job.done.imported, job.done.failed),
            (Status::Succeeded, 2, 0)
        );
        assert!(jobs.get(&id).unwrap().waiting.is_none());
    });
}

#[test]
fn a_job_that_waits_for_storage_can_be_cancelled_and_stopped() {
    run(|house| async move {
        let jobs = house.jobs();
        house.journal.fail(Some(Fault::Full));
        let first = submit(&jobs, "sku,quantity\nA,1\n").await;
        let second = submit(&jobs, "sku,quantity\nB,2\n").await;
        jobs.wait(&first, Duration::from_millis(300)).await;
        jobs.cancel(&first).await;
        assert_eq!(ended(&jobs, &first).await.status, Status::Cancelled);
        jobs.wait(&second, Duration::from_millis(300)).await;
        jobs.stop().await;
        house.journal.fail(None);
        let job = ended(&house.jobs(), &second).await;
        assert_eq!((job.status, job.done.imported), (Status::Succeeded, 1));
    });
}

#[test]
fn jobs_that_are_over_are_kept_for_a_week_and_not_more_than_a_hundred() {
    run(|house| async move {
        let (files, now) = (house.files(), house.inventory.now());
        let make = |days_ago: i64| {
            let at = Timestamp::from_millis(now.as_millis() - days_ago * DAY_MS);
            let mut job = Job::new(&new_id().to_string(), asked(), 0, at);
            job.end(Status::Succeeded, None, at);
            std::fs::create_dir(files.folder(&job.id)).unwrap();
            files.save(&job).unwrap();
            // Ids are made in order, but not within a millisecond.
            std::thread::sleep(Duration::from_millis(2));
            job.id
        };
        let old = make(8);
        let too_many = make(1);
        let kept: Vec<_> = (0..KEPT).map(|_| make(0)).collect();
        let jobs = house.jobs();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut shown: Vec<_> = jobs.list(None, 1000).into_iter().map(|view| view.job.id).collect();
        shown.reverse();
        assert_eq!(shown, kept);
        for gone in [old, too_many] {
            assert!(!house.folder.path().join("jobs").join(&*gone).exists());
        }
    });
}
