//! Why a document was not opened, with the key that an operator would have to set.
//!
//! Pure text, for every command that subscribes.

use deltaworks_client::{ErrorCode, OpenError, Policy};

/// What to tell of an `open` of `name` with `policy` that failed: the fault itself, and for a policy that
/// its collection does not allow the key that allows it.
pub fn fault(name: &str, policy: Policy, error: &OpenError) -> String {
    let is_forbidden = match error {
        OpenError::Refused(refusal) => refusal.error_code() == Some(ErrorCode::PolicyNotAllowed),
        OpenError::Invalid(_) | OpenError::Failed(_) => false,
    };
    let key = match policy {
        Policy::Wait => "wait_allowed",
        Policy::Skip => "skip_allowed",
        Policy::Conflate => "conflate_allowed",
        Policy::Close => "close_allowed",
        _ => return error.to_string(),
    };
    if !is_forbidden {
        return error.to_string();
    }
    let collection = name.split_once('/').map_or("", |(collection, _)| collection);
    let table = match collection {
        "" => "[collections.\"\"]".to_owned(),
        name if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            format!("[collections.{name}]")
        }
        name => format!("[collections.{name:?}]"),
    };
    format!("{error} deltaworksd allows it by `{key} = true` in {table} of its configuration")
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltaworks_client::Refusal;

    fn refused(code: ErrorCode) -> OpenError {
        OpenError::Refused(Refusal {
            code: code.number(),
            text: code.meaning().to_owned(),
            delta: None,
            instance_path: None,
            schema_path: None,
            offset: None,
        })
    }

    #[test]
    fn a_forbidden_policy_names_its_key_and_table() {
        let forbidden = refused(ErrorCode::PolicyNotAllowed);
        for (name, policy, told) in [
            ("d", Policy::Wait, "`wait_allowed = true` in [collections.\"\"]"),
            ("shop/d", Policy::Skip, "`skip_allowed = true` in [collections.shop]"),
            ("a b/d", Policy::Close, "`close_allowed = true` in [collections.\"a b\"]"),
        ] {
            let fault = fault(name, policy, &forbidden);
            assert!(fault.contains("304") && fault.contains(told), "{fault}");
        }
    }

    #[test]
    fn other_faults_stay_as_they_are() {
        let other = refused(ErrorCode::DocumentLimit);
        assert_eq!(fault("d", Policy::Wait, &other), other.to_string());
        let forbidden = refused(ErrorCode::PolicyNotAllowed);
        assert_eq!(fault("d", Policy::OfCollection, &forbidden), forbidden.to_string());
    }
}
