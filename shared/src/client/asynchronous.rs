use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task;
use uuid::Uuid;

use super::{Client, ClientError, JobResult, Ticket};
use crate::broker::{BrokerError, Revocation};
use crate::message::{Message, MessageBuilder};
use crate::status::{JobStatus, Status};

/// Updates and results that may wait to be received before their thread waits.
const AHEAD: usize = 64;

/// The [`Client`] for producers on a tokio runtime: the same words, and no call that blocks it.
///
/// Each call runs on the runtime's threads for blocking work. A call whose future is dropped goes
/// on to its end there: what was submitted stays submitted.
///
/// ```no_run
/// use bulkhead_shared::Message;
/// use bulkhead_shared::client::{AsyncClient, ClientError};
/// use std::time::Duration;
///
/// # async fn produce() -> Result<(), ClientError> {
/// let client = AsyncClient::open("sqlite:bulkhead.db").await?;
/// let job = client.submit(Message::new("add").arg(2).arg(3)).await?;
/// let sum: i64 = client.result_as(job, Some(Duration::from_secs(10))).await?;
/// assert_eq!(sum, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct AsyncClient(Client);

impl From<Client> for AsyncClient {
    fn from(client: Client) -> Self {
        Self(client)
    }
}

impl AsyncClient {
    /// As [`Client::open`].
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn open(url: &str) -> Result<Self, ClientError> {
        let url = url.to_owned();
        off(move || Client::open(&url)).await.map(Self)
    }

    /// The client that blocks.
    #[must_use]
    pub const fn blocking(&self) -> &Client {
        &self.0
    }

