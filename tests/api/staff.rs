//! A service whose callers must say who they are, and those who call it.

use std::path::Path;

use serde_json::json;

use crate::client::{Answer, Client};
use crate::identity::first_admin;
use crate::support::TestApp;

/// The stores of those who are narrowed to some.
pub const OWN: [&str; 2] = ["own", "own too"];
/// Two that they do not see. Their names are in no other word.
pub const FOREIGN: [&str; 2] = ["ZFOREIGN", "ZFOREIGN too"];

/// A service with authentication on, and its first admin.
pub struct House {
    app: TestApp,
    pub admin: Employee,
}

/// Somebody who calls; nobody in particular, where there is no token.
#[derive(Clone)]
pub struct Employee {
    port: u16,
    authorization: Option<String>,
}

impl Client for Employee {
    fn port(&self) -> u16 {
        self.port
    }

    fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let own = self.authorization.as_deref().map(|value| ("authorization", value));
        let headers: Vec<(&str, &str)> = headers.iter().copied().chain(own).collect();
        self.port.try_send(method, path, &headers, body)
    }
}

impl House {
    pub fn open() -> Self {
        Self::open_with(&[])
    }

    pub fn open_with(args: &[&str]) -> Self {
        let app = TestApp::start_guarded(args);
        let nobody = Employee {
            port: app.port,
            authorization: None,
        };
        let admin = nobody.with_token(&first_admin(&app));
        Self { app, admin }
    }

    pub fn folder(&self) -> &Path {
        self.app.folder()
    }

    pub fn nobody(&self) -> Employee {
        Employee {
            authorization: None,
            ..self.admin.clone()
        }
    }

    /// Somebody of this role, narrowed to these stores where there are any. Those of one name are one principal.
    #[track_caller]
    pub fn hire(&self, name: &str, role: &str, stores: &[&str]) -> Employee {
        let mut token = json!({"name": name, "role": role});
        if !stores.is_empty() {
            token["stores"] = json!(stores);
        }
        let made = self.admin.post("/api/tokens", token).expect(201);
        self.nobody().with_token(made["token"].as_str().unwrap())
    }

    /// Of stores `own` and `own too`.
    #[track_caller]
    pub fn clerk(&self) -> Employee {
        self.hire("clerk", "clerk", &OWN)
    }

    /// The last place of the log: as long as it stays, nothing was changed.
    #[track_caller]
    pub fn end(&self) -> u64 {
        let page = self.admin.get("/api/events?after=9007199254740991").expect(200);
        page["end"].as_u64().unwrap()
    }
}

impl Employee {
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    fn with_token(&self, token: &str) -> Self {
        Self {
            authorization: Some(format!("Bearer {token}")),
            ..self.clone()
        }
    }
}
