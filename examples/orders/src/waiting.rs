//! Whose orders are not in the table yet.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

/// Ids of orders, by user, from before they are taken in until their transaction is committed.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<HashMap<String, HashSet<String>>>);

impl Waiting {
    /// Before the order is taken in. False if it waits already, because an earlier call brought it.
    pub(crate) fn add(&self, user: &str, id: &str) -> bool {
        self.0.lock().entry(user.to_owned()).or_default().insert(id.to_owned())
    }

    /// When the table has it, or never will.
    pub(crate) fn remove(&self, user: &str, id: &str) {
        let mut users = self.0.lock();
        if let Some(ids) = users.get_mut(user) {
            ids.remove(id);
            if ids.is_empty() {
                users.remove(user);
            }
        }
    }

    pub(crate) fn has(&self, user: &str) -> bool {
        self.0.lock().contains_key(user)
    }
}