    async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let client = self.0.clone();
        off(move || call(&client)).await
    }

    /// As [`Client::submit`].
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn submit<M>(&self, message: M) -> Result<Uuid, ClientError>
    where
        M: TryInto<Message>,
        ClientError: From<M::Error>,
    {
        let message = message.try_into()?;
        self.with(move |client| client.submit::<Message>(message))
            .await
    }

    /// As [`Client::submit_many`].
    ///
    /// # Errors
    /// As [`Client::submit_many`].
    pub async fn submit_many(&self, messages: Vec<Message>) -> Result<Vec<Ticket>, ClientError> {
        self.with(move |client| client.submit_many(&messages)).await
    }

    /// As [`Client::status`].
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn status(&self, uuid: Uuid) -> Result<JobStatus, ClientError> {
        self.with(move |client| client.status(uuid)).await
    }

    /// As [`Client::statuses`].
    ///
    /// # Errors
    /// As [`Client::statuses`].
    pub async fn statuses(&self, uuids: Vec<Uuid>) -> Result<Vec<JobStatus>, ClientError> {
        self.with(move |client| client.statuses(&uuids)).await
    }

    /// As [`Client::wait_for`].
    ///
    /// # Errors
    /// As [`Client::wait_for`].
    pub async fn wait_for(
        &self,
        uuids: Vec<Uuid>,
        statuses: Vec<Status>,
        within: Duration,
    ) -> Result<Vec<JobStatus>, ClientError> {
        self.with(move |client| client.wait_for(&uuids, &statuses, within))
            .await
    }

    /// As [`Client::updates`]: how the job stands, now and after each change, until its end.
    /// Dropping the receiver ends the listening at the next change.
    #[must_use]
    pub fn updates(
        &self,
        uuid: Uuid,
        within: Duration,
    ) -> mpsc::Receiver<Result<JobStatus, ClientError>> {
        self.pour(move |client, out| {
            for update in client.updates(&[uuid], within)? {
                if out.blocking_send(update).is_err() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// As [`ResultPool::stream`](super::ResultPool::stream).
    #[must_use]
    pub fn stream(
        &self,
        uuids: Vec<Uuid>,
        within: Duration,
    ) -> mpsc::Receiver<Result<JobResult, ClientError>> {
        self.pour(move |client, out| {
            for (_, result) in client.results(&uuids, within)?.stream()? {
                if out.blocking_send(result).is_err() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// As [`ResultPool::istream`](super::ResultPool::istream).
    #[must_use]
    pub fn istream(
        &self,
        uuids: Vec<Uuid>,
        within: Duration,
    ) -> mpsc::Receiver<Result<JobResult, ClientError>> {
        self.pour(move |client, out| {
            for (_, result) in client.results(&uuids, within)?.istream()? {
                if out.blocking_send(result).is_err() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn pour<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Client, &mpsc::Sender<Result<T, ClientError>>) -> Result<(), ClientError>
        + Send
        + 'static,
    ) -> mpsc::Receiver<Result<T, ClientError>> {
        let (out, receiver) = mpsc::channel(AHEAD);
        let client = self.0.clone();
        task::spawn_blocking(move || {
            if let Err(error) = run(&client, &out) {
                // Nobody listens any more.
                let _ = out.blocking_send(Err(error));
            }
        });
        receiver
    }

    /// As [`Client::result`].
    ///
    /// # Errors
    /// As [`Client::result`].
    pub async fn result(
        &self,
        uuid: Uuid,
        within: Option<Duration>,
    ) -> Result<Vec<u8>, ClientError> {
        self.with(move |client| client.result(uuid, within)).await
    }

    /// As [`Client::result_as`].
    ///
    /// # Errors
    /// As [`Client::result_as`].
    pub async fn result_as<T: DeserializeOwned + Send + 'static>(
        &self,
        uuid: Uuid,
        within: Option<Duration>,
    ) -> Result<T, ClientError> {
        self.with(move |client| client.result_as(uuid, within))
            .await
    }

    /// As [`Client::take_result`].
    ///
    /// # Errors
    /// As [`Client::take_result`].
    pub async fn take_result(
        &self,
        uuid: Uuid,
        within: Option<Duration>,
    ) -> Result<Vec<u8>, ClientError> {
        self.with(move |client| client.take_result(uuid, within))
            .await
    }

    /// As [`Client::revoke`].
    ///
    /// # Errors
    /// As [`Client::revoke`].
    pub async fn revoke(
        &self,
        uuid: Uuid,
        skip_if_running: bool,
    ) -> Result<Revocation, ClientError> {
        self.with(move |client| client.revoke(uuid, skip_if_running))
            .await
    }

    /// As [`Client::remove`].
    ///
    /// # Errors
    /// As [`Client::remove`].
    pub async fn remove(&self, uuid: Uuid) -> Result<bool, ClientError> {
        self.with(move |client| client.remove(uuid)).await
    }

    /// As [`Client::forget`].
    ///
    /// # Errors
    /// As [`Client::forget`].
    pub async fn forget(&self, uuid: Uuid) -> Result<(), ClientError> {
        self.with(move |client| client.forget(uuid)).await
    }

    /// As [`Client::exists`].
    ///
    /// # Errors
    /// As [`Client::exists`].
    pub async fn exists(&self, uuid: Uuid) -> Result<bool, ClientError> {
        self.with(move |client| client.exists(uuid)).await
    }

    /// As [`Client::message`].
    ///
    /// # Errors
    /// As [`Client::message`].
    pub async fn message(&self, uuid: Uuid) -> Result<Message, ClientError> {
        self.with(move |client| client.message(uuid)).await
    }

    /// As [`Client::result_with_metadata`].
    ///
    /// # Errors
    /// As [`Client::result_with_metadata`].
    pub async fn result_with_metadata(
        &self,
        uuid: Uuid,
        within: Option<Duration>,
    ) -> Result<JobResult, ClientError> {
        self.with(move |client| client.result_with_metadata(uuid, within))
            .await
    }

    /// As [`Client::result_exists`].
    ///
    /// # Errors
    /// As [`Client::result_exists`].
    pub async fn result_exists(&self, uuid: Uuid) -> Result<bool, ClientError> {
        self.with(move |client| client.result_exists(uuid)).await
    }

    /// As [`Client::delete_results`].
    ///
    /// # Errors
    /// As [`Client::delete_results`].
    pub async fn delete_results(&self, uuids: Vec<Uuid>) -> Result<usize, ClientError> {
        self.with(move |client| client.delete_results(&uuids)).await
    }

    /// As [`Client::amend`].
    ///
    /// # Errors
    /// As [`Client::amend`].
    pub async fn amend(
        &self,
        uuid: Uuid,
        change: impl Fn(MessageBuilder) -> MessageBuilder + Send + 'static,
    ) -> Result<(), ClientError> {
        self.with(move |client| client.amend(uuid, change)).await
    }

    /// As [`Descent::results`](super::Descent::results) of [`Client::descent`].
    ///
    /// # Errors
    /// As [`Client::descent`] and [`Descent::results`](super::Descent::results).
    pub async fn descent_results(
        &self,
        uuid: Uuid,
        within: Duration,
    ) -> Result<Vec<JobResult>, ClientError> {
        self.with(move |client| client.descent(uuid)?.results(within))
            .await
    }

    /// As [`Descent::has_results`](super::Descent::has_results) of [`Client::descent`].
    ///
    /// # Errors
    /// As [`Client::descent`].
    pub async fn descent_has_results(&self, uuid: Uuid) -> Result<bool, ClientError> {
        self.with(move |client| client.descent(uuid)?.has_results())
            .await
    }

    /// As [`Descent::delete_results`](super::Descent::delete_results) of [`Client::descent`].
    ///
    /// # Errors
    /// As [`Client::descent`].
    pub async fn delete_descent_results(&self, uuid: Uuid) -> Result<usize, ClientError> {
        self.with(move |client| client.descent(uuid)?.delete_results())
            .await
    }

    /// As [`Client::is_dead_letter`].
    ///
    /// # Errors
    /// As [`Client::is_dead_letter`].
    pub async fn is_dead_letter(&self, uuid: Uuid) -> Result<bool, ClientError> {
        self.with(move |client| client.is_dead_letter(uuid)).await
    }
}

/// Runs what blocks off the runtime's own threads.
async fn off<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    match task::spawn_blocking(call).await {
        Ok(done) => done,
        // It panicked, and that is the caller's to see.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(ClientError::Store(BrokerError::Away {
            reason: "the runtime is shutting down".into(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Claim, Selection, Settlement, SupervisorId};
    use crate::name::{QueueName, TaskName};
    use crate::retry::Move;
    use crate::time::Timestamp;

    fn end_one(client: &Client, result: &[u8]) {
        let selection = Selection {
            queues: vec![QueueName::default()],
            tasks: vec![TaskName::new("add").unwrap()],
        };
        let claim = Claim {
            owner: SupervisorId(Uuid::now_v7()),
            selection: &selection,
            room: 1,
            lease: Duration::from_secs(60),
        };
        let broker = &client.backend().broker;
        let claimed = broker
            .turn(Vec::new(), Some(claim))
            .unwrap()
            .claimed
            .remove(0);
        let next = Move::Succeed {
            result: Some(result.to_vec()),
            result_until: None,
            purge_at: None,
        };
        let settlement = Settlement {
            receipt: claimed.receipt,
            next,
            history: Vec::new(),
            at: Timestamp::now(),
            errands: crate::flow::Errands::default(),
        };
        broker.turn(vec![settlement], None).unwrap();
    }

    #[tokio::test]
    async fn a_producer_on_a_runtime_of_one_thread_submits_listens_and_fetches() {
        let client = AsyncClient::open("sqlite::memory:").await.unwrap();
        let job = client.submit(Message::new("add")).await.unwrap();
        let mut updates = client.updates(job, Duration::from_secs(60));
        let first = updates.recv().await.unwrap().unwrap();
        assert_eq!(first.status, Status::Submitted);
        let waiting = client.result_as::<u8>(job, Some(Duration::from_secs(60)));
        let ender = client.blocking().clone();
        let ending = task::spawn_blocking(move || end_one(&ender, b"5"));
        assert_eq!(waiting.await.unwrap(), 5);
        ending.await.unwrap();
        let mut last = None;
        while let Some(update) = updates.recv().await {
            last = Some(update.unwrap().status);
        }
        assert_eq!(last, Some(Status::Succeeded));
        let mut results = client.istream(vec![job], Duration::from_secs(60));
        assert_eq!(results.recv().await.unwrap().unwrap().bytes, b"5");
        assert!(results.recv().await.is_none());
        let error = client.submit(Message::new("")).await.unwrap_err();
        assert!(matches!(error, ClientError::Message(_)));
    }

    #[tokio::test]
    async fn whatever_is_asked_of_jobs_is_answered_on_a_runtime_too() {
        const LONG: Duration = Duration::from_secs(60);
        let client = AsyncClient::open("sqlite::memory:").await.unwrap();
        let messages = [1, 2].map(|n| Message::new("add").arg(n).build().unwrap());
        let jobs = messages.each_ref().map(|message| message.uuid);
        let tickets = client.submit_many(messages.to_vec()).await.unwrap();
        assert_eq!(tickets.len(), 2);
        let (both, succeeded) = (jobs.to_vec(), vec![Status::Succeeded]);
        let waited = client.wait_for(both, succeeded, Duration::ZERO).await;
        assert!(matches!(waited, Err(ClientError::TimedOut { .. })));
        let ender = client.blocking().clone();
        task::spawn_blocking(move || end_one(&ender, b"1"))
            .await
            .unwrap();
        let first = vec![jobs[0]];
        let ended = client.wait_for(first.clone(), vec![Status::Succeeded], LONG);
        let ended = ended.await.unwrap().remove(0);
        assert_eq!(client.status(jobs[0]).await.unwrap(), ended);
        let all = client.statuses(jobs.to_vec()).await.unwrap();
        assert_eq!(
            (all[0].status, all[1].status),
            (Status::Succeeded, Status::Submitted)
        );
        assert_eq!(client.result(jobs[0], None).await.unwrap(), b"1");
        let mut results = client.stream(first, LONG);
        assert_eq!(results.recv().await.unwrap().unwrap().bytes, b"1");
        assert_eq!(client.take_result(jobs[0], None).await.unwrap(), b"1");
        let gone = client.result(jobs[0], None).await;
        assert!(matches!(gone, Err(ClientError::NoResult { .. })));
        let revoked = client.revoke(jobs[1], true).await.unwrap();
        assert_eq!(revoked, Revocation::Ended);
        assert!(!client.is_dead_letter(jobs[1]).await.unwrap());
        assert!(client.remove(jobs[1]).await.unwrap());
        client.forget(jobs[0]).await.unwrap();
        for job in jobs {
            assert!(!client.exists(job).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_producer_reads_and_deletes_results_and_messages() {
        let client = AsyncClient::open("sqlite::memory:").await.unwrap();
        let job = client
            .submit(Message::new("add").priority(3))
            .await
            .unwrap();
        assert_eq!(client.message(job).await.unwrap().priority, 3);
        let change = |message: MessageBuilder| message.priority(2);
        client.amend(job, change).await.unwrap();
        assert_eq!(client.message(job).await.unwrap().priority, 2);
        assert!(!client.result_exists(job).await.unwrap());
        let ender = client.blocking().clone();
        task::spawn_blocking(move || end_one(&ender, b"5"))
            .await
            .unwrap();
        assert!(client.result_exists(job).await.unwrap());
        let result = client.result_with_metadata(job, None).await.unwrap();
        assert_eq!((result.uuid, &result.bytes[..]), (job, &b"5"[..]));
        let within = Duration::from_secs(60);
        assert_eq!(client.descent_results(job, within).await.unwrap(), [result]);
        assert!(client.descent_has_results(job).await.unwrap());
        let both = vec![job, Uuid::now_v7()];
        assert_eq!(client.delete_results(both).await.unwrap(), 1);
        assert_eq!(client.delete_descent_results(job).await.unwrap(), 0);
        assert!(!client.descent_has_results(job).await.unwrap());
        assert!(!client.result_exists(job).await.unwrap());
    }
}
