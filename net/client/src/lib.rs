//! Client library: publish, subscribe, resume.
