//! Models of what two cores share.
