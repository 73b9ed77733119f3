//! What the broker does not let the host do any more: said, not repeated all the time, and over when
//! it is put right.

use super::report::Report;
use super::{full, secs};
use crate::support::process::{Place, Wabbit, eventually};
use crate::support::rabbit::{User, Vhost, api};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// From the remedy to the next effect.
const BACK_MAX: Duration = secs(65);

/// A host whose user may do anything, until the row takes that away.
struct Trusted {
    vhost: Vhost,
    user: User,
    host: Wabbit,
    report: Report,
}

impl Trusted {
    async fn new(row: &'static str) -> Self {
        let report = Report::new(row);
        let (vhost, user) = (Vhost::new().await, User::new().await);
        vhost.allow(&user.name, [".*"; 3]).await;
        vhost.queue("effects", &[]).await;
        let manifest = "[grants]\npublish = [\":effects\"]\n";
        let url = vhost.url_of(&user.name, &user.password);
        let mut host = Place::new().plugin("work", "scripted", manifest).run(&url).await;
        host.keep_log(report.file("log"));
        host.ready().await;
        let this = Self { vhost, user, host, report };
        this.handles().await;
        this
    }

    async fn handles(&self) {
        self.vhost.publish("", "work", "publish::effects").await;
        self.vhost.next("effects").await;
    }

    /// Ends the host's connections, so that it must ask anew.
    async fn disconnect(&self) {
        for role in ["consume", "publish"] {
            self.vhost.close_connections(role).await;
        }
    }

    /// It is not ready, with this reason, for as long as that lasts, and does not fill the log with
    /// the first of its words.
    async fn suffers(&mut self, reason: &[&str]) {
        let lasts = if full() { secs(130) } else { secs(5) };
        let began = Instant::now();
        self.host.unready(reason).await;
        while began.elapsed() < lasts {
            let (status, body) = self.host.get("/readyz").await;
            assert_eq!(status, 503, "{body}");
            sleep(secs(1)).await;
        }
        let mut said = BTreeMap::<String, usize>::new();
        for line in self.host.log_lines() {
            let text = line.to_string();
            if line["level"] == "WARN" && text.contains(reason[0]) {
                *said.entry(format!("{} {}", line["role"], line["queue"])).or_default() += 1;
            }
        }
        let most = 1 + lasts.as_secs() as usize / 60;
        let few = !said.is_empty() && said.values().all(|times| *times <= most);
        self.report.expect(few, format!("`{}` is said so often: {said:?}", reason[0]));
    }

    /// It is put right now.
    async fn recovers(mut self) {
        let began = Instant::now();
        self.host.ready().await;
        self.handles().await;
        self.report.took("back", began.elapsed());
        let back = began.elapsed();
        self.report.expect(back <= BACK_MAX, format!("back after {back:?}"));
        let log = self.host.log_text();
        self.report.expect(!log.contains(&self.user.password), "the password is in the log");
        assert_eq!(self.host.terminate().await.code(), Some(0));
        self.report.finish();
    }

    async fn password(&self, password: &str) {
        let account = json!({ "password": password, "tags": "" });
        assert_eq!(api("PUT", &format!("users/{}", self.user.name), &account).await.0, 204);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_password() {
    let mut trusted = Trusted::new("password changed while running").await;
    trusted.password("another").await;
    trusted.disconnect().await;
    trusted.suffers(&["refuses the user or the password"]).await;
    trusted.password(&trusted.user.password).await;
    trusted.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn the_user_gone() {
    let mut trusted = Trusted::new("user gone while running").await;
    let path = format!("users/{}", trusted.user.name);
    assert_eq!(api("DELETE", &path, &json!({})).await.0, 204);
    trusted.suffers(&["refuses the user or the password"]).await;
    let account = json!({ "password": trusted.user.password, "tags": "" });
    assert_eq!(api("PUT", &path, &account).await.0, 201);
    trusted.vhost.allow(&trusted.user.name, [".*"; 3]).await;
    trusted.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn the_virtual_host_gone() {
    let mut trusted = Trusted::new("virtual host gone while running").await;
    let path = format!("vhosts/{}", trusted.vhost.name);
    assert_eq!(api("DELETE", &path, &json!({})).await.0, 204);
    trusted.suffers(&["refuses the virtual host"]).await;
    assert_eq!(api("PUT", &path, &json!({})).await.0, 201);
    for user in ["guest", &trusted.user.name] {
        trusted.vhost.allow(user, [".*"; 3]).await;
    }
    trusted.vhost.reconnect().await;
    trusted.vhost.queue("effects", &[]).await;
    // What the host needs it declares itself, as soon as it is let in.
    let began = Instant::now();
    trusted.host.ready().await;
    trusted.report.note(format!("ready after {:.1?}", began.elapsed()));
    trusted.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn permissions_taken() {
    let mut trusted = Trusted::new("permissions taken while running").await;
    trusted.vhost.allow(&trusted.user.name, ["^$"; 3]).await;
    trusted.disconnect().await;
    trusted.suffers(&["ACCESS_REFUSED", "queue `work`"]).await;
    trusted.vhost.allow(&trusted.user.name, [".*"; 3]).await;
    trusted.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_permission_taken() {
    let mut trusted = Trusted::new("permission to publish taken while running").await;
    let user = &trusted.user.name;
    trusted.vhost.allow(user, [".*", "^$", ".*"]).await;
    trusted.disconnect().await;
    trusted.host.ready().await;
    // The handler's publication is refused, and so is every move of the event: it is held.
    trusted.vhost.publish("", "work", "publish::effects").await;
    trusted.host.logs(&["an event can't be moved"]).await;
    trusted.host.unready(&["events are held"]).await;
    trusted.vhost.allow(&trusted.user.name, [".*"; 3]).await;
    let began = Instant::now();
    trusted.vhost.next("effects").await;
    trusted.report.took("back", began.elapsed());
    let back = began.elapsed();
    trusted.report.expect(back <= BACK_MAX, format!("back after {back:?}"));
    eventually("nothing in hand", async || {
        (trusted.host.metric("wabbit_inflight", &[]).await == 0.0).then_some(())
    })
    .await;
    trusted.report.finish();
}
