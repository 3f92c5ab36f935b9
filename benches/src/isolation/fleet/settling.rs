//! Whether everything has come or was told, and the account of each reader.

use super::{Account, Fleet, Handle, Key, Role};

impl Fleet {
    /// Whether a writer has an answer to everything, or a reader has everything that was written.
    pub fn is_settled(&self, key: Key) -> bool {
        if self.overflowed.contains(&key) {
            return true;
        }
        let Some(session) = self.sessions[key].as_ref() else { return true };
        let is_reader = matches!(session.plan.role, Role::Reader { .. });
        session.out.len() == session.sent
            && session.handles.iter().zip(&session.plan.documents).all(|(handle, document)| {
                if is_reader {
                    handle.is_closed || handle.next > self.documents[*document].published
                } else {
                    handle.acked == handle.number
                }
            })
    }

    /// Makes sure that what was written for a reader came or was told, exactly.
    pub fn settle(&mut self, key: Key) {
        let Some(session) = self.sessions[key].as_ref() else { return };
        if !matches!(session.plan.role, Role::Reader { .. }) {
            return;
        }
        let documents = session.plan.documents.clone();
        let of_documents = self.accounts(key).into_iter().zip(documents);
        let wrong = of_documents.into_iter().find_map(|(account, document)| {
            let Account { published, delivered, told, .. } = account;
            let name = &self.documents[document].name;
            (delivered + told != published).then(|| {
                format!("{name}: {published} written, {delivered} came, {told} told missing")
            })
        });
        if let Some(fault) = wrong {
            self.fault(fault);
        }
    }

    /// What became of each subscription of a session.
    pub fn accounts(&self, key: Key) -> Vec<Account> {
        let Some(session) = self.sessions[key].as_ref() else { return Vec::new() };
        let account = |(handle, document): (&Handle, &usize)| {
            let Handle { delivered, told, start, next, is_closed, .. } = *handle;
            let end = if is_closed { next } else { self.documents[*document].published + 1 };
            Account { published: end - start, delivered, told, is_closed }
        };
        session.handles.iter().zip(&session.plan.documents).map(account).collect()
    }
}
