//! The client side of SMTP and LMTP.

mod message;
pub use message::{Body, Capabilities, Credentials, Error, Message, Report, Said, Settings, Stage, Step, TlsUse};
