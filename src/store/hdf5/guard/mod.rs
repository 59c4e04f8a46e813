//! Refusals of damaged and hostile files, past what the library checks itself.

pub mod claims;
pub mod external;
pub mod watch;
