use fqgan::Error;
use std::process::ExitCode;

/// Why a command did not do all that was asked.
pub enum Failure {
    /// The arguments cannot be meant so.
    Usage(String),
    /// Nothing could be done.
    Failed(Error),
    /// So many of so many failed; each was reported when it did.
    Some { failed: usize, of: usize },
    /// Nobody reads what is printed any more.
    Unread,
}

impl Failure {
    pub fn report(self) -> ExitCode {
        let code = match &self {
            Failure::Usage(_) => 2,
            Failure::Failed(_) | Failure::Some { .. } => 1,
            Failure::Unread => 0,
        };
        match self {
            Failure::Usage(message) => eprintln!("fqgan: {message}"),
            Failure::Failed(error) => eprintln!("fqgan: {error}"),
            Failure::Some { failed, of } if of > 1 => eprintln!("fqgan: {failed} of {of} failed"),
            Failure::Some { .. } | Failure::Unread => {}
        }
        ExitCode::from(code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Failed(error)
    }
}

pub type Result<T = ()> = std::result::Result<T, Failure>;

/// A usage error.
pub fn usage<T>(message: impl Into<String>) -> Result<T> {
    Err(Failure::Usage(message.into()))
}
